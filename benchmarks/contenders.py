"""The ways of carrying packets that are compared, each between two hosts of its own.

All overlays have the same MTU. Every pair of hosts is joined by a cable or a WAN of its own, and
stands idle while another is measured, so that measurements can take turns within seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.others import nebula, tinc, wireguard_go
from benchmarks.pairs import MTU, OVERLAY, PORT, Contender, Pair, compiled, overlay, serve
from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, wait_connected
from simulations.lab.namespaces import Lab
from simulations.lab.ping import Pinger
from simulations.lab.waiting import wait_until

IPERF_PORT = 5201
Build = Callable[[Lab, Pair], Contender]


def bare(lab: Lab, pair: Pair) -> Contender:
    """The line itself, with no overlay."""
    return Contender(*pair.hosts, pair.ends[1])


def null(lab: Lab, pair: Pair) -> Contender:
    """The C forwarder without encryption: the limit of TUN and UDP here."""
    binary = compiled(lab, "nullfwd")
    forwarders = []
    for index, namespace in enumerate(pair.hosts):
        ends = [pair.ends[index], pair.ends[1 - index], str(PORT)]
        command = namespace.command([str(binary), "tun0", *ends])
        forwarders.append(lab.popen(command).pid)
        overlay(namespace, "tun0", OVERLAY[index])
    return Contender(*pair.hosts, OVERLAY[1], tuple(forwarders))


def aegisray(lab: Lab, pair: Pair) -> Contender:
    """Two ``meshd``."""
    hosts = tuple(Host(lab, namespace, {"tun.mtu": MTU}) for namespace in pair.hosts)
    found(hosts[0])
    admit(hosts[0], hosts[1:])
    address, _ = wait_connected(hosts)[hosts[1].name]
    forwarders = tuple(host.daemon.pid for host in hosts if host.daemon)
    return Contender(*pair.hosts, address, forwarders, hosts)


CONTENDERS: dict[str, Build] = {
    "bare": bare,
    "null": null,
    "wireguard-go": wireguard_go,
    "nebula": nebula,
    "tinc": tinc,
    "aegisray": aegisray,
}


def given(path: str | None) -> dict[str, Build]:
    """All of them, and a wireguard-go beside Debian's if ``path`` is one."""
    if path is None:
        return CONTENDERS
    return {f"wireguard-go ({path})": partial(wireguard_go, binary=path), **CONTENDERS}


def make(lab: Lab, name: str, build: Build, pair: Pair) -> Contender:
    """Build one, wait until it carries pings, and start its iperf3 server."""
    contender = build(lab, pair)
    with Pinger(contender.left) as pinger:
        wait_until(lambda: pinger.ping(contender.address), f"{name} to carry pings", 10.0)
    listen(lab, contender)
    return contender


def listen(lab: Lab, contender: Contender, port: int = IPERF_PORT) -> None:
    """Start an iperf3 server at the right host."""
    serve(lab, contender.right, ["iperf3", "--server", "--port", str(port)], port)
