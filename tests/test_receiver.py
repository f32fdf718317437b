"""Batches out of what a socket brings, joined by GRO or one by one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from random import Random

import pytest

from meshd.host.udp import Endpoint, UdpSockets
from meshd.receiver import BULK, JOINED, TOGETHER, Received, Receiver
from tests.devices import FakeUdp

ONE, TWO = ("192.0.2.1", 443), ("192.0.2.2", 443)
SEGMENT = 1472


class Reading:
    """A receiver whose socket is the test."""

    def __init__(self) -> None:
        self.udp = FakeUdp(lambda payload, segment, endpoint: None)
        self.receiver = Receiver(self.udp, SEGMENT)

    def arrive(self, data: bytes, source: Endpoint = ONE, segment: int = 0) -> None:
        self.udp.arrive(data, source, segment)

    def batches(self) -> list[tuple[bytes, int, Endpoint]]:
        """All that waits: data, segment and source of each batch."""
        found = []
        self.receiver.begin()
        while (received := self.receiver.receive(self.udp.sockets[0])) is not None:
            assert received.size == len(received.data)
            found.append((bytes(received.data), received.segment, received.source))
        return found


@pytest.fixture
def reading() -> Iterator[Reading]:
    reading = Reading()
    yield reading
    reading.udp.close()


def test_datagrams_of_one_size_and_source_come_together(reading: Reading) -> None:
    for number in range(5):
        reading.arrive(bytes([number]) * 100)
    [(data, segment, source)] = reading.batches()
    assert data == b"".join(bytes([number]) * 100 for number in range(5))
    assert (segment, source) == (100, ONE)
    assert reading.batches() == []


def test_a_shorter_datagram_ends_a_batch(reading: Reading) -> None:
    for size in (100, 100, 30, 100):
        reading.arrive(bytes(size))
    assert [(len(data), segment) for data, segment, _ in reading.batches()] == [
        (230, 100),
        (100, 100),
    ]


def test_what_does_not_belong_to_a_batch_is_the_next(reading: Reading) -> None:
    reading.arrive(b"a" * 100)
    reading.arrive(b"b" * 101)
    reading.arrive(b"c" * 101, TWO)
    reading.arrive(b"d" * 300, TWO, 100)
    reading.arrive(b"e" * 100, TWO)
    assert reading.batches() == [
        (b"a" * 100, 100, ONE),
        (b"b" * 101, 101, ONE),
        (b"c" * 101, 101, TWO),
        (b"d" * 300, 100, TWO),
        (b"e" * 100, 100, TWO),
    ]


def test_a_batch_is_bounded(reading: Reading) -> None:
    for _ in range(TOGETHER + 1):
        reading.arrive(b"x")
    for _ in range(60):
        reading.arrive(bytes(1400))
    sizes = [len(data) for data, _, _ in reading.batches()]
    assert sizes[:2] == [TOGETHER, 1]
    assert max(sizes) <= 65_536
    assert sum(sizes) == TOGETHER + 1 + 60 * 1400


def test_what_was_read_behind_a_batch_is_not_left_behind(reading: Reading) -> None:
    reading.arrive(b"a" * 100)
    reading.arrive(b"b" * 200)
    first = reading.receiver.receive(reading.udp.sockets[0])
    assert first is not None
    assert first.size == 100
    assert reading.receiver.pending
    reading.receiver.begin()
    second = reading.receiver.receive(reading.udp.sockets[0])
    assert second is not None
    assert bytes(second.data) == b"b" * 200
    assert not reading.receiver.pending


def test_an_empty_datagram_is_a_batch_of_its_own(reading: Reading) -> None:
    for data in (b"", b"x", b""):
        reading.arrive(data)
    assert [data for data, _, _ in reading.batches()] == [b"", b"x", b""]


def test_bulk_is_taken_apart_and_joins_to_what_came() -> None:
    sockets = UdpSockets.open(0, address="127.0.0.1")
    receiver = Receiver(sockets, SEGMENT)
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.setsockopt(socket.IPPROTO_UDP, 103, SEGMENT)  # UDP_SEGMENT
    data = Random(1).randbytes(20 * SEGMENT + 5)
    assert len(data) > BULK
    try:
        apart = []
        for _ in range(3):
            other.sendto(data, ("127.0.0.1", sockets.port))
            received: list[Received] = []
            receiver.begin()
            while (batch := receiver.receive(sockets.sockets[0])) is not None:
                received.append(batch)
                apart.append(not batch.data)
                if batch.data:
                    assert bytes(batch.data) == data
                else:
                    assert bytes(receiver.scatter.linear(batch.size)) == data
            assert [batch.size for batch in received] == [len(data)]
        assert apart == [False, True, True]
    finally:
        other.close()
        sockets.close()


@pytest.mark.parametrize(
    ("segment", "count", "apart"), [(400, 2, False), (SEGMENT, 1, True), (400, 1, True)]
)
def test_small_datagrams_joined_behind_bulk_are_not_taken_for_one(
    segment: int, count: int, apart: bool
) -> None:
    sockets = UdpSockets.open(0, address="127.0.0.1")
    receiver = Receiver(sockets, SEGMENT)
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        for size, data in ((SEGMENT, bytes(20 * SEGMENT)), (segment, bytes(count * segment))):
            other.setsockopt(socket.IPPROTO_UDP, 103, size)  # UDP_SEGMENT
            other.sendto(data, ("127.0.0.1", sockets.port))
        receiver.begin()
        bulk = receiver.receive(sockets.sockets[0])
        assert bulk is not None
        assert bulk.size == 20 * SEGMENT
        few = receiver.receive(sockets.sockets[0])
        assert few is not None
        assert (few.size, few.segment, not few.data) == (count * segment, segment, apart)
    finally:
        other.close()
        sockets.close()


def test_bulk_that_was_taken_apart_in_vain_comes_in_one_piece_for_a_while() -> None:
    sockets = UdpSockets.open(0, address="127.0.0.1")
    receiver = Receiver(sockets, SEGMENT)
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.setsockopt(socket.IPPROTO_UDP, 103, SEGMENT)  # UDP_SEGMENT
    try:
        apart = []
        for number in range(JOINED + 4):
            other.sendto(bytes(20 * SEGMENT), ("127.0.0.1", sockets.port))
            receiver.begin()
            batch = receiver.receive(sockets.sockets[0])
            assert batch is not None
            apart.append(not batch.data)
            if number == 1:
                receiver.join()
        assert apart == [False, True, *[False] * JOINED, True, True]
    finally:
        other.close()
        sockets.close()
