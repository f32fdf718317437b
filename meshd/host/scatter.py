"""A receive buffer that takes a GRO batch apart: headers here, slices there.

The kernel copies each datagram of a batch through the buffers of one `recvmsg`. Buffers that
alternate in the batch's own rhythm, a header's size and a slice's, let that copy do what would
otherwise take two more: the slices of a frame end up joined.
"""

from __future__ import annotations

RECEIVE_SIZE = 65_536
HEADER_SIZE = 16
SEGMENT_MIN = 200


class ScatterBuffer:
    """Attributes:
    segment: the datagram size, bytes, that it is made for.
    buffers: for `recvmsg_into`.
    headers: the first 16 bytes of each datagram, one after the other.
    body: the rest of each, one after the other.
    """

    __slots__ = ("_linear", "body", "buffers", "headers", "segment")

    def __init__(self, segment: int) -> None:
        self.body = memoryview(bytearray(RECEIVE_SIZE))
        self.headers = memoryview(bytearray(RECEIVE_SIZE))
        self._linear = memoryview(bytearray(RECEIVE_SIZE))
        self.segment = 0
        self.buffers: list[memoryview] = []
        self.aim(segment)

    def aim(self, segment: int) -> None:
        """Be made for datagrams of `segment` bytes from now on; those too small for the number
        of buffers that one call may have (UIO_MAXIOV in linux/uio.h: 1024) are not worth it."""
        if segment == self.segment or segment < SEGMENT_MIN:
            return
        self.segment = segment
        chunk = segment - HEADER_SIZE
        self.buffers = []
        for at, start in enumerate(range(0, RECEIVE_SIZE, segment)):
            body = at * chunk
            taken = min(HEADER_SIZE, RECEIVE_SIZE - start)
            self.buffers.append(self.headers[at * HEADER_SIZE : at * HEADER_SIZE + taken])
            rest = min(chunk, RECEIVE_SIZE - start - taken)
            if rest:
                self.buffers.append(self.body[body : body + rest])

    def linear(self, size: int) -> memoryview:
        """The `size` bytes received, as they came; valid until the next call."""
        linear, start = self._linear, 0
        for part in self.buffers:
            end = min(start + len(part), size)
            linear[start:end] = part[: end - start]
            if end == size:
                break
            start = end
        return linear[:size]
