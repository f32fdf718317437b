"""Joins consecutive packets of one flow into one super-packet, as the kernel's GRO would.

What a write to the TUN costs does not depend on how many bytes it brings. Packets of one size that
follow each other in a frame become one write: a virtio header says how the kernel takes them apart
again, after most of what it does once per packet. `udp_gro_receive_segment` and `tcp_gro_receive`
(Linux net/ipv4/{udp,tcp}_offload.c) say what may be joined. Stricter here: all packets are of one
size, no IPv4 packet may be fragmented (so that nobody reads its identification, RFC 6864), and TCP
has no flag but ACK.

Nothing looks at packets one by one: the headers are put side by side, what may differ between them
is blanked out, and the rest is compared as a whole.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from functools import lru_cache
from itertools import takewhile
from operator import eq
from typing import NamedTuple

from meshd.node.offload import VNET
from meshd.node.segmentation import (
    GSO_TCP4,
    GSO_TCP6,
    GSO_UDP,
    NEEDS_CSUM,
    PACKET_SIZE_MAX,
    finish_checksum,
)
from meshd.node.wire import ENTRY_SIZE

TCP, UDP = 6, 17
LEAST = 8
"""Packets that are worth joining: fewer are written faster than they are compared."""
MOST = 64
"""Packets in one: UDP_MAX_SEGMENTS of linux/udp.h before 6.9."""

_ACK = 0x10
_DONT_FRAGMENT = 0x4000
_IP4, _IP6 = struct.Struct(">2xH2xHxB"), struct.Struct(">4xHB")
_virtio = struct.Struct("<BBHHHH")
_u16, _u32 = struct.Struct(">H"), struct.Struct(">I")
_tcp = struct.Struct(">4xI4xBB")


class Coalesced(NamedTuple):
    """Packets as one."""

    packet: bytes
    """Behind its virtio header."""
    packets: int
    spared: int
    """Bytes that the packets, each behind its virtio header, are more than this one."""


class _Shape(NamedTuple):
    """What the first packet of a run is, as far as it can begin one."""

    transport: int
    """Bytes before the TCP or UDP header."""
    payload: int
    """Bytes before the payload."""
    protocol: int
    sequence: int
    """Of TCP."""


def coalesce(
    plain: memoryview, start: int, stride: int, end: int, protocols: Collection[int]
) -> Coalesced | None:
    """The packets of the entries from `start` on that are one flow's, as one; None: fewer than
    LEAST are. An entry takes `stride` bytes, the last ends before `end`.

    The first must have been let through, and stand behind a virtio header. All others have its
    addresses. `protocols`: those whose super-packets the TUN takes, of TCP and UDP.
    """
    ip = start + ENTRY_SIZE + VNET
    most = min(MOST, (end - start) // stride)
    ports = ip + (20 if plain[ip] == 0x45 else 40)
    second = ports + stride
    if plain[ports : ports + 4] != plain[second : second + 4]:
        return None
    count = _repeated(plain[start + 3 : start + most * stride : stride])
    if count < LEAST:
        return None
    shape = _shape(plain, ip, stride - ENTRY_SIZE - VNET, protocols)
    if shape is None:
        return None
    head = ENTRY_SIZE + VNET + shape.payload
    size = stride - head
    count = min(count, (PACKET_SIZE_MAX - shape.payload) // size)
    if count < LEAST:
        return None
    pieces = _pieces(head, size, count).unpack_from(plain, start)
    heads = bytearray().join(pieces[::2])
    count = _same(heads, count, shape, size)
    if count < LEAST:
        return None
    headers = _headers(bytes(heads[ENTRY_SIZE:head]), shape.transport, size, count)
    if shape.protocol == TCP:
        at = VNET + shape.transport + 4
        headers = headers[:at] + _u32.pack(shape.sequence) + headers[at + 4 :]
    packet = b"".join((headers, *pieces[1 : 2 * count : 2]))
    return Coalesced(packet, count, (count - 1) * (head - ENTRY_SIZE))


def _shape(plain: memoryview, ip: int, length: int, protocols: Collection[int]) -> _Shape | None:
    """How the packet of `length` bytes at `ip` is laid out; None when it can begin no run."""
    if plain[ip] == 0x45:
        transport = 20
        total, fragment, protocol = _IP4.unpack_from(plain, ip)
        if fragment != _DONT_FRAGMENT:
            return None
    else:
        transport = total = 40
        rest, protocol = _IP6.unpack_from(plain, ip)
        if plain[ip] >> 4 != 6:
            return None
        total += rest
    payload, sequence = ip + transport + 8, 0
    if protocol not in protocols or total != length or total <= transport + 8:
        return None
    if protocol == TCP:
        if total <= transport + 20:
            return None
        sequence, offset, flags = _tcp.unpack_from(plain, ip + transport)
        payload = transport + (offset >> 4) * 4
        if flags != _ACK or offset < 0x50 or payload >= total:
            return None
    else:
        payload = transport + 8
        if _u16.unpack_from(plain, ip + transport + 4)[0] != total - transport:
            return None
    flags, kind, _, _, checksum_start, checksum_at = _virtio.unpack_from(plain, ip - VNET)
    unfinished = (NEEDS_CSUM, 0, transport, 16 if protocol == TCP else 6)
    if (flags, kind, checksum_start, checksum_at) != unfinished:
        return None
    return _Shape(transport, payload, protocol, sequence)


def _repeated(column: memoryview) -> int:
    """How often its first byte comes before another."""
    values = column.tobytes()
    return len(values) - len(values.lstrip(values[:1]))


def _same(heads: bytearray, count: int, shape: _Shape, size: int) -> int:
    """How many of the headers (`count`, side by side, each with what is before its packet) are
    the first one's, of packets with `size` bytes of payload. Leaves those, and zero where they
    differ."""
    width = len(heads) // count
    ip = width - shape.payload
    blank = bytes(count)
    if shape.protocol == TCP:
        at = ip + shape.transport + 4
        sequences = _sequences(at, width - at - 4, count).unpack(heads)
        due = (shape.sequence + i * size & 0xFFFFFFFF for i in range(count))
        count = sum(takewhile(bool, map(eq, sequences, due)))
        for column in range(at, at + 4):
            heads[column::width] = blank
    if shape.transport == 20:
        for column in (ip + 4, ip + 5, ip + 10, ip + 11):  # identification and checksum
            heads[column::width] = blank
    first = heads[:width] * count
    del heads[width * count :]
    if heads == first:
        return count
    differing = int.from_bytes(heads, "big") ^ int.from_bytes(first, "big")
    return count - -(-differing.bit_length() // (8 * width))


@lru_cache(maxsize=256)
def _headers(headers: bytes, transport: int, size: int, count: int) -> bytes:
    """The virtio header and the headers of `count` packets as one, from those of each, in which
    what differs is zero. What is to be in its place is IPv4's checksum, and TCP's sequence number
    for the caller to write."""
    head = bytearray(headers[VNET:])
    total = len(head) + count * size
    if transport == 20:
        _u16.pack_into(head, 2, total)
        head[:20] = finish_checksum(head[:20], 0, 10)
        kind, protocol = GSO_TCP4, head[9]
    else:
        _u16.pack_into(head, 4, total - transport)
        kind, protocol = GSO_TCP6, head[6]
    at = 16
    if protocol == UDP:
        kind, at = GSO_UDP, 6
        _u16.pack_into(head, transport + 4, total - transport)
    # The pseudo-header's sum has the length in it.
    (pseudo,) = _u16.unpack_from(head, transport + at)
    _u16.pack_into(head, transport + at, (pseudo + (count - 1) * size) % 0xFFFF)
    return _virtio.pack(NEEDS_CSUM, kind, len(head), size, transport, at) + head


@lru_cache(maxsize=256)
def _pieces(head: int, size: int, count: int) -> struct.Struct:
    """Unpacks headers and payloads, in turn."""
    return struct.Struct(f"{head}s{size}s" * count)


@lru_cache(maxsize=256)
def _sequences(before: int, behind: int, count: int) -> struct.Struct:
    """Unpacks the sequence numbers of TCP headers side by side."""
    return struct.Struct(">" + f"{before}xI{behind}x" * count)
