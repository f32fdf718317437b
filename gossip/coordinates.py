"""Network coordinates: where a node lies, so that round trips can be told without measuring.

Vivaldi (Dabek, Cox, Kaashoek, Morris, SIGCOMM 2004) with height, as serf has it: 8 dimensions, a
height for the access link, an adjustment from the last samples, and gravity against drift.
Plain Python arithmetic in a fixed order: equal inputs give equal bits on every machine.

A coordinate on the wire: 22 bytes, eleven IEEE 754 half floats, big-endian. The vector (8), the
height and the adjustment are in milliseconds; the error is a number from 0 to `ERROR_MAX`.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

from gossip.errors import DecodeError

DIMENSIONS: Final = 8
ERROR_MAX: Final = 1.5
"""Of an error estimate: that of a node that has measured nothing yet."""
HEIGHT_MIN: Final = 10e-6
"""Seconds."""

_PACKED: Final = struct.Struct(f">{DIMENSIONS + 3}e")
PACKED_SIZE: Final = _PACKED.size
_LARGEST: Final = 65504.0
"""The largest half float: 65 seconds in milliseconds."""


@dataclass(frozen=True, slots=True)
class Coordinate:
    """A place; all in seconds but `error`, the share by which it is expected to be wrong."""

    vector: tuple[float, ...] = (0.0,) * DIMENSIONS
    height: float = HEIGHT_MIN
    adjustment: float = 0.0
    error: float = ERROR_MAX

    def pack(self) -> bytes:
        """The bytes on the wire; what is beyond their range is brought to its end."""
        values = (*self.vector, self.height, self.adjustment)
        limited = [max(-_LARGEST, min(_LARGEST, value * 1000)) for value in values]
        return _PACKED.pack(*limited, min(ERROR_MAX, self.error))


def unpack(data: bytes) -> Coordinate:
    """What `Coordinate.pack` gave. Raises `DecodeError`, also for what is no place at all."""
    if len(data) != PACKED_SIZE:
        raise DecodeError("a coordinate of a wrong size")
    *values, error = _PACKED.unpack(data)
    if not all(map(math.isfinite, values)) or not 0 <= error <= ERROR_MAX:
        raise DecodeError("a coordinate that is no number")
    *vector, height, adjustment = (value / 1000 for value in values)
    if height < 0:
        raise DecodeError("a coordinate below the ground")
    return Coordinate(tuple(vector), height, adjustment, error)


ORIGIN: Final = unpack(Coordinate().pack())
"""Where everyone begins, as it comes off the wire."""
