"""Cut what a TUN with offloads hands out into ordinary packets, as the kernel would.

A TUN with `IFF_VNET_HDR` reads super-packets and packets whose checksum is unfinished. A receiver
whose kernel takes them writes them as they are; for any other receiver this module does the
kernel's work: `tcp_gso_segment` and `__udp_gso_segment` (Linux net/ipv4/{tcp,udp}_offload.c) and
`skb_checksum_help`. The header is `struct virtio_net_hdr` (`linux/virtio_net.h`), little-endian:

     0        1        2        4        6          8           10
     | flags  | type   | hdr_len| gso    | checksum | checksum  |
     |        |        |        | size   | start    | offset    |

`hdr_len` is a hint that the kernel itself distrusts; it is checked against the length, not used.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeAlias

from meshd.node.errors import RemoteError

Buffer: TypeAlias = "bytes | bytearray | memoryview"

HEADER_SIZE = 10

# linux/virtio_net.h: VIRTIO_NET_HDR_F_* and VIRTIO_NET_HDR_GSO_*
NEEDS_CSUM, DATA_VALID = 1, 2
GSO_NONE, GSO_TCP4, GSO_TCP6, GSO_UDP = 0, 1, 4, 5
GSO_ECN = 0x80

PACKET_SIZE_MAX = 65_535
TCP_SEGMENTS_MAX = 1_366
"""A full packet at the least segment size that Linux accepts from a peer, TCP_MIN_SND_MSS = 48."""
UDP_SEGMENTS_MAX = 128
"""UDP_MAX_SEGMENTS of linux/udp.h (64 before Linux 6.9)."""

_IPV4_SIZE, _IPV6_SIZE, _TCP_SIZE, _UDP_SIZE = 20, 40, 20, 8
HEADERS_MAX = 128
"""IPv4 and TCP with all their options, or IPv6 with a few, bytes."""
_TCP, _UDP = 6, 17
_HOP_BY_HOP, _DESTINATION_OPTIONS = 0, 60
_TCP_CHECKSUM, _UDP_CHECKSUM = 16, 6
_FIN, _PSH, _CWR = 0x01, 0x08, 0x80
_GSO_TYPES = (GSO_NONE, GSO_TCP4, GSO_TCP6, GSO_UDP, GSO_TCP4 | GSO_ECN, GSO_TCP6 | GSO_ECN)

_virtio = struct.Struct("<BBHHHH")
_u16 = struct.Struct(">H")
_u32 = struct.Struct(">I")


class _Layout(NamedTuple):
    """Where a super-packet's parts are, in bytes from its start."""

    version: int
    transport: int  # of the TCP or UDP header
    payload: int
    protocol: int


def validate(header: Buffer, length: int) -> bool:
    """Whether a 10-byte header is one that a kernel may be given with `length` bytes of packet.

    Bounds what a peer can make the kernel or `split` do: offsets inside the packet, known types,
    and no more segments than the kernel itself would put into one packet.
    """
    if len(header) != HEADER_SIZE or not _IPV4_SIZE <= length <= PACKET_SIZE_MAX:
        return False
    fields: tuple[int, ...] = _virtio.unpack(header)
    flags, kind, hdr_len, gso_size, start, offset = fields
    if flags & ~(NEEDS_CSUM | DATA_VALID) or kind not in _GSO_TYPES or hdr_len > length:
        return False
    if flags & NEEDS_CSUM and not _IPV4_SIZE <= start <= length - offset - 2:
        return False
    if kind == GSO_NONE:
        return True
    smallest = _IPV4_SIZE + (_UDP_SIZE if kind == GSO_UDP else _TCP_SIZE)
    segments = UDP_SEGMENTS_MAX if kind == GSO_UDP else TCP_SEGMENTS_MAX
    return gso_size > 0 and smallest < length <= gso_size * segments + HEADERS_MAX


def split(header: Buffer, packet: Buffer) -> list[bytes]:
    """The complete IP packets that `packet` with its virtio `header` stands for, in order.

    Raises RemoteError("offload-malformed") if the header does not fit the packet.
    """
    if not validate(header, len(packet)):
        raise RemoteError("offload-malformed", "the virtio header is out of bounds")
    flags, kind, _hdr_len, gso_size, start, offset = _virtio.unpack(header)
    if kind == GSO_NONE:
        return [finish_checksum(packet, start, offset) if flags & NEEDS_CSUM else bytes(packet)]
    view = memoryview(packet)
    layout = _parse(view, kind)
    if layout is None or (flags & NEEDS_CSUM and start != layout.transport):
        raise RemoteError("offload-malformed", "the packet is not what its virtio header says")
    limit = UDP_SEGMENTS_MAX if layout.protocol == _UDP else TCP_SEGMENTS_MAX
    if len(view) - layout.payload > gso_size * limit:
        raise RemoteError("offload-malformed", "too many segments")
    return _cut(view, layout, gso_size)


def divide(header: Buffer, packet: Buffer, room: int) -> list[bytes]:
    """Smaller super-packets, each of as many segments as `room` bytes of payload hold, but of one
    at least, behind a virtio header; empty when there is nothing to divide.

    What the kernel left to its device is left to the other end's still: nothing is summed up here.
    """
    if not validate(header, len(packet)):
        return []
    flags, kind, hdr_len, gso_size, start, offset = _virtio.unpack(header)
    view = memoryview(packet)
    layout = _parse(view, kind) if kind != GSO_NONE and flags & NEEDS_CSUM else None
    if layout is None or start != layout.transport:
        return []
    last = _virtio.pack(flags, GSO_NONE, hdr_len, 0, start, offset)
    heads = (last, bytes(header))
    pieces = _cut(view, layout, gso_size, max(1, room // gso_size))
    return [heads[len(piece) - layout.payload > gso_size] + piece for piece in pieces]


def finish_checksum(packet: Buffer, start: int, offset: int) -> bytes:
    """`packet` with its checksum, at `start + offset`, taken over everything from `start` on.

    The field holds the pseudo-header's sum so far. As in Linux skb_checksum_help, 0 becomes its
    equal 0xFFFF, because UDP reads 0 as "no checksum" (RFC 768). The caller has checked the bounds.
    """
    done = bytearray(packet)
    checksum = _complement(_sum(memoryview(done)[start:])) or 0xFFFF
    _u16.pack_into(done, start + offset, checksum)
    return bytes(done)


def _parse(packet: memoryview, kind: int) -> _Layout | None:
    """Find the headers of a super-packet; None if they are not those of `kind`."""
    version = packet[0] >> 4
    if version == 4:
        transport, protocol = (packet[0] & 15) * 4, packet[9]
        fragment = _u16.unpack_from(packet, 6)[0] & 0x3FFF
        if transport < _IPV4_SIZE or fragment or _u16.unpack_from(packet, 2)[0] != len(packet):
            return None
    elif version == 6 and len(packet) >= _IPV6_SIZE:
        transport, protocol = _IPV6_SIZE, packet[6]
        if _u16.unpack_from(packet, 4)[0] != len(packet) - _IPV6_SIZE:
            return None
        while protocol in (_HOP_BY_HOP, _DESTINATION_OPTIONS) and transport + 8 <= len(packet):
            protocol, transport = packet[transport], transport + 8 + packet[transport + 1] * 8
    else:
        return None
    expected = {GSO_TCP4: (4, _TCP), GSO_TCP6: (6, _TCP), GSO_UDP: (version, _UDP)}
    if (version, protocol) != expected[kind & ~GSO_ECN]:
        return None
    payload = transport + _UDP_SIZE
    if protocol == _TCP:
        if transport + _TCP_SIZE > len(packet):
            return None
        data_offset = (packet[transport + 12] >> 4) * 4
        if data_offset < _TCP_SIZE:
            return None
        payload = transport + data_offset
    return _Layout(version, transport, payload, protocol) if payload < len(packet) else None


def _cut(
    packet: memoryview, layout: _Layout, gso_size: int, together: int | None = None
) -> list[bytes]:
    """One packet per `gso_size` bytes of payload, with everything that differs filled in.

    With `together`, so many in one, whose checksum has only the pseudo-header's sum in it.
    """
    version, transport, payload, protocol = layout
    headers = bytearray(packet[:payload])
    is_tcp = protocol == _TCP
    checksum_at = transport + (_TCP_CHECKSUM if is_tcp else _UDP_CHECKSUM)
    _u16.pack_into(headers, checksum_at, 0)
    addresses = packet[12:20] if version == 4 else packet[8:40]
    pseudo = _sum(addresses) + protocol
    identification = _u16.unpack_from(packet, 4)[0]
    sequence = _u32.unpack_from(packet, transport + 4)[0] if is_tcp else 0
    flags = packet[transport + 13] if is_tcp else 0
    packets: list[bytes] = []
    step = gso_size * (together or 1)
    for index, at in enumerate(range(payload, len(packet), step)):
        data = packet[at : at + step]
        size = payload + len(data)
        if is_tcp:
            _u32.pack_into(headers, transport + 4, (sequence + at - payload) & 0xFFFFFFFF)
            last = at + step >= len(packet)
            kept = flags if last else flags & ~(_FIN | _PSH)
            headers[transport + 13] = kept if index == 0 else kept & ~_CWR
        else:
            _u16.pack_into(headers, transport + 4, size - transport)
        if version == 4:
            _u16.pack_into(headers, 2, size)
            _u16.pack_into(headers, 4, (identification + index * (together or 1)) & 0xFFFF)
            _u16.pack_into(headers, 10, 0)
            _u16.pack_into(headers, 10, _complement(_sum(headers[:transport])))
        else:
            _u16.pack_into(headers, 4, size - _IPV6_SIZE)
        segment = headers + data
        checksum = (pseudo + size - transport) % 0xFFFF
        if together is None:
            checksum = _complement(checksum + _sum(headers[transport:]) + _sum(data))
            checksum = checksum if is_tcp else checksum or 0xFFFF
        _u16.pack_into(segment, checksum_at, checksum)
        packets.append(bytes(segment))
    return packets


def _sum(data: Buffer) -> int:
    """A number congruent to the one's complement sum of the 16-bit words (RFC 1071).

    2**16 is 1 modulo 65,535, so the whole text, read as one number, is congruent to that sum.
    """
    number = int.from_bytes(data, "big")
    return (number << 8 if len(data) & 1 else number) % 0xFFFF


def _complement(total: int) -> int:
    """The checksum field for a sum of at least one non-zero word."""
    return -total % 0xFFFF
