"""Network coordinates: where a node lies, so that round trips can be told without measuring.

Vivaldi (Dabek, Cox, Kaashoek, Morris, SIGCOMM 2004) with height, as serf has it: 8 dimensions, a
height for the access link, an adjustment from the last samples, and gravity against drift. Beyond
serf, one sample moves a node by `MAX_PULL` at most, whatever its sender claims.

    w     = e_i / (e_i + e_j)                     whose word counts for how much
    e_i   = e_i (1 - ce w) + ce w |d - rtt| / rtt
    x_i  += cc w (rtt - d) unit(x_i - x_j)        the height by the same share

Plain arithmetic in a fixed order (no `sum`, no `hypot`: they differ between versions of Python):
equal inputs give equal bits everywhere.

A coordinate on the wire: 22 bytes, eleven IEEE 754 half floats, big-endian. The vector (8), the
height and the adjustment are in milliseconds; the error is a number from 0 to `ERROR_MAX`.
"""

from __future__ import annotations

import math
import struct
from random import Random
from typing import Final, NamedTuple, TypeAlias

from gossip.errors import DecodeError
from gossip.ids import NodeId

DIMENSIONS: Final = 8
ERROR_MAX: Final = 1.5
"""Of an error estimate: that of a node that has measured nothing yet."""
HEIGHT_MIN: Final = 10e-6
"""Seconds."""
CE: Final = 0.25
"""How much one sample counts for the error estimate..."""
CC: Final = 0.25
"""...and for the place."""
WINDOW: Final = 20
"""Samples that the adjustment is the mean of."""
FILTER: Final = 3
"""Round trips to one peer whose median is taken."""
GRAVITY: Final = 150.0
"""Seconds: gravity pulls by (distance from the origin / this)^2 for each sample; it does so once
per window, for all of its samples, because it is so weak."""
MAX_RTT: Final = 10.0
"""Seconds; longer round trips are no measure, and nobody lies so far out."""
MAX_PLACES: Final = 4096
"""Peers whose place is known; those heard longest ago are forgotten."""
MAX_PULL: Final = 0.1
"""Seconds by which one sample moves a node, its height, or counts for its adjustment."""

SURPRISE_MIN: Final = 0.01
"""Seconds: a place that is too far counts as too far by the measured round trip at most, or by
this. A liar cannot take a round trip back, so it pulls no harder than honest peers push away."""

_TINY: Final = 1e-6
_PACKED: Final = struct.Struct(f">{DIMENSIONS + 3}e")
PACKED_SIZE: Final = _PACKED.size
_LARGEST: Final = 65504.0
"""The largest half float: 65 seconds in milliseconds."""

_new: Final = tuple.__new__
"""`_new(Coordinate, fields)` spares the call of Python that is behind `Coordinate(...)`."""

Vector: TypeAlias = tuple[float, float, float, float, float, float, float, float]


class Coordinate(NamedTuple):
    """A place; all in seconds but `error`, the share by which it is expected to be wrong."""

    vector: Vector = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    height: float = HEIGHT_MIN
    adjustment: float = 0.0
    error: float = ERROR_MAX

    def raw_distance(self, other: Coordinate) -> float:
        """The round trip by vectors and heights alone, in seconds."""
        return _between(self.vector, other.vector)[1] + self.height + other.height

    def distance(self, other: Coordinate) -> float:
        """The round trip that is to be expected between the two, in seconds."""
        raw = self.raw_distance(other)
        adjusted = raw + self.adjustment + other.adjustment
        return adjusted if adjusted > 0 else raw

    def pack(self) -> bytes:
        """The bytes on the wire; what is beyond their range is brought to its end."""
        (a, b, c, d, e, f, g, h), height, adjustment, error = self
        values = (a * 1000, b * 1000, c * 1000, d * 1000, e * 1000, f * 1000, g * 1000, h * 1000)
        last = (height * 1000, adjustment * 1000, error if error < ERROR_MAX else ERROR_MAX)
        try:
            return _PACKED.pack(*values, *last)
        except OverflowError:
            return _PACKED.pack(*[max(-_LARGEST, min(_LARGEST, v)) for v in (*values, *last)])


def unpack(data: bytes) -> Coordinate:
    """What `Coordinate.pack` gave. Raises `DecodeError`, also for what is no place at all."""
    if len(data) != PACKED_SIZE:
        raise DecodeError("a coordinate of a wrong size")
    values = _PACKED.unpack(data)
    a, b, c, d, e, f, g, h, height, adjustment, error = values
    # One value that is not finite makes their sum so.
    if not math.isfinite(sum(values)) or not 0 <= error <= ERROR_MAX:
        raise DecodeError("a coordinate that is no number")
    if height < 0:
        raise DecodeError("a coordinate below the ground")
    vector = (a / 1000, b / 1000, c / 1000, d / 1000, e / 1000, f / 1000, g / 1000, h / 1000)
    return _new(Coordinate, (vector, height / 1000, adjustment / 1000, error))


ORIGIN: Final = unpack(Coordinate().pack())
"""Where everyone begins, as it comes off the wire."""


class Vivaldi:
    """This node's place, and those of its peers as they told them; at most `limit` of those."""

    def __init__(self, rng: Random, limit: int) -> None:
        self._rng = rng
        self._limit = limit
        self._peers: dict[NodeId, tuple[Coordinate, tuple[float, ...]]] = {}
        """Where each said it is, and the last round trips to it; the oldest first."""
        self._samples = [0.0] * WINDOW
        self._total = 0.0
        self._next = 0
        self.coordinate = ORIGIN

    def __len__(self) -> int:
        return len(self._peers)

    def of(self, node: NodeId) -> Coordinate | None:
        """Where `node` said it is, with its last answer."""
        known = self._peers.get(node)
        return known[0] if known is not None else None

    def forget(self, node: NodeId) -> None:
        """Drop what is known of `node`."""
        self._peers.pop(node, None)

    def observe(self, node: NodeId, place: Coordinate, rtt: float) -> bool:
        """`node` said that it is at `place`, and answered after `rtt` seconds.

        Whether that was believed: not if the round trip, or the place, is beyond `MAX_RTT`.
        """
        vector, height, adjustment, _ = place
        far = _length(vector) + height + abs(adjustment)
        if not 0 <= rtt <= MAX_RTT or far > MAX_RTT:
            return False
        peers = self._peers
        known = peers.pop(node, None)
        recent = (rtt,) if known is None else (*known[1][1 - FILTER :], rtt)
        while len(peers) >= self._limit:
            del peers[next(iter(peers))]
        peers[node] = place, recent
        self._move(place, max(_TINY, sorted(recent)[len(recent) // 2]))
        return True

    def _move(self, place: Coordinate, rtt: float) -> None:
        vector, height, adjustment, own_error = self.coordinate
        there, there_height, there_adjustment, there_error = place
        difference, apart = _between(vector, there)
        raw = apart + height + there_height
        adjusted = raw + adjustment + there_adjustment
        distance = adjusted if adjusted > 0 else raw
        errors = own_error + there_error
        weight = own_error / (errors if errors > _TINY else _TINY)
        wrongness = min(ERROR_MAX, abs(distance - rtt) / rtt)
        error = min(ERROR_MAX, own_error * (1 - CE * weight) + CE * weight * wrongness)
        # Who answers soon is not far, whatever it says.
        nearer = -rtt if rtt > SURPRISE_MIN else -SURPRISE_MIN
        surprise = rtt - distance
        force = _limited(CC * weight * (surprise if surprise > nearer else nearer))
        if apart > _TINY:
            share = force / apart
            height += _limited((height + there_height) * share)
            if height < HEIGHT_MIN:
                height = HEIGHT_MIN
        else:
            draw = self._rng.random
            difference = tuple([draw() - 0.5 for _ in range(DIMENSIONS)])  # type: ignore[assignment]
            share = force / max(_TINY, _length(difference))
        vector = _pushed(vector, difference, share)
        # The adjustment is what the vectors cannot say: of the new place, without adjustments. The
        # push was along the line between the two.
        surprise = rtt - (abs(apart + force) + height + there_height)
        self._sample(_limited(surprise if surprise > nearer else nearer))
        if not self._next:
            vector, height = _fallen(vector, height)
        adjustment = self._total / (2 * WINDOW)
        self.coordinate = _new(Coordinate, (vector, height, adjustment, error))

    def _sample(self, sample: float) -> None:
        """Put a sample into the window in place of the oldest, and keep their sum."""
        at = self._next
        self._total += sample - self._samples[at]
        self._samples[at] = sample
        self._next = (at + 1) % WINDOW
        if not self._next:
            self._total = 0.0  # anew, or what is rounded off would add up
            for value in self._samples:
                self._total += value


def _fallen(vector: Vector, height: float) -> tuple[Vector, float]:
    """A place after the gravity of a whole window: a push towards the origin."""
    away = _length(vector)
    if away <= _TINY:
        return vector, height
    pull = WINDOW * ((away + height + ORIGIN.height) / GRAVITY) ** 2
    share = -_limited(pull) / away
    fallen = max(HEIGHT_MIN, height + _limited((height + ORIGIN.height) * share))
    return _pushed(vector, vector, share), fallen


# Written out, because every probe of every node of a simulation comes here.


def _between(one: Vector, other: Vector) -> tuple[Vector, float]:
    """What leads from `other` to `one`, and how long that is."""
    a, b, c, d, e, f, g, h = one
    k, m, n, o, p, q, r, s = other
    a, b, c, d, e, f, g, h = a - k, b - m, c - n, d - o, e - p, f - q, g - r, h - s
    away = math.sqrt(a * a + b * b + c * c + d * d + e * e + f * f + g * g + h * h)
    return (a, b, c, d, e, f, g, h), away


def _pushed(vector: Vector, direction: Vector, share: float) -> Vector:
    a, b, c, d, e, f, g, h = vector
    k, m, n, o, p, q, r, s = direction
    return (
        a + share * k,
        b + share * m,
        c + share * n,
        d + share * o,
        e + share * p,
        f + share * q,
        g + share * r,
        h + share * s,
    )


def _length(vector: Vector) -> float:
    a, b, c, d, e, f, g, h = vector
    return math.sqrt(a * a + b * b + c * c + d * d + e * e + f * f + g * g + h * h)


def _limited(value: float) -> float:
    return value if -MAX_PULL < value < MAX_PULL else math.copysign(MAX_PULL, value)
