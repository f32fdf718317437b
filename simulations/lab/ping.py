"""ICMP echo from inside a namespace, without a process per ping (RFC 792, RFC 4443)."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import struct
import time
from collections.abc import Sequence

from simulations.lab.namespaces import Namespace

ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
REQUEST = {4: 8, 6: 128}
REPLY = {4: 0, 6: 129}
PAYLOAD = bytes(range(48))


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Pinger:
    """Raw ICMP sockets of one namespace; close it when done."""

    def __init__(self, namespace: Namespace) -> None:
        with namespace.entered():
            self._sockets = {
                4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
                6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
            }
        for each in self._sockets.values():
            each.setblocking(False)
        self._identifier = os.getpid() & 0xFFFF
        self._sequence = 0

    def close(self) -> None:
        """Close the sockets."""
        for each in self._sockets.values():
            each.close()

    def __enter__(self) -> Pinger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ping(self, address: str, timeout_s: float = 1.0) -> float | None:
        """The round trip to ``address`` in seconds, or None if nothing came back in time."""
        return self.ping_all([address], timeout_s)[address]

    def ping_all(self, addresses: Sequence[str], timeout_s: float = 1.0) -> dict[str, float | None]:
        """Ping all at once; the round trip of each in seconds, None if none came in time."""
        found: dict[str, float | None] = dict.fromkeys(addresses)
        sent: dict[tuple[int, str], float] = {}
        for address in addresses:
            self._sequence = (self._sequence + 1) & 0xFFFF
            version = ipaddress.ip_address(address).version
            key = (self._sequence, ipaddress.ip_address(address).compressed)
            sent[key] = time.perf_counter()
            try:
                self._sockets[version].sendto(self._request(version), (address, 0))
            except OSError:
                del sent[key]  # no route yet: the same as no answer
        end = time.perf_counter() + timeout_s
        while sent and (left := end - time.perf_counter()) > 0:
            ready, _, _ = select.select(list(self._sockets.values()), [], [], left)
            for each in ready:
                key, now = self._reply(each)
                if key in sent:
                    found[self._spelled(addresses, key[1])] = now - sent.pop(key)
        return found

    def _request(self, version: int) -> bytes:
        head = ECHO.pack(REQUEST[version], 0, 0, self._identifier, self._sequence)
        value = checksum(head + PAYLOAD) if version == 4 else 0  # the kernel fills in ICMPv6's
        head = ECHO.pack(REQUEST[version], 0, value, self._identifier, self._sequence)
        return head + PAYLOAD

    def _reply(self, each: socket.socket) -> tuple[tuple[int, str], float]:
        packet, source = each.recvfrom(2048)
        now = time.perf_counter()
        version = 4 if each is self._sockets[4] else 6
        body = packet[(packet[0] & 15) * 4 :] if version == 4 else packet  # raw IPv4 has its header
        if len(body) < ECHO.size:
            return (-1, ""), now
        kind, _, _, identifier, sequence = ECHO.unpack_from(body)
        if kind != REPLY[version] or identifier != self._identifier:
            return (-1, ""), now
        return (sequence, ipaddress.ip_address(source[0]).compressed), now

    @staticmethod
    def _spelled(addresses: Sequence[str], compressed: str) -> str:
        return next(a for a in addresses if ipaddress.ip_address(a).compressed == compressed)
