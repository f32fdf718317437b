"""A small internet: one router in the middle, hosts in the open, and homes behind NAT.

Open hosts and gateways each get a /30 of 198.51.100.0/24 (TEST-NET-2, RFC 5737); homes use the
private prefix they are given. The router knows no private prefix, as the real one does not.

With ``ipv6`` every open host has an address of 2001:db8::/32 (RFC 3849) too; homes have none. With
a ``line`` what each of them sends takes so long, so that nobody is nearer than twice that.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network

from simulations.lab.namespaces import Lab, Namespace, bridge, join
from simulations.lab.nat import Nat, install
from simulations.lab.wan import Line, Player

PUBLIC = IPv4Network("198.51.100.0/24")
PUBLIC6 = "2001:db8:{:x}::{}"
WAN = "wan"
LAN = "lan"


class Internet:
    """The router that everyone is attached to."""

    def __init__(self, lab: Lab, *, ipv6: bool = False, line: Line | None = None) -> None:
        self.lab = lab
        self.ipv6 = ipv6
        self.router = lab.namespace("internet")
        self.router.route_packets()
        if ipv6:
            self.router.set_kernel("net/ipv6/conf/all/forwarding", "1")
            self.router.set_kernel("net/ipv6/conf/default/accept_dad", "0")
        self._links = PUBLIC.subnets(new_prefix=30)
        self._count = 0
        self._line = line
        self._ports: dict[str, str] = {}
        """Who is attached -> the device that plays its line."""
        if line is not None:
            for key in ("all", "default"):  # packets come back by other devices than they left by
                self.router.set_kernel(f"net/ipv4/conf/{key}/rp_filter", "0")
            self._player = Player(lab, self.router)

    def attach(self, namespace: Namespace, device: str = WAN, families: str = "46") -> str:
        """Lay a line to ``namespace``, make it its default route and return its public address.

        ``families`` are those it has addresses of, as far as this internet knows them.
        """
        upstream, address = next(self._links).hosts()
        number, port = self._count, f"port{self._count}"
        self._count += 1
        if self.ipv6:  # nobody waits a second for the addresses to be unique
            namespace.set_kernel("net/ipv6/conf/default/accept_dad", "0")
        join(self.router, port, namespace, device)
        if "4" in families:
            self.router.ip("address", "add", f"{upstream}/30", "dev", port)
            namespace.ip("address", "add", f"{address}/30", "dev", device)
            namespace.ip("route", "replace", "default", "via", str(upstream))
        if "6" in families and self.ipv6:
            here, there = (PUBLIC6.format(number, end) for end in (1, 2))
            self.router.ip("address", "add", f"{here}/64", "dev", port, "nodad")
            namespace.ip("address", "add", f"{there}/64", "dev", device, "nodad")
            namespace.ip("-6", "route", "replace", "default", "via", here)
        if self._line is not None:
            self._ports[namespace.label] = f"line{number}"
            self._player.lead(port, f"line{number}", self._line, ipv6=self.ipv6)
        return str(address)

    def change_line(self, namespace: Namespace, line: Line) -> None:
        """What an attached host or gateway sends meets another line from now on."""
        self._player.change(self._ports[namespace.label], line)

    def host(self, label: str, families: str = "46") -> Namespace:
        """A host in the open, with an address of its own of each of the ``families``."""
        namespace = self.lab.namespace(label)
        self.attach(namespace, families=families)
        return namespace

    def home(self, label: str, kind: Nat, prefix: str = "192.168.1.0/24") -> Home:
        """A gateway with NAT and a LAN behind it; its router is called ``LABEL-gw``."""
        gateway = self.lab.namespace(f"{label}-gw")
        address = self.attach(gateway, families="4")
        return _home(self.lab, gateway, kind, WAN, address, prefix)


def _home(lab: Lab, gateway: Namespace, kind: Nat, wan: str, address: str, prefix: str) -> Home:
    """Make ``gateway``, whose device ``wan`` holds ``address``, a NAT with a LAN behind it."""
    gateway.route_packets()
    install(gateway, kind, wan, address)
    bridge(gateway, LAN)
    network = IPv4Network(prefix)
    gateway.ip("address", "add", f"{network[1]}/{network.prefixlen}", "dev", LAN)
    return Home(lab, gateway, network, address)


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
        self._attach(namespace)
        return namespace

    def home(self, label: str, kind: Nat, prefix: str) -> Home:
        """Another NAT with a LAN of its own behind this one."""
        gateway = self.lab.namespace(f"{label}-gw")
        address = self._attach(gateway)
        return _home(self.lab, gateway, kind, "eth0", address, prefix)

    def _attach(self, namespace: Namespace) -> str:
        """Lay a cable from the LAN's switch to ``namespace``; its address there."""
        self.hosts += 1
        port = f"port{self.hosts}"
        join(self.gateway, port, namespace, "eth0")
        self.gateway.ip("link", "set", port, "master", LAN)
        address = str(self.network[9 + self.hosts])
        namespace.ip("address", "add", f"{address}/{self.network.prefixlen}", "dev", "eth0")
        namespace.ip("route", "add", "default", "via", str(self.network[1]))
        return address
