"""The addresses of this host, as a netlink dump tells them (`rtnetlink(7)`)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_NETLINK_ROUTE, _NLM_F_DUMP, _NLMSG_ERROR, _NLMSG_DONE = 0, 0x301, 2, 3
_RTM_GETLINK, _RTM_GETADDR, _RT_SCOPE_LINK = 18, 22, 253
_IFF_UP, _IFLA_LINKINFO, _IFLA_INFO_KIND, _IFA_ADDRESS, _IFA_LOCAL = 1, 18, 1, 1, 2
_IFA_F_UNWANTED = 0x01 | 0x08 | 0x20 | 0x40  # temporary, failed, outdated, tentative
_IPV4_LINK_LOCAL = "169.254."
_ADDRESSES_MAX = 16


def local_addresses() -> list[str]:
    """The addresses of this host that a peer might reach, IPv4 first, at most 16.

    Left out: loopback, link-local, interfaces that are down, IPv6 addresses that are tentative,
    outdated or temporary (RFC 8981), and addresses on TUN devices, ours or another VPN's.
    One netlink dump (`rtnetlink(7)`), under a millisecond: ask again whenever it matters.
    """
    usable = set()
    for link in _dump(_RTM_GETLINK, socket.AF_UNSPEC):
        index, flags = struct.unpack_from("=iI", link, 4)
        kind = _attributes(_attributes(link[16:]).get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND)
        if flags & _IFF_UP and kind != b"tun\0":
            usable.add(index)
    found: list[str] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for message in _dump(_RTM_GETADDR, family):
            flags, scope, index = struct.unpack_from("=xxBBI", message)
            values = _attributes(message[8:])
            address = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
            unwanted = family == socket.AF_INET6 and flags & _IFA_F_UNWANTED
            if address and index in usable and scope < _RT_SCOPE_LINK and not unwanted:
                text = socket.inet_ntop(family, address)
                if not text.startswith(_IPV4_LINK_LOCAL):
                    found.append(text)
    return found[:_ADDRESSES_MAX]


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
