"""The bytes of PCP (RFC 6887) and of NAT-PMP (RFC 6886), as a client sends and reads them.

Both speak over UDP with port 5351 of the gateway, and the first byte tells them apart: 2 and 0. All
numbers are big-endian, all addresses of PCP have 16 bytes, IPv4 ones mapped into IPv6::

    PCP request     2 | opcode | 0 u16 | lifetime u32 | client address 16
    PCP response    2 | opcode + 128 | 0 | result | lifetime u32 | epoch u32 | 0 x 12
    MAP adds        nonce 12 | protocol | 0 x 3 | internal port u16 | external port u16 | address 16

    NAT-PMP asks    0 | 0                                         for the public address
                    0 | 1 (UDP) or 2 (TCP) | 0 u16 | internal u16 | external u16 | lifetime u32
    it answers      0 | opcode + 128 | result u16 | epoch u32, then
                    the address 4, or internal u16 | external u16 | lifetime u32
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias

from meshd.node.errors import RemoteError
from meshd.node.wire import Endpoint

PORT: Final = 5351
"""Where a gateway listens (RFC 6886 section 1.1, RFC 6887 section 19.1)."""
ANNOUNCEMENTS: Final = ("224.0.0.1", 5350)
"""Where gateways tell their clients that they have restarted (RFC 6887 section 14.1.2)."""
RESPONSE_MAX: Final = 1100
"""Bytes of the longest PCP message (RFC 6887 section 7)."""
NONCE_SIZE: Final = 12

PCP_VERSION: Final = 2
NATPMP_VERSION: Final = 0

_ANNOUNCE, _MAP = 0, 1
_ANSWER = 0x80
_REQUEST: Final = struct.Struct(">BBHI16s")
_RESPONSE: Final = struct.Struct(">BBxBII12x")
_MAP_BODY: Final = struct.Struct(">12sB3xHH16s")
_NATPMP_MAP: Final = struct.Struct(">BBHHHI")
_NATPMP_HEAD: Final = struct.Struct(">BBHI")
_NATPMP_MAPPED: Final = struct.Struct(">HHI")
_PCP_SIZE_MIN: Final = 24
"""Bytes of a PCP response's head, all of a response to ANNOUNCE."""


class Transport(IntEnum):
    """What a port belongs to, by its IANA protocol number."""

    TCP = 6
    UDP = 17


_NATPMP_OPCODES = {Transport.UDP: 1, Transport.TCP: 2}
_NATPMP_TRANSPORTS = {opcode: transport for transport, opcode in _NATPMP_OPCODES.items()}

PCP_RESULTS: Final = (
    "success",
    "version not supported",
    "not authorized",
    "malformed request",
    "opcode not supported",
    "option not supported",
    "malformed option",
    "network failure",
    "no resources",
    "protocol not supported",
    "quota exceeded",
    "cannot provide the external port",
    "address mismatch",
    "excessive remote peers",
)
"""What a PCP result code says, by its number (RFC 6887 section 7.4)."""
NATPMP_RESULTS: Final = (
    "success",
    "version not supported",
    "not authorized",
    "network failure",
    "no resources",
    "opcode not supported",
)
"""What a NAT-PMP result code says, by its number (RFC 6886 section 3.5)."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """The gateway does not speak the version that was asked; it speaks `version`, it says."""

    version: int


@dataclass(frozen=True, slots=True)
class Announced:
    """PCP: the gateway is there, and counts `epoch` seconds since it last lost its mappings."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Mapped:
    """PCP: it forwards `external` to our `internal` port for `lifetime` seconds (0: no more).

    With an `error` it does not, and would not within `lifetime` seconds."""

    nonce: bytes
    transport: int
    internal: int
    external: Endpoint
    lifetime: int
    epoch: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """NAT-PMP: the gateway's outer address, None if it has none or does not tell: `error`."""

    address: str | None
    epoch: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PortMapped:
    """NAT-PMP: it forwards the `external` port to our `internal` one for `lifetime` seconds.

    With an `error` it does not, and all but `transport` is 0."""

    transport: Transport
    internal: int
    external: int
    lifetime: int
    epoch: int
    error: str | None = None


Response: TypeAlias = "Unsupported | Announced | Mapped | PublicAddress | PortMapped"


def ask_announce(client: str) -> bytes:
    """A PCP request that asks for nothing but the epoch; `client`: our own address."""
    return _REQUEST.pack(PCP_VERSION, _ANNOUNCE, 0, 0, _packed(client))


def ask_map(
    client: str,
    nonce: bytes,
    transport: Transport,
    internal: int,
    suggested: Endpoint,
    lifetime: int,
) -> bytes:
    """A PCP request to forward a port to our `internal` one for `lifetime` seconds, if it can be
    the `suggested` endpoint (0.0.0.0 or ::, any address); with a lifetime of 0, no longer."""
    head = _REQUEST.pack(PCP_VERSION, _MAP, 0, lifetime, _packed(client))
    address, port = suggested
    return head + _MAP_BODY.pack(nonce, transport, internal, port, _packed(address))


def ask_public_address() -> bytes:
    """A NAT-PMP request for the gateway's outer address."""
    return bytes((NATPMP_VERSION, 0))


def ask_port(transport: Transport, internal: int, suggested: int, lifetime: int) -> bytes:
    """A NAT-PMP request to forward a port, `suggested` if it is free, to our `internal` one for
    `lifetime` seconds; with a lifetime of 0 (and `suggested` 0), to forward it no more."""
    opcode = _NATPMP_OPCODES[transport]
    return _NATPMP_MAP.pack(NATPMP_VERSION, opcode, 0, internal, suggested, lifetime)


def decode(data: bytes) -> Response:
    """What a gateway says. Raises RemoteError: no response of either protocol, or one that is
    impossible, such as a success without a port or with an address that nobody can have."""
    if len(data) < 4 or not data[1] & _ANSWER:
        raise RemoteError("portmap-malformed", f"{len(data)} bytes are no answer")
    if data[0] == PCP_VERSION:
        return _decode_pcp(data)
    if data[0] == NATPMP_VERSION:
        return _decode_natpmp(data)
    if data[3] == 1:  # another version of PCP, which says so (RFC 6887 section 9)
        return Unsupported(data[0])
    raise RemoteError("portmap-malformed", f"version {data[0]}")


def _decode_pcp(data: bytes) -> Response:
    if not _PCP_SIZE_MIN <= len(data) <= RESPONSE_MAX or len(data) % 4:
        raise RemoteError("portmap-malformed", f"{len(data)} bytes of PCP")
    _, opcode, result, lifetime, epoch = _RESPONSE.unpack_from(data)
    if result == 1:
        return Unsupported(PCP_VERSION)
    error = _word(PCP_RESULTS, result)
    if opcode == _ANNOUNCE | _ANSWER and error is None:
        return Announced(epoch)
    if opcode != _MAP | _ANSWER or len(data) < _PCP_SIZE_MIN + _MAP_BODY.size:
        raise RemoteError("portmap-malformed", f"PCP opcode {opcode}, {len(data)} bytes")
    body = _MAP_BODY.unpack_from(data, _PCP_SIZE_MIN)
    nonce, transport, internal, port, packed = body
    address: IPv4Address | IPv6Address = IPv6Address(packed)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if error is None and lifetime:
        _check(address, port)
    return Mapped(nonce, transport, internal, (str(address), port), lifetime, epoch, error)


def _decode_natpmp(data: bytes) -> Response:
    if len(data) < _NATPMP_HEAD.size:
        raise RemoteError("portmap-malformed", f"{len(data)} bytes of NAT-PMP")
    _, opcode, result, epoch = _NATPMP_HEAD.unpack_from(data)
    if result == 1:
        return Unsupported(NATPMP_VERSION)
    error, body = _word(NATPMP_RESULTS, result), data[_NATPMP_HEAD.size :]
    if opcode == _ANSWER:
        if error is not None:
            return PublicAddress(None, epoch, error)
        if len(body) != 4:
            raise RemoteError("portmap-malformed", f"an address of {len(body)} bytes")
        address = IPv4Address(body)
        _check(address, PORT)
        return PublicAddress(str(address), epoch)
    transport = _NATPMP_TRANSPORTS.get(opcode & ~_ANSWER)
    if transport is None:
        raise RemoteError("portmap-malformed", f"NAT-PMP opcode {opcode}")
    if error is not None:
        return PortMapped(transport, 0, 0, 0, epoch, error)
    if len(body) != _NATPMP_MAPPED.size:
        raise RemoteError("portmap-malformed", f"a mapping of {len(body)} bytes")
    internal, external, lifetime = _NATPMP_MAPPED.unpack(body)
    if lifetime and not external:
        raise RemoteError("portmap-malformed", "port 0")
    return PortMapped(transport, internal, external, lifetime, epoch)


def _check(address: IPv4Address | IPv6Address, port: int) -> None:
    """Raises RemoteError unless a host of another network could send something there."""
    unusable = (
        address.is_multicast
        or address.is_unspecified
        or address.is_loopback
        or address.is_link_local
        or (isinstance(address, IPv4Address) and address.is_reserved)
        or (isinstance(address, IPv4Address) and int(address) >> 24 == 0)
    )
    if unusable or not port:
        raise RemoteError("portmap-malformed", "an endpoint that nobody can send to")


def _word(results: tuple[str, ...], number: int) -> str | None:
    if number == 0:
        return None
    return results[number] if number < len(results) else f"error {number}"


def _packed(address: str) -> bytes:
    """16 bytes, an IPv4 address mapped into IPv6 (RFC 4291 section 2.5.5.2)."""
    parsed = ip_address(address)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed
