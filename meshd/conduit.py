"""One established stream: datagrams in, datagrams out, nothing that waits for long.

What the kernel does not take waits in a queue of plaintext. When that is full the oldest bulk goes,
so that what is inside notices in time; small sends (handshakes, probes, gossip, acknowledgements)
stay. Sealed bytes are never dropped: TLS would break.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from meshd.host import framing, tcp
from meshd.host.channel import Channel, told
from meshd.host.framing import DATAGRAM_MIN, PREFIX, Buffer, FramingError
from meshd.node.wire import Endpoint

QUEUE_MAX = 196_608
"""Bytes that wait for the kernel: 16 ms at 100 Mbit/s."""
SMALL = 4096
"""Bytes of a send that does not give way to others while bulk is there to do so."""
RAW_SIZE = 131_072
"""Bytes of one receive."""
PLAIN_SIZE = 262_144
RECORD_MAX = 16_384
"""Bytes of one TLS record (RFC 8446, section 5.1)."""
FIT_INTERVAL = 0.05
"""Seconds between two times that the kernel's buffer is fitted to the way, while bulk waits."""
PADDED_WRITES = 8
"""Writes whose size is made to tell nothing: the ones that handshakes are known by."""
BUCKETS = (768, 1536, 3072, 6144, 12_288)
"""Sizes that they are filled up to, and a little more, at random."""
_JITTER = 255
_WEBSITE = b"HTTP/"


class Backlog:
    """Sends that wait, first in first out, `QUEUE_MAX` bytes of them; the oldest bulk gives way."""

    __slots__ = ("_bulk", "_count", "_small", "size")

    def __init__(self) -> None:
        self._bulk: deque[tuple[int, bytes]] = deque()
        self._small: deque[tuple[int, bytes]] = deque()
        self._count = 0
        self.size = 0
        """Bytes of all."""

    def __bool__(self) -> bool:
        return bool(self._bulk or self._small)

    def put(self, data: bytes) -> int:
        """Let `data` wait; how many others gave way."""
        self._count += 1
        (self._small if len(data) <= SMALL else self._bulk).append((self._count, data))
        self.size += len(data)
        dropped = 0
        while self.size > QUEUE_MAX:
            _, oldest = (self._bulk or self._small).popleft()
            self.size -= len(oldest)
            dropped += 1
        return dropped

    def get(self) -> bytes:
        """The one that waits longest. Raises IndexError: none does."""
        bulk, small = self._bulk, self._small
        first = bulk if bulk and (not small or bulk[0][0] < small[0][0]) else small
        _, data = first.popleft()
        self.size -= len(data)
        return data

    def clear(self) -> None:
        """Forget them all."""
        self._bulk.clear()
        self._small.clear()
        self.size = 0


@dataclass(slots=True)
class Traffic:
    """Counters of all streams of a host."""

    bytes_in: int = 0
    bytes_out: int = 0
    """Of the rows of datagrams, without TLS."""
    batches_dropped: int = 0
    """Sends that gave way to newer ones."""
    bad_frames: int = 0
    """Streams that were closed because what came was no row of datagrams."""


@dataclass(slots=True)
class Scratch:
    """Buffers that all streams of a host share, each for as long as one callback runs."""

    raw: memoryview = field(default_factory=lambda: memoryview(bytearray(RAW_SIZE)))
    plain: memoryview = field(default_factory=lambda: memoryview(bytearray(PLAIN_SIZE)))


class Conduit:
    """Carries datagrams over `channel` from `start` until `ended` is called, once, later.

    `deliver` gets what arrives, in runs: the datagrams side by side, the size of each but the last,
    and `endpoint`. It is valid during the call.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        channel: Channel,
        endpoint: Endpoint,
        *,
        deliver: Callable[[memoryview, int, Endpoint], None],
        ended: Callable[[Conduit, str], None],
        scratch: Scratch,
        traffic: Traffic,
    ) -> None:
        self._loop = loop
        self._channel = channel
        self.endpoint = endpoint
        self._deliver = deliver
        self._ended = ended
        self._scratch = scratch
        self._traffic = traffic
        self._tail = b""
        """The beginning of a datagram."""
        self.backlog = Backlog()
        self._blocked = False
        self._open = True
        self._silent = True
        """Whether no datagram has come yet."""
        self._unpadded = PADDED_WRITES
        self._fit_at = 0.0

    def start(self, first: bytes, waiting: Backlog | None = None) -> None:
        """Begin: `first` is the row's beginning, read already; `waiting` is to be sent."""
        self._loop.add_reader(self._channel.fileno(), self._on_readable)
        while waiting:
            self._write(waiting.get())
        if self._open:
            self._guarded(partial(self._take, first))

    def send(
        self, parts: Sequence[Buffer], segment_size: int, count: int, parts_per_segment: int
    ) -> None:
        """Send datagrams, described as for `UdpSockets.send`; what cannot go at once waits."""
        self._write(framing.joined(parts, segment_size, count, parts_per_segment))

    def close(self, reason: str) -> None:
        """End it; `ended` hears it in the loop's next turn."""
        if not self._open:
            return
        self._open = False
        descriptor = self._channel.fileno()
        self._loop.remove_reader(descriptor)
        self._loop.remove_writer(descriptor)
        self._channel.close()
        self.backlog.clear()
        self._loop.call_soon(self._ended, self, reason)

    def _write(self, data: bytes) -> None:
        if not self._open:
            return
        if self._unpadded:
            self._unpadded -= 1
            data += _filling(len(data))
        if self._blocked:
            self._traffic.batches_dropped += self.backlog.put(data)
            return
        self._traffic.bytes_out += len(data)
        try:
            if not self._channel.push(data):
                self._block()
        except OSError as error:
            self.close(told(error))

    def _block(self) -> None:
        if not self._blocked:
            self._blocked = True
            self._loop.add_writer(self._channel.fileno(), self._guarded, self._on_writable)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Do something with the channel; end the stream if that cannot be."""
        try:
            step()
        except FramingError:
            self._traffic.bad_frames += 1
            self.close("what came is no row of datagrams")
        except OSError as error:
            self.close(told(error))

    def _on_writable(self) -> None:
        channel, backlog = self._channel, self.backlog
        if backlog and (now := self._loop.time()) >= self._fit_at:
            self._fit_at = now + max(tcp.fit(channel.sock), FIT_INTERVAL)
        sent = channel.flush()
        while sent and backlog:
            data = backlog.get()
            self._traffic.bytes_out += len(data)
            sent = channel.push(data)
        if sent:
            self._blocked = False
            self._loop.remove_writer(channel.fileno())

    def _on_readable(self) -> None:
        self._guarded(self._receive)

    def _receive(self) -> None:
        if self._channel.pull(self._scratch.raw):
            self._take(b"")

    def _take(self, first: bytes) -> None:
        """Deliver what stands in `first` and in the records that were pulled."""
        plain, open_into = self._scratch.plain, self._channel.open_into
        before = self._tail + first
        end = len(before)
        plain[:end] = before
        over: OSError | None = None
        try:
            while size := open_into(plain[end:]):
                self._traffic.bytes_in += size
                end += size
                if PLAIN_SIZE - end < RECORD_MAX:
                    end = self._cut(end)
                if not self._open:
                    return
        except OSError as error:
            over = error  # what came before it counts
        end = self._cut(end)
        self._tail = bytes(plain[:end])
        if self._silent and self._tail.startswith(_WEBSITE):
            raise ConnectionRefusedError("a website answered: it does not know us")
        if over is not None:
            raise over
        if self._open and not self._channel.flush():
            self._block()  # TLS itself had something to say: new keys

    def _cut(self, end: int) -> int:
        """Deliver from `plain`'s first `end` bytes; how many are left, at its beginning."""
        plain = self._scratch.plain
        taken = framing.take(plain, end, self._hand_on)
        rest = end - taken
        if taken:
            plain[:rest] = plain[taken:end]
        return rest

    def _hand_on(self, data: memoryview, segment: int) -> None:
        self._silent = False
        if self._open:  # an earlier run may have ended it
            self._deliver(data, segment, self.endpoint)


def _filling(size: int) -> bytes:
    """Padding behind a write of `size` bytes, so that it ends a little above one of `BUCKETS`."""
    jitter = os.urandom(1)[0] % _JITTER
    least = size + PREFIX + DATAGRAM_MIN
    for bucket in BUCKETS:
        if bucket >= least:
            return framing.padding(bucket + jitter - size)
    return b""
