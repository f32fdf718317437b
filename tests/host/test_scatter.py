"""Batches taken apart by the copy that receives them."""

from __future__ import annotations

import socket

import pytest

from meshd.host.scatter import HEADER_SIZE, RECEIVE_SIZE, ScatterBuffer


def received(scatter: ScatterBuffer, data: bytes) -> int:
    """Let the kernel copy `data` through the buffers, as it does with a batch."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        one.send(data)
        return other.recvmsg_into(scatter.buffers)[0]


def batch(segment: int, count: int, last: int) -> bytes:
    """`count` datagrams of `segment` bytes, the last of `last`: header i is 16 times byte i."""
    sizes = [segment] * (count - 1) + [last]
    return b"".join(
        bytes([index]) * min(16, size) + bytes([200 - index]) * (size - 16)
        for index, size in enumerate(sizes)
    )


@pytest.mark.parametrize(
    ("segment", "count", "last"), [(1472, 44, 1472), (1232, 40, 17), (700, 1, 300)]
)
def test_headers_and_slices_lie_apart_each_kind_joined(segment: int, count: int, last: int) -> None:
    scatter = ScatterBuffer(segment)
    data = batch(segment, count, last)
    assert received(scatter, data) == len(data)
    heads = b"".join(bytes([index]) * 16 for index in range(count))
    assert scatter.headers[: 16 * count] == heads
    slices = b"".join(
        bytes([200 - index]) * ((segment if index < count - 1 else last) - 16)
        for index in range(count)
    )
    assert scatter.body[: len(slices)] == slices


@pytest.mark.parametrize("segment", [17, 1232, 1472, 9000, 65_000])
@pytest.mark.parametrize("size", [1, 16, 17, 1471, 1472, 1473, 60_000, RECEIVE_SIZE - 100])
def test_what_came_in_another_rhythm_can_be_had_in_one_piece(segment: int, size: int) -> None:
    scatter = ScatterBuffer(1472)
    scatter.aim(segment)
    data = bytes(number * 7 % 251 for number in range(size))
    assert received(scatter, data) == size
    assert scatter.linear(size) == data


def test_the_buffers_hold_the_largest_datagram_whatever_they_are_made_for() -> None:
    for segment in (1, 16, 17, 199, 200, 1232, 1452, 1472, 65_507):
        scatter = ScatterBuffer(1472)
        scatter.aim(segment)
        assert sum(map(len, scatter.buffers)) == RECEIVE_SIZE
        assert len(scatter.buffers) <= 1024
        assert len(scatter.buffers[0]) == HEADER_SIZE
