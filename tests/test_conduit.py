"""One stream, over a channel that the test reads and fills."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from meshd.conduit import (
    BUCKETS,
    PADDED_WRITES,
    QUEUE_MAX,
    SMALL,
    Backlog,
    Conduit,
    Scratch,
    Traffic,
)
from meshd.host.channel import Channel
from meshd.host.framing import joined, padding, take
from meshd.host.tcp import SEND_BUFFER
from meshd.node.wire import Endpoint

HERE = ("tls:192.0.2.1", 443)


class Kernel(socket.socket):
    """Counts how often a pipe's buffer is fitted; it tells a round trip of 80 ms."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def getsockopt(self, level: int, option: int, *room: int) -> Any:
        if option != socket.TCP_INFO:
            return 2 * SEND_BUFFER
        self._pipe.fitted += 1
        return struct.pack("=68xI76xI", 80_000, 80_000)

    def setsockopt(self, *_: object) -> None:
        pass


class Pipe(Channel):
    """A channel whose other end is the test; `room` is what the kernel still takes."""

    def __init__(self) -> None:
        self.arriving: deque[bytes | OSError] = deque()
        self.sent = bytearray()
        self.room = 1 << 30
        self.rest = b""
        self.failing: OSError | None = None
        self.open = True
        self.fitted = 0

    def fileno(self) -> int:
        return 7

    @property
    def sock(self) -> socket.socket:
        return Kernel(self)

    def pull(self, raw: memoryview) -> bool:
        return bool(self.arriving)

    def open_into(self, view: memoryview) -> int:
        if not self.arriving:
            return 0
        piece = self.arriving.popleft()
        if isinstance(piece, OSError):
            raise piece
        view[: len(piece)] = piece
        return len(piece)

    def push(self, data: bytes) -> bool:
        assert not self.rest, "sealed out of turn"
        if self.failing is not None:
            raise self.failing
        self.rest = data
        return self.flush()

    def flush(self) -> bool:
        taken = min(self.room, len(self.rest))
        self.sent += self.rest[:taken]
        self.rest, self.room = self.rest[taken:], self.room - taken
        return not self.rest

    def close(self) -> None:
        self.open = False


class Loop(asyncio.SelectorEventLoop):
    """Remembers who watches what, and what comes next."""

    def __init__(self) -> None:
        self.now = 100.0
        self.readers: dict[int, Callable[[], object]] = {}
        self.writers: dict[int, Callable[[], object]] = {}
        self.soon: list[Callable[[], object]] = []

    def __del__(self) -> None:
        pass

    def time(self) -> float:
        return self.now

    def add_reader(self, fd: int, callback: Callable[..., object], *args: object) -> None:  # type: ignore[override]
        self.readers[fd] = lambda: callback(*args)

    def add_writer(self, fd: int, callback: Callable[..., object], *args: object) -> None:  # type: ignore[override]
        self.writers[fd] = lambda: callback(*args)

    def remove_reader(self, fd: int) -> bool:  # type: ignore[override]
        return self.readers.pop(fd, None) is not None

    def remove_writer(self, fd: int) -> bool:  # type: ignore[override]
        return self.writers.pop(fd, None) is not None

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:  # type: ignore[override]
        self.soon.append(lambda: callback(*args))


class Stream:
    """A conduit, its pipe and loop, and what it delivered."""

    def __init__(self) -> None:
        self.pipe = Pipe()
        self.loop = Loop()
        self.runs: list[tuple[bytes, int]] = []
        self.ends: list[str] = []
        self.traffic = Traffic()
        self.react: Callable[[], None] = lambda: None
        self.conduit = Conduit(
            self.loop,
            self.pipe,
            HERE,
            deliver=self._deliver,
            ended=lambda conduit, reason: self.ends.append(reason),
            scratch=Scratch(),
            traffic=self.traffic,
        )

    def _deliver(self, data: memoryview, segment: int, source: Endpoint) -> None:
        assert source == HERE
        self.runs.append((bytes(data), segment))
        self.react()

    def arrive(self, *pieces: bytes | OSError) -> None:
        self.pipe.arriving.extend(pieces)
        self.loop.readers[7]()

    def send(self, *sizes: int, kind: int = 1) -> None:
        """A send for each size, of one datagram."""
        for size in sizes:
            self.conduit.send([bytes([kind]) * size], size, 1, 1)

    def writable(self, room: int = 1 << 30) -> None:
        self.pipe.room = room
        self.loop.writers[7]()

    def past_padding(self) -> None:
        """Beyond the first writes, whose sizes are hidden."""
        self.send(*[100] * PADDED_WRITES)
        self.pipe.sent.clear()

    def finished(self) -> list[str]:
        for callback in self.loop.soon:
            callback()
        return self.ends

    def datagrams(self) -> list[bytes]:
        """What was sent."""
        found: list[bytes] = []
        take(memoryview(bytearray(self.pipe.sent)), len(self.pipe.sent), lambda d, s: found.extend(
            bytes(d[at : at + s]) for at in range(0, len(d), s)
        ))  # fmt: skip
        return found


@pytest.fixture
def stream() -> Stream:
    made = Stream()
    made.conduit.start(b"")
    return made


def row(*sizes: int) -> bytes:
    return b"".join(joined([b"\1" * size], size, 1, 1) for size in sizes)


def test_what_was_read_with_the_greeting_is_delivered_first() -> None:
    made = Stream()
    made.conduit.start(row(50) + row(60)[:10])
    assert made.runs == [(b"\1" * 50, 50)]
    made.arrive(row(60)[10:])
    assert made.runs[1:] == [(b"\1" * 60, 60)]


def test_datagrams_cut_anywhere_are_whole_again(stream: Stream) -> None:
    whole = row(400, 400, 400)
    stream.arrive(*(whole[at : at + 7] for at in range(0, len(whole), 7)))
    assert b"".join(data for data, _ in stream.runs) == b"\1" * 1200
    assert stream.traffic.bytes_in == len(whole)


def test_more_than_the_buffer_holds_is_delivered_in_pieces(stream: Stream) -> None:
    whole = row(*[60_000] * 10)
    stream.arrive(*(whole[at : at + 16_384] for at in range(0, len(whole), 16_384)))
    assert [len(data) for data, _ in stream.runs] == [60_000] * 10


def test_what_is_no_row_of_datagrams_ends_the_stream(stream: Stream) -> None:
    stream.arrive(row(50) + b"\x00\x01")
    assert stream.runs == [(b"\1" * 50, 50)]
    assert stream.finished() == ["what came is no row of datagrams"]
    assert stream.traffic.bad_frames == 1
    assert not stream.pipe.open
    assert stream.loop.readers == {}


def test_a_website_that_answers_is_told_from_a_member(stream: Stream) -> None:
    stream.arrive(b"HTTP/1.1 400 Bad Request\r\n", ConnectionResetError("closed"))
    assert stream.finished() == ["a website answered: it does not know us"]


def test_an_error_ends_the_stream(stream: Stream) -> None:
    stream.arrive(row(50), ConnectionResetError(104, "anything"))
    assert stream.runs == [(b"\1" * 50, 50)]
    assert stream.finished() == ["Connection reset by peer"]
    stream.send(100)  # nobody hears it
    assert stream.pipe.sent == b""


def test_nothing_is_delivered_any_more_once_it_is_closed(stream: Stream) -> None:
    stream.react = lambda: stream.conduit.close("enough")
    stream.arrive(row(50) + row(60) + row(70))
    assert len(stream.runs) == 1
    stream.conduit.close("again")
    assert stream.finished() == ["enough"]


def test_a_send_that_fails_ends_the_stream_later_not_at_once(stream: Stream) -> None:
    stream.pipe.failing = BrokenPipeError(32, "x")
    stream.send(100)
    assert stream.ends == []
    assert stream.finished() == ["Broken pipe"]


def test_the_first_writes_tell_nothing_by_their_size(stream: Stream) -> None:
    sizes = []
    for size in (150, 400, 100, 1200, 2000, 90, 17, 5000):
        before = len(stream.pipe.sent)
        stream.send(size)
        sizes.append(len(stream.pipe.sent) - before)
    for size in sizes:
        assert any(bucket <= size < bucket + 256 for bucket in BUCKETS)
    assert [len(data) for data in stream.datagrams()] == [150, 400, 100, 1200, 2000, 90, 17, 5000]
    before = len(stream.pipe.sent)
    stream.send(150)
    assert len(stream.pipe.sent) - before == 152


def test_what_the_kernel_does_not_take_waits_and_goes_in_order(stream: Stream) -> None:
    stream.past_padding()
    stream.pipe.room = 70
    stream.send(100, 200, 30_000, 300)
    assert len(stream.pipe.sent) == 70
    stream.writable(10_000)
    assert 7 in stream.loop.writers
    stream.writable()
    assert [len(data) for data in stream.datagrams()] == [100, 200, 30_000, 300]
    assert stream.loop.writers == {}
    stream.send(400)
    assert len(stream.datagrams()[-1]) == 400


def test_the_oldest_bulk_gives_way_and_what_is_sealed_already_does_not(stream: Stream) -> None:
    stream.past_padding()
    stream.pipe.room = 10
    for kind in range(1, 11):
        stream.send(50_000, kind=kind)
        stream.send(500, kind=kind)
    assert stream.conduit.backlog.size <= QUEUE_MAX
    stream.writable()
    found = [(data[0], len(data)) for data in stream.datagrams()]
    assert [kind for kind, size in found if size == 500] == list(range(1, 11))
    assert [kind for kind, size in found if size == 50_000] == [1, 8, 9, 10]
    assert stream.traffic.batches_dropped == 6


def test_while_bulk_waits_the_kernels_buffer_is_fitted_once_in_a_round_trip(stream: Stream) -> None:
    stream.past_padding()
    stream.pipe.room = 10
    stream.send(50_000, 50_000)
    assert stream.pipe.fitted == 0
    for ms, fitted in ((0, 1), (79, 1), (2, 2), (81, 3)):
        stream.loop.now += ms / 1e3
        stream.writable(10)
        assert stream.pipe.fitted == fitted
    stream.writable()
    stream.loop.now += 1.0
    stream.pipe.room = 10
    stream.send(500)
    stream.writable()
    assert stream.pipe.fitted == 3  # nothing waits behind what the kernel did not take


def test_small_sends_are_bounded_too() -> None:
    backlog = Backlog()
    dropped = sum(backlog.put(bytes(SMALL)) for _ in range(100))
    assert backlog.size == QUEUE_MAX
    assert dropped == 100 - QUEUE_MAX // SMALL


def test_a_backlog_is_first_in_first_out() -> None:
    backlog = Backlog()
    sent = [bytes([index]) * size for index, size in enumerate((10, 9000, 20, 8000, 30))]
    for data in sent:
        assert backlog.put(data) == 0
    assert [backlog.get() for _ in sent] == sent
    assert not backlog
    assert backlog.size == 0
    with pytest.raises(IndexError):
        backlog.get()


def test_what_waited_for_the_dial_is_sent_first() -> None:
    made, waiting = Stream(), Backlog()
    for size in (100, 200):
        waiting.put(joined([b"\1" * size], size, 1, 1))
    made.conduit.start(b"", waiting)
    made.send(300)
    assert [len(data) for data in made.datagrams()] == [100, 200, 300]


def test_padding_is_not_delivered(stream: Stream) -> None:
    stream.arrive(row(50) + padding(500) + row(50))
    assert stream.runs == [(b"\1" * 50, 50)] * 2
