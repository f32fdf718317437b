"""A small internet: one router in the middle, hosts in the open, and homes behind NAT.

Open hosts and gateways each get a /30 of 198.51.100.0/24 (TEST-NET-2, RFC 5737); homes use the
private prefix they are given. The router knows no private prefix, as the real one does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network

from simulations.lab.namespaces import Lab, Namespace, bridge, join
from simulations.lab.nat import Nat, install

PUBLIC = IPv4Network("198.51.100.0/24")
WAN = "wan"
LAN = "lan"


class Internet:
    """The router that everyone is attached to."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.router = lab.namespace("internet")
        self.router.route_packets()
        self._links = PUBLIC.subnets(new_prefix=30)
        self._count = 0

    def attach(self, namespace: Namespace, device: str = WAN) -> str:
        """Lay a line to ``namespace``, make it its default route and return its public address."""
        upstream, address = next(self._links).hosts()
        port = f"port{self._count}"
        self._count += 1
        join(self.router, port, namespace, device)
        self.router.ip("address", "add", f"{upstream}/30", "dev", port)
        namespace.ip("address", "add", f"{address}/30", "dev", device)
        namespace.ip("route", "replace", "default", "via", str(upstream))
        return str(address)

    def host(self, label: str) -> Namespace:
        """A host in the open, with an address of its own."""
        namespace = self.lab.namespace(label)
        self.attach(namespace)
        return namespace

    def home(self, label: str, kind: Nat, prefix: str = "192.168.1.0/24") -> Home:
        """A gateway with NAT and a LAN behind it; its router is called ``LABEL-gw``."""
        gateway = self.lab.namespace(f"{label}-gw")
        gateway.route_packets()
        address = self.attach(gateway)
        install(gateway, kind, WAN, address)
        bridge(gateway, LAN)
        network = IPv4Network(prefix)
        gateway.ip("address", "add", f"{network[1]}/{network.prefixlen}", "dev", LAN)
        return Home(self.lab, gateway, network, address)


@dataclass
class Home:
    """A LAN behind one gateway; hosts on it reach each other without the gateway's NAT."""

    lab: Lab
    gateway: Namespace
    network: IPv4Network
    public_address: str
    hosts: int = 0

    def host(self, label: str) -> Namespace:
        """A host on the LAN, its default route through the gateway."""
        namespace = self.lab.namespace(label)
        self.hosts += 1
        port = f"port{self.hosts}"
        join(self.gateway, port, namespace, "eth0")
        self.gateway.ip("link", "set", port, "master", LAN)
        address = f"{self.network[9 + self.hosts]}/{self.network.prefixlen}"
        namespace.ip("address", "add", address, "dev", "eth0")
        namespace.ip("route", "add", "default", "via", str(self.network[1]))
        return namespace
