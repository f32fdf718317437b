"""Coordinates: their bytes."""

from __future__ import annotations

import struct

import pytest

from gossip import coordinates
from gossip.coordinates import ORIGIN, Coordinate
from gossip.errors import DecodeError


def test_a_coordinate_has_the_bytes_that_are_drawn() -> None:
    place = Coordinate((0.001, -0.002, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0625), 0.004, -0.0005, 0.25)
    packed = struct.pack(">11e", 1, -2, 0, 0, 0, 0, 0, 62.5, 4, -0.5, 0.25)
    assert place.pack() == packed
    assert coordinates.unpack(packed) == place
    assert len(packed) == 22


def test_what_is_too_far_is_brought_to_the_edge() -> None:
    far = coordinates.unpack(Coordinate((1e9, *[-1e9] * 7), 1e9, -1e9, 9.0).pack())
    assert far == Coordinate((65.504, *[-65.504] * 7), 65.504, -65.504, 1.5)


@pytest.mark.parametrize("at", [0, 7, 8, 9, 10])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused(at: int, value: float) -> None:
    values = list(struct.unpack(">11e", ORIGIN.pack()))
    values[at] = value
    with pytest.raises(DecodeError):
        coordinates.unpack(struct.pack(">11e", *values))


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        bytes(21),
        bytes(23),
        struct.pack(">11e", *[0.0] * 8, -1.0, 0.0, 0.5),
        struct.pack(">11e", *[0.0] * 10, 1.75),
        struct.pack(">11e", *[0.0] * 10, -0.5),
    ],
)
def test_what_is_no_place_is_refused(packed: bytes) -> None:
    with pytest.raises(DecodeError):
        coordinates.unpack(packed)
