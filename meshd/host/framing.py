"""Datagrams in a stream of bytes: each stands behind its length.

     0               2
    +---------------+------------------
    | length u16    | datagram (17 to 65,400 bytes)
    +---------------+------------------

A datagram whose first byte is zero is padding, and nobody's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

Buffer = bytes | bytearray | memoryview

LENGTH = struct.Struct(">H")
PREFIX = LENGTH.size
DATAGRAM_MIN, DATAGRAM_MAX = 17, 65_400
RUN_MAX = 65_535
"""Bytes that are handed on in one go: as many as one receive from a UDP socket brings."""
_PADDING = 0


class FramingError(Exception):
    """What came is no row of datagrams."""


def joined(parts: Sequence[Buffer], segment_size: int, count: int, parts_per_segment: int) -> bytes:
    """`count` datagrams as bytes of the stream.

    `parts` are their buffers in order, `parts_per_segment` to each; all are `segment_size` bytes
    long, only the last may be shorter.
    """
    stride = parts_per_segment + 1
    pieces: list[Buffer] = [LENGTH.pack(segment_size)] * (stride * count)
    for at in range(parts_per_segment):
        pieces[at + 1 :: stride] = parts[at::parts_per_segment]
    last = sum(map(len, parts[-parts_per_segment:]))
    if last != segment_size:
        pieces[-stride] = LENGTH.pack(last)
    return b"".join(pieces)


def padding(size: int) -> bytes:
    """`size` bytes of the stream that say nothing; `size` is at least 19."""
    return LENGTH.pack(size - PREFIX) + bytes(size - PREFIX)


def take(view: memoryview, size: int, deliver: Callable[[memoryview, int], None]) -> int:
    """Hand the datagrams in the first `size` bytes of `view` to `deliver`; how many bytes it took.

    They go in runs: datagrams of one size side by side, the last perhaps shorter, and that size;
    valid during the call. What is left is the beginning of a datagram. `view` is written to.
    Raises FramingError: no row of datagrams; those before it were delivered.
    """
    unpack = LENGTH.unpack_from
    at = 0
    while size - at >= PREFIX:
        (length,) = unpack(view, at)
        start = at + PREFIX
        end = start + length
        if not DATAGRAM_MIN <= length <= DATAGRAM_MAX:
            raise FramingError(f"a datagram of {length} bytes")
        if end > size:
            break
        at = end
        if view[start] == _PADDING:
            continue
        while size - at >= PREFIX:
            (more,) = unpack(view, at)
            following = at + PREFIX
            stop = following + more
            if (
                more > length
                or stop > size
                or more < DATAGRAM_MIN
                or end - start + more > RUN_MAX
                or view[following] == _PADDING
            ):
                break
            # side by side, without the lengths between them
            view[end : end + more] = view[following:stop]
            end += more
            at = stop
            if more < length:
                break
        deliver(view[start:end], length)
    return at
