"""Bytes on the UDP port, and the entries inside a frame. All integers are big-endian.

A datagram begins with its kind::

    1 initiation   2 response   3 cookie reply      see `handshake`
    4 data         5 relayed    6 introduction      see `introducing`

A frame is what one AEAD call seals. It leaves as `count` segments, each in a datagram of its own::

     0       1       2       3       4               8                              16
    +-------+-------+-------+-------+---------------+------------------------------+--------
    | kind  | index | count | pari- | receiver u32  | counter u64                  | slice
    |       |       |       | ties  |               |                              |
    +-------+-------+-------+-------+---------------+------------------------------+--------

The slices are equal but for the last, which may be shorter; joined, they are the sealed frame:
ciphertext and one 16-byte tag. The nonce comes from the counter, the associated data is the
header of segment 0. `parities` more segments follow them on lossy paths, with the indexes from
`count` on (see `parity`); then all slices are equal. A relayed datagram carries another one whole::

     0       1               4               8
    +-------+---------------+---------------+----------
    | 5     | zero          | channel u32   | datagram
    +-------+---------------+---------------+----------

The plaintext of a frame is a row of entries, `type u8 | length u24 | body`.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

Buffer = bytes | bytearray | memoryview
"""What the socket calls take; `collections.abc.Buffer` is Python 3.12's."""

Endpoint = tuple[str, int]
"""A UDP address: numeric IP text (IPv6 has a colon in it) and port."""

STREAM = "tls:"
"""What the host text of an endpoint begins with where datagrams go through a TLS connection to (or
from) that TCP address, and not over UDP."""

VERSION = 1
"""The wire protocol's version, in every handshake message."""

INITIATION, RESPONSE, COOKIE, DATA, RELAYED, INTRODUCTION = 1, 2, 3, 4, 5, 6

HEADER = struct.Struct(">BBBBIQ")
HEADER_SIZE = HEADER.size
RELAY_PREFIX = struct.Struct(">BxxxI")
RELAY_SIZE = RELAY_PREFIX.size
TAG_SIZE = 16

ENTRY = struct.Struct(">I")
ENTRY_SIZE = ENTRY.size
PACKET, OFFLOAD, CONTROL, PADDING = 0, 1, 2, 3
MAX_ENTRY = (1 << 24) - 1

MAX_PACKET = 65_600
"""Bytes that one read of a TUN may bring, and the plaintext of the largest frame: 64 KB and a
virtio header."""

MAX_SEGMENTS = 128
"""Segments of a frame: the kernel's UDP_MAX_SEGMENTS (include/linux/udp.h)."""

MAX_BATCH = 65_400
"""Bytes of one send: below the 65,507 of a UDP datagram, whatever the family."""

BASE_SEGMENT = 1232
"""Datagram payload, bytes, that every path carries: IPv6's 1280 less its headers (RFC 8200)."""


@dataclass(slots=True)
class Frame:
    """A sealed frame, ready to send: hand `parts` to one `sendmsg` with `UDP_SEGMENT`.

    `parts` alternates headers and slices, two buffers a segment. On the packet path they point
    into a buffer that the next frame overwrites: send at once.
    """

    parts: Sequence[Buffer]
    segment_size: int
    count: int
    endpoint: Endpoint
    size: int
    """Bytes of all datagrams together."""


@dataclass(slots=True)
class Batch:
    """Datagrams to pass on as they are: `data` holds several of `segment_size` bytes, the last
    maybe shorter. Points into the receive buffer: send before the next datagram is read."""

    data: memoryview
    segment_size: int
    endpoint: Endpoint


def cut(
    sealed: memoryview,
    header: bytes,
    chunk: int,
    prefix: bytes = b"",
    parities: Sequence[Buffer] = (),
) -> list[Buffer]:
    """Cut a sealed frame into segments: `[header, slice, header, slice, ...]`.

    `header` is segment 0's; `chunk` the bytes of a slice; `prefix` goes before every header (a
    relay's); `parities` are the parity slices.
    """
    count = header[2]
    total = count + len(parities)
    if total == 1:
        return [prefix + header, sealed]
    # One call each for all headers and all slices: a loop costs twice as much.
    rest = header[2:]
    parts: list[Buffer] = [b""] * (2 * total)
    heads = rest.join(_heads(prefix, total)) + rest
    parts[::2] = slices(total, len(prefix) + HEADER_SIZE).unpack(heads)
    last = 2 * count - 1
    parts[1 : last - 1 : 2] = slices(count - 1, chunk).unpack_from(sealed)
    parts[last] = sealed[(count - 1) * chunk :]
    parts[last + 2 :: 2] = parities
    return parts


class Cutter:
    """Cuts frames that are sealed in one and the same buffer, without a copy: the views of its
    slices, and of the headers, are made once. What `cut` returns is good until it is called again.
    """

    __slots__ = ("_heads", "_sealed", "_views")

    def __init__(self, sealed: memoryview) -> None:
        self._sealed = sealed
        self._heads = memoryview(bytearray(MAX_SEGMENTS * (RELAY_SIZE + HEADER_SIZE)))
        self._views: dict[tuple[int, int], list[memoryview]] = {}

    def cut(self, size: int, header: bytes, chunk: int, prefix: bytes) -> list[Buffer]:
        """As the function `cut`, of the first `size` bytes."""
        count = header[2]
        rest = header[2:]
        heads = rest.join(_heads(prefix, count)) + rest
        self._heads[: len(heads)] = heads
        step = len(prefix) + HEADER_SIZE
        views = self._views.get((chunk, step)) or self._make(chunk, step)
        parts: list[Buffer] = [*views[: 2 * count - 1]]
        parts.append(self._sealed[(count - 1) * chunk : size])
        return parts

    def _make(self, chunk: int, step: int) -> list[memoryview]:
        views = []
        for index in range(MAX_SEGMENTS):
            views.append(self._heads[index * step : (index + 1) * step])
            views.append(self._sealed[index * chunk : (index + 1) * chunk])
        if len(self._views) >= _VIEWS_MAX:
            self._views.clear()
        self._views[chunk, step] = views
        return views


_VIEWS_MAX = 16
"""Sizes of slices that a `Cutter` knows the views of: paths have few widths."""


@lru_cache(maxsize=256)
def _heads(prefix: bytes, count: int) -> tuple[bytes, ...]:
    """What differs between the headers of one frame: the index, with what stands before it."""
    return tuple(prefix + bytes((DATA, index)) for index in range(count))


@lru_cache(maxsize=512)
def slices(count: int, size: int, skip: int = 0) -> struct.Struct:
    """Unpacks `count` pieces of `size` bytes, each behind `skip` bytes that are left out."""
    return struct.Struct(f"{skip}x{size}s" * count)


def entry(kind: int, body: bytes) -> bytes:
    """One entry of a frame. Raises ValueError when `body` is over 16 MiB."""
    if len(body) > MAX_ENTRY:
        raise ValueError(f"an entry holds at most {MAX_ENTRY} bytes, not {len(body)}")
    return ENTRY.pack(kind << 24 | len(body)) + body


def is_stream(endpoint: Endpoint) -> bool:
    """Whether datagrams to `endpoint` go through a TLS connection."""
    return endpoint[0].startswith(STREAM)


def address_of(endpoint: Endpoint) -> str:
    """The numeric IP text of an endpoint, a stream's too."""
    return endpoint[0].removeprefix(STREAM)


def pack_endpoint(endpoint: Endpoint) -> bytes:
    """6 bytes for IPv4, 18 for IPv6: address, then port u16. Raises ValueError."""
    host, port = endpoint
    if not 0 <= port <= 0xFFFF:
        raise ValueError(f"a port is at most 65535, not {port}")
    return ipaddress.ip_address(host).packed + port.to_bytes(2, "big")


def unpack_endpoint(data: bytes) -> Endpoint:
    """The inverse of `pack_endpoint`. Raises ValueError unless it is a unicast address and a
    port above zero; an IPv4-mapped IPv6 address comes back as IPv4."""
    if len(data) not in (6, 18):
        raise ValueError(f"an endpoint has 6 or 18 bytes, not {len(data)}")
    address = ipaddress.ip_address(data[:-2])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    port = int.from_bytes(data[-2:], "big")
    broadcast = ipaddress.IPv4Address("255.255.255.255")
    if port == 0 or address.is_multicast or address.is_unspecified or address == broadcast:
        raise ValueError("not an endpoint a datagram can be sent to")
    return str(address), port


def format_endpoint(endpoint: Endpoint) -> str:
    """`1.2.3.4:443`, or `[2001:db8::1]:443`; of a stream the TCP address."""
    host, port = address_of(endpoint), endpoint[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
