"""Meshes that the end-to-end tests start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simulations.lab import transfer
from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, wait_connected
from simulations.lab.namespaces import Lab
from simulations.lab.topology import Internet

Settings = Mapping[str, str | int | bool | list[str]]


@dataclass(frozen=True)
class Pair:
    """Two members in the open; `addresses` are the IPv4 and the IPv6 one of each by name."""

    internet: Internet
    left: Host
    right: Host
    addresses: dict[str, tuple[str, str]]

    def of(self, host: Host) -> tuple[str, str]:
        return self.addresses[host.name]


def open_pair(lab: Lab, left: Settings | None = None, right: Settings | None = None) -> Pair:
    internet = Internet(lab)
    hosts = [
        Host(lab, internet.host(name), settings or {})
        for name, settings in (("left", left), ("right", right))
    ]
    found(hosts[0])
    admit(hosts[0], hosts[1:])
    return Pair(internet, hosts[0], hosts[1], wait_connected(hosts))


def check_traffic(one: Host, other: Host, pair: Pair, size: int = 16 * transfer.MIB) -> None:
    """TCP and UDP both ways over both families, every byte compared."""
    payload = transfer.Payload(size)
    for source, target in ((one, other), (other, one)):
        for address in pair.of(target):
            assert transfer.tcp(source.namespace, target.namespace, address, payload).intact
            assert transfer.udp(source.namespace, target.namespace, address, 50) == 100
