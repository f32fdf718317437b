"""The addresses of this host, as a netlink dump tells them (`rtnetlink(7)`)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_NETLINK_ROUTE, _NLM_F_DUMP, _NLMSG_ERROR, _NLMSG_DONE = 0, 0x301, 2, 3
_RTM_GETLINK, _RTM_GETADDR, _RT_SCOPE_LINK = 18, 22, 253
_IFF_UP, _IFF_RUNNING, _IFF_MULTICAST = 0x1, 0x40, 0x1000
_IFLA_LINKINFO, _IFLA_INFO_KIND, _IFA_ADDRESS, _IFA_LOCAL = 18, 1, 1, 2
_IFA_F_UNWANTED = 0x01 | 0x08 | 0x20 | 0x40  # temporary, failed, outdated, tentative
_IPV4_LINK_LOCAL = "169.254."
_ADDRESSES_MAX = 16


@dataclass(frozen=True, slots=True)
class Attached:
    """An address of this host, and the interface that has it."""

    address: str
    length: int
    """Bits of its prefix."""
    index: int
    """The interface's."""
    running: bool
    """Whether the interface has a carrier."""
    multicast: bool

    @property
    def link_local(self) -> bool:
        """Whether it is an IPv4 address that the host gave itself (RFC 3927)."""
        return self.address.startswith(_IPV4_LINK_LOCAL)


def attached() -> list[Attached]:
    """The addresses of this host that somebody on its networks might reach, at most 16: IPv4, IPv6,
    then those of IPv4 that it gave itself.

    Left out: loopback, IPv6 link-local, interfaces that are down, IPv6 addresses that are
    tentative, outdated or temporary (RFC 8981), and addresses on TUN devices, ours or another
    VPN's. Two netlink dumps (`rtnetlink(7)`), under a millisecond: ask again whenever it matters.
    """
    usable: dict[int, int] = {}
    for link in _dump(_RTM_GETLINK, socket.AF_UNSPEC):
        index, flags = struct.unpack_from("=iI", link, 4)
        kind = _attributes(_attributes(link[16:]).get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND)
        if flags & _IFF_UP and kind != b"tun\0":
            usable[index] = flags
    found: list[Attached] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for message in _dump(_RTM_GETADDR, family):
            length, flags, scope, index = struct.unpack_from("=xBBBI", message)
            values = _attributes(message[8:])
            address = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
            unwanted = family == socket.AF_INET6 and flags & _IFA_F_UNWANTED
            text = socket.inet_ntop(family, address) if address else ""
            near = scope < _RT_SCOPE_LINK or text.startswith(_IPV4_LINK_LOCAL)
            if address and index in usable and near and not unwanted:
                link_flags = usable[index]
                running, multicast = link_flags & _IFF_RUNNING, link_flags & _IFF_MULTICAST
                found.append(Attached(text, length, index, bool(running), bool(multicast)))
    found.sort(key=lambda each: each.link_local)
    return found[:_ADDRESSES_MAX]


def reachable(found: Sequence[Attached]) -> list[str]:
    """Which of them a peer might reach: link-local ones only where there is no other."""
    wide = [each.address for each in found if not each.link_local]
    return wide or [each.address for each in found]


def local_addresses() -> list[str]:
    """Where a peer might reach this host, as things are now."""
    return reachable(attached())


def _dump(request: int, family: int) -> Iterator[bytes]:
    """The bodies of the kernel's answers to a netlink dump request."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as sock:
        body = struct.pack("=B15x", family)
        sock.send(struct.pack("=IHHII", 16 + len(body), request, _NLM_F_DUMP, 1, 0) + body)
        while True:
            data = sock.recv(65_536)
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    return
                yield data[16:length]
                data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    """The rtattr list in `data`, by type."""
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found
