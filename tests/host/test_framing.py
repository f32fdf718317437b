"""Datagrams in a stream of bytes."""

from __future__ import annotations

import pytest

from meshd.host.framing import (
    DATAGRAM_MAX,
    DATAGRAM_MIN,
    RUN_MAX,
    FramingError,
    joined,
    padding,
    take,
)

Runs = list[tuple[bytes, int]]


def taken(stream: bytes) -> tuple[Runs, int]:
    """The runs in `stream`, and how many of its bytes they took."""
    runs: Runs = []
    size = take(
        memoryview(bytearray(stream)), len(stream), lambda d, step: runs.append((bytes(d), step))
    )
    return runs, size


def row(*sizes: int) -> bytes:
    return b"".join(joined([b"\1" * size], size, 1, 1) for size in sizes)


def test_each_datagram_stands_behind_its_length() -> None:
    parts = [b"a" * 16, b"b" * 4, b"c" * 16, b"d" * 2]
    assert joined(parts, 20, 2, 2) == (
        b"\x00\x14" + b"a" * 16 + b"b" * 4 + b"\x00\x12" + b"c" * 16 + b"d" * 2
    )
    assert joined([b"e" * 20], 20, 1, 1) == b"\x00\x14" + b"e" * 20


def test_a_run_is_handed_on_side_by_side() -> None:
    stream = joined([bytes([kind]) * size for kind, size in ((1, 30), (2, 30), (3, 20))], 30, 3, 1)
    assert taken(stream) == ([(b"\1" * 30 + b"\2" * 30 + b"\3" * 20, 30)], len(stream))


@pytest.mark.parametrize(
    ("sizes", "runs"),
    [
        ((30, 30), [(60, 30)]),
        ((30, 20, 30), [(50, 30), (30, 30)]),
        ((20, 30, 30), [(20, 20), (60, 30)]),
        ((30, 20, 20), [(50, 30), (20, 20)]),
        ((DATAGRAM_MAX, DATAGRAM_MAX), [(DATAGRAM_MAX, DATAGRAM_MAX)] * 2),
        ((30_000, 30_000, 30_000), [(60_000, 30_000), (30_000, 30_000)]),
        ((DATAGRAM_MIN,), [(DATAGRAM_MIN, DATAGRAM_MIN)]),
    ],
)
def test_a_shorter_datagram_ends_a_run_and_a_longer_one_begins_another(
    sizes: tuple[int, ...], runs: list[tuple[int, int]]
) -> None:
    found, size = taken(row(*sizes))
    assert [(len(data), step) for data, step in found] == runs
    assert all(len(data) <= RUN_MAX for data, _ in found)
    assert size == sum(sizes) + 2 * len(sizes)


def test_the_beginning_of_a_datagram_is_left() -> None:
    whole = row(30, 30)
    for cut in range(len(whole)):
        runs, size = taken(whole[:cut])
        assert size == (32 if cut >= 32 else 0)
        assert [len(data) for data, _ in runs] == [30] * (size // 32)


def test_padding_is_nobodys_and_ends_a_run() -> None:
    runs, size = taken(row(30) + padding(19) + row(30) + padding(40))
    assert [len(data) for data, _ in runs] == [30, 30]
    assert size == 32 + 19 + 32 + 40


@pytest.mark.parametrize("length", [0, 1, DATAGRAM_MIN - 1, DATAGRAM_MAX + 1, 0xFFFF])
def test_a_length_that_no_datagram_has_is_an_error_as_soon_as_it_is_read(length: int) -> None:
    with pytest.raises(FramingError):
        taken(length.to_bytes(2, "big"))


def test_what_stands_before_an_error_is_delivered() -> None:
    runs: Runs = []
    stream = row(30, 30) + b"\x00\x05"
    with pytest.raises(FramingError):
        take(memoryview(bytearray(stream)), len(stream), lambda d, s: runs.append((bytes(d), s)))
    assert runs == [(b"\1" * 60, 30)]
