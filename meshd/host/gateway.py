"""The default gateways of this host, and a socket to ask one of them (PCP and NAT-PMP)."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from meshd.node.pcp import ANNOUNCEMENTS, PORT
from meshd.node.wire import Endpoint

MAX_GATEWAYS = 2
"""Gateways of each family that are asked: more than one is rare, more than two is a mistake."""
_TURN = 16
"""Datagrams read in one turn."""
_SIZE = 2048

_ROUTES4, _ROUTES6 = Path("/proc/thread-self/net/route"), Path("/proc/thread-self/net/ipv6_route")
_RTF_UP_GATEWAY = 0x3  # linux/route.h
_IPV6_ADDR_PREFERENCES, _IPV6_PREFER_SRC_PUBLIC = 72, 2  # linux/in6.h
_ELSEWHERE6 = ("2001:db8::1", 9)
"""An address of another network: which one of ours leads there? Nothing is sent."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where packets to other networks go, by which interface, and our address on the way."""

    address: str
    interface: str
    client: str


def gateways() -> list[Gateway]:
    """The default gateways, those with the smallest metric first, IPv4 before IPv6.

    Left out: those towards which this host has no address, or of IPv6 none that others know."""
    return _found(_routes4(), socket.AF_INET) + _found(_routes6(), socket.AF_INET6)


def _found(routes: list[tuple[int, str, str]], family: int) -> list[Gateway]:
    found: list[Gateway] = []
    for _, address, interface in sorted(routes):
        client = _client(address, family)
        if client is not None and all(address != known.address for known in found):
            found.append(Gateway(address, interface, client))
    return found[:MAX_GATEWAYS]


def _routes4() -> list[tuple[int, str, str]]:
    """Metric, gateway and interface of every IPv4 default route (`proc(5)`)."""
    found = []
    for line in _lines(_ROUTES4)[1:]:
        interface, destination, gateway, flags, _, _, metric, mask, *_ = line.split()
        up = int(flags, 16) & _RTF_UP_GATEWAY == _RTF_UP_GATEWAY
        if up and int(destination, 16) == int(mask, 16) == 0:
            packed = struct.pack("=I", int(gateway, 16))
            found.append((int(metric), socket.inet_ntop(socket.AF_INET, packed), interface))
    return found


def _routes6() -> list[tuple[int, str, str]]:
    found = []
    for line in _lines(_ROUTES6):
        destination, bits, _, _, gateway, metric, _, _, flags, interface = line.split()
        up = int(flags, 16) & _RTF_UP_GATEWAY == _RTF_UP_GATEWAY
        if up and int(destination, 16) == int(bits, 16) == 0:
            address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(gateway))
            found.append((int(metric, 16), address, interface))
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # a kernel without this family
        return []


def _client(address: str, family: int) -> str | None:
    """Our address as this gateway should know it; of IPv6 the one that is good elsewhere, too."""
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, _IPV6_ADDR_PREFERENCES, _IPV6_PREFER_SRC_PUBLIC)
            probe.connect(_ELSEWHERE6)
        else:
            probe.connect((address, PORT))
        client = ipaddress.ip_address(probe.getsockname()[0])
        return None if client.is_link_local or client.is_loopback else str(client)
    return None


class GatewaySocket:
    """A UDP socket that talks with one gateway's port 5351 only."""

    def __init__(self, gateway: Gateway) -> None:
        """Raises OSError: the gateway, or the address towards it, has gone."""
        six = ":" in gateway.address
        self.gateway = gateway
        self.sock = socket.socket(
            socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        )
        try:
            self.sock.bind((gateway.client, 0))
            if six:
                scope = socket.if_nametoindex(gateway.interface)
                self.sock.connect((gateway.address, PORT, 0, scope))
            else:
                self.sock.connect((gateway.address, PORT))
        except OSError:
            self.sock.close()
            raise

    def send(self, data: bytes) -> None:
        """Send a datagram; what the network does to it is no error."""
        with contextlib.suppress(OSError):
            self.sock.send(data)

    def read(self, received: Callable[[bytes, Endpoint], None]) -> None:
        """Hand over what has arrived: bytes, and the endpoint they are from."""
        _read(self.sock, received)

    def close(self) -> None:
        """Talk no more."""
        self.sock.close()


class Announcements:
    """Hears gateways say that they have restarted (RFC 6886 section 3.2.1, RFC 6887, 14.1.3)."""

    def __init__(self) -> None:
        """Raises OSError where the port is taken by a program that does not share it."""
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind(ANNOUNCEMENTS)
        except OSError:
            self.sock.close()
            raise

    def read(self, received: Callable[[bytes, Endpoint], None]) -> None:
        """Hand over what has arrived: bytes, and the endpoint they are from."""
        _read(self.sock, received)

    def close(self) -> None:
        """Hear no more."""
        self.sock.close()


def _read(sock: socket.socket, received: Callable[[bytes, Endpoint], None]) -> None:
    for _ in range(_TURN):
        try:
            data, source = sock.recvfrom(_SIZE)
        except BlockingIOError:
            return
        except OSError:  # such as ICMP's word that nobody listens there
            continue
        received(data, (str(source[0]), int(source[1])))
