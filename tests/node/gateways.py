"""Gateways for tests, as RFC 6886 and RFC 6887 describe them: they read requests and answer."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

GATEWAY, CLIENT, OUTSIDE = "192.168.1.1", "192.168.1.10", "203.0.113.5"
SOURCE = (GATEWAY, 5351)


def packed(address: str) -> bytes:
    parsed = ip_address(address)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


def pcp_head(opcode: int, result: int, lifetime: int, epoch: int, version: int = 2) -> bytes:
    return struct.pack(">BBxBII12x", version, 128 | opcode, result, lifetime, epoch)


def pcp_mapped(
    nonce: bytes,
    internal: int,
    endpoint: tuple[str, int] = (OUTSIDE, 443),
    lifetime: int = 3600,
    epoch: int = 100,
    *,
    transport: int = 17,
    result: int = 0,
) -> bytes:
    body = struct.pack(">12sB3xHH", nonce, transport, internal, endpoint[1])
    return pcp_head(1, result, lifetime, epoch) + body + packed(endpoint[0])


def natpmp_address(address: str = OUTSIDE, epoch: int = 100, result: int = 0) -> bytes:
    return struct.pack(">BBHI", 0, 128, result, epoch) + ip_address(address).packed


def natpmp_mapped(
    internal: int,
    external: int,
    lifetime: int = 3600,
    epoch: int = 100,
    *,
    opcode: int = 1,
    result: int = 0,
) -> bytes:
    head = struct.pack(">BBHI", 0, 128 | opcode, result, epoch)
    return head + struct.pack(">HHI", internal, external, lifetime)


@dataclass
class Gateway:
    """Answers what it is asked; a test changes what it speaks, grants, and remembers."""

    started: float = 0.0
    pcp: bool = True
    natpmp: bool = True
    client: str = CLIENT
    outside: str = OUTSIDE
    lifetime: int = 3600
    result: int = 0
    """What every request for a mapping is answered with."""
    taken: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Outer transport and port, and whose nonce holds it; NAT-PMP has none."""
    asked: list[bytes] = field(default_factory=list)

    def restart(self, now: float) -> None:
        """Forget everything."""
        self.started, self.taken = now, {}

    def answers(self, request: bytes, now: float) -> list[bytes]:
        self.asked.append(request)
        epoch = int(now - self.started)
        if request[0] == 2:
            return self._pcp(request, epoch)
        return self._natpmp(request, epoch)

    def _pcp(self, request: bytes, epoch: int) -> list[bytes]:
        if not self.pcp:  # RFC 6886 section 3.5
            return [struct.pack(">BBHI", 0, 128 | request[1], 1, epoch)] if self.natpmp else []
        assert len(request) in (24, 60)
        assert IPv6Address(request[8:24]) == IPv6Address("::ffff:" + self.client)
        if request[1] == 0:
            return [pcp_head(0, 0, 0, epoch)]
        lifetime = int.from_bytes(request[4:8], "big")
        nonce, transport, internal, port = struct.unpack_from(">12sB3xHH", request, 24)
        if self.result:
            no = pcp_mapped(
                nonce,
                internal,
                lifetime=30,
                epoch=epoch,
                transport=transport,
                result=self.result,
            )
            return [no]
        self._hold(transport, port or internal, nonce, lifetime)
        granted = min(lifetime, self.lifetime)
        endpoint = (self.outside, port or internal)
        return [pcp_mapped(nonce, internal, endpoint, granted, epoch, transport=transport)]

    def _natpmp(self, request: bytes, epoch: int) -> list[bytes]:
        if not self.natpmp:
            return [pcp_head(request[1], 1, 0, epoch)] if self.pcp else []
        if request[1] == 0:
            return [natpmp_address(self.outside, epoch)]
        opcode, internal, port, lifetime = struct.unpack(">xBxxHHI", request)
        if self.result:
            return [struct.pack(">BBHI", 0, 128 | opcode, self.result, epoch)]
        self._hold({1: 17, 2: 6}[opcode], port or internal, b"", lifetime)
        granted = min(lifetime, self.lifetime)
        return [natpmp_mapped(internal, port, granted, epoch, opcode=opcode)]

    def _hold(self, transport: int, port: int, nonce: bytes, lifetime: int) -> None:
        if lifetime:
            self.taken[transport, port] = nonce
        else:
            self.taken.pop((transport, port), None)
