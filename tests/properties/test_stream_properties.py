"""Streams: however TCP cuts the bytes, the datagrams are the same."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from meshd.conduit import PLAIN_SIZE, QUEUE_MAX, Backlog
from meshd.host.framing import (
    DATAGRAM_MAX,
    DATAGRAM_MIN,
    PREFIX,
    RUN_MAX,
    FramingError,
    joined,
    padding,
    take,
)
from meshd.host.proxies import HEADER, SIGNATURE, parse_header
from meshd.node.errors import RemoteError
from tests.test_conduit import Stream

SIZES = st.one_of(
    st.integers(DATAGRAM_MIN, 200), st.sampled_from((1400, 16_384, 40_000, DATAGRAM_MAX))
)


def datagram(size: int, number: int) -> bytes:
    return bytes((1 + number % 5,)) * size


@st.composite
def rows(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Bytes of a stream, and the datagrams in them; padding among them."""
    stream, found = b"", []
    for number, size in enumerate(draw(st.lists(SIZES, max_size=12))):
        repeated = draw(st.integers(1, 3))
        found += [datagram(size, number)] * repeated
        stream += joined([datagram(size, number)] * repeated, size, repeated, 1)
        if draw(st.booleans()):
            stream += padding(draw(st.integers(PREFIX + DATAGRAM_MIN, 300)))
    return stream, found


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` cut anywhere, no piece larger than a TLS record."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=8))
    places = sorted({0, len(data), *cuts, *range(0, len(data), 16_384)})
    return [data[at:end] for at, end in pairwise(places)]


@given(st.data())
def test_any_cut_of_the_stream_gives_the_same_datagrams(data: st.DataObject) -> None:
    stream, expected = data.draw(rows())
    conduit = Stream()
    conduit.conduit.start(b"")
    for piece in data.draw(pieces(stream)):
        conduit.arrive(piece)
    assert all(len(run) <= RUN_MAX for run, _ in conduit.runs)
    assert [
        run[at : at + size] for run, size in conduit.runs for at in range(0, len(run), size)
    ] == expected
    assert conduit.finished() == []


@given(st.data())
def test_a_whole_buffer_gives_them_too(data: st.DataObject) -> None:
    stream, expected = data.draw(rows())
    conduit = Stream()
    conduit.conduit.start(b"")
    conduit.arrive(*data.draw(pieces(stream)))
    assert b"".join(run for run, _ in conduit.runs) == b"".join(expected)
    assert len(stream) < 40 * PLAIN_SIZE


@given(st.binary(max_size=600))
def test_any_bytes_are_datagrams_or_an_error(data: bytes) -> None:
    found: list[bytes] = []
    try:
        size = take(memoryview(bytearray(data)), len(data), lambda run, _: found.append(bytes(run)))
    except FramingError:
        return
    left = data[size:]
    assert len(left) < PREFIX or len(left) < PREFIX + int.from_bytes(left[:PREFIX], "big")


@given(st.lists(st.integers(1, 70_000), max_size=60), st.lists(st.booleans(), max_size=60))
def test_a_backlog_keeps_its_bound_its_order_and_its_count(
    sizes: list[int], reads: list[bool]
) -> None:
    backlog, put, got, dropped = Backlog(), [], [], 0
    for number, size in enumerate(sizes):
        put.append(number.to_bytes(2, "big") + bytes(size))
        dropped += backlog.put(put[-1])
        assert backlog.size <= QUEUE_MAX
        if reads[number : number + 1] == [True] and backlog:
            got.append(backlog.get())
    while backlog:
        got.append(backlog.get())
    assert backlog.size == 0
    assert len(got) + dropped == len(put)
    assert got == sorted(got, key=lambda data: data[:2])


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_a_proxy_header_or_refused_or_unfinished(data: bytes, signed: bool) -> None:
    whole = SIGNATURE + data if signed else data
    try:
        header = parse_header(whole)
    except RemoteError:
        return
    if header is not None:
        assert HEADER.size <= header.size <= len(whole)
        assert parse_header(whole[: header.size]) == header
