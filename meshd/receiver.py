"""Datagrams in batches: those that GRO joined, and those that only wait behind each other.

A batch is datagrams of one size (the last maybe shorter) from one source. Where the kernel joins
them, one call brings many; where it does not, single ones are read one behind the other into one
buffer, so that whoever takes the batch still pays once for all.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from meshd.host.scatter import RECEIVE_SIZE, ScatterBuffer
from meshd.host.udp import Endpoint, UdpSockets

BULK = 16_384
"""Bytes from which a batch is worth taking apart while it is received."""
TOGETHER = 64
"""Single datagrams in a batch."""
JOINED = 256
"""Large batches that are received in one piece after one that was taken apart in vain: what is to
be relayed, or came through a relay."""


class Received(NamedTuple):
    """A batch, valid until the next `Receiver.receive`."""

    data: memoryview
    """The datagrams, one behind the other; empty if they were taken apart."""
    size: int
    """Bytes of all of them."""
    segment: int
    """Bytes of each, but for the last."""
    source: Endpoint


class Receiver:
    """Reads the sockets of `udp`, each until nothing waits in it.

    Attributes:
        scatter: headers and slices of the last batch, where its `data` are empty.
    """

    __slots__ = ("_apart", "_drained", "_joined", "_next", "_udp", "_view", "scatter")

    def __init__(self, udp: UdpSockets, segment: int) -> None:
        self.scatter = ScatterBuffer(segment)
        self._udp = udp
        self._view = memoryview(bytearray(2 * RECEIVE_SIZE))
        self._apart = False
        """Whether the last receive was a large batch, so that the next may be one."""
        self._drained = False
        self._joined = 0
        """Large batches that are not to be taken apart."""
        self._next: Received | None = None
        """What was read behind a batch and does not belong to it."""

    def begin(self) -> None:
        """A new turn: something may wait again."""
        self._drained = False

    @property
    def pending(self) -> bool:
        """Whether a batch was read that no socket tells of any more."""
        return self._next is not None

    def receive(self, sock: socket.socket) -> Received | None:
        """The next batch; None: nothing waits, or nothing did when the turn's last was read."""
        following, self._next = self._next, None
        if following is not None:
            return following
        if self._drained:
            return None
        if self._apart:
            return self._receive_apart(sock)
        view = self._view
        received = self._udp.receive_into(sock, view)
        if received is None:
            return None
        size, segment, source = received
        if segment < size:
            return self._batch(view[:size], segment, source)
        return self._together(sock, size, source)

    def join(self) -> None:
        """The last batch was taken apart in vain: others may be like it."""
        self._joined, self._apart = JOINED, False

    def _receive_apart(self, sock: socket.socket) -> Received | None:
        received = self._udp.receive_scattered(sock, self.scatter.buffers)
        if received is None:
            return None
        size, segment, source = received
        self._apart = size >= BULK
        alone = segment >= size and size <= self.scatter.segment
        if alone or segment == self.scatter.segment:
            return Received(self._view[:0], size, segment, source)
        data = self.scatter.linear(size)
        if self._apart:
            self.scatter.aim(segment)
        return Received(data, size, segment, source)

    def _batch(self, data: memoryview, segment: int, source: Endpoint) -> Received:
        size = len(data)
        if size >= BULK:
            self._joined -= self._joined > 0
            self._apart = not self._joined
            if self._apart:
                self.scatter.aim(segment)
        else:
            self._apart = False
        return Received(data, size, segment, source)

    def _together(self, sock: socket.socket, size: int, source: Endpoint) -> Received:
        """A single datagram lies in the buffer: read those that follow behind it."""
        view, read, end = self._view, self._udp.receive_into, size
        for _ in range(TOGETHER - 1):
            if end + size > RECEIVE_SIZE:
                break
            received = read(sock, view[end:])
            if received is None:
                self._drained = True
                break
            more, segment, sender = received
            if more > size or segment < more or sender != source:
                self._next = self._batch(view[end : end + more], segment, sender)
                break
            end += more
            if more < size:
                break
        return Received(view[:end], end, size, source)
