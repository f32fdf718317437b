"""Where sites are in the world, and how long light and detours take between them.

A site stands near one of the world's regions, drawn by weight, and has a last mile of its own. The
one-way delay of a pair is the great-circle distance at the speed of light in fibre, stretched as
cables are (Singla et al., "The Internet at the Speed of Light", HotNets 2014), and both last miles:
the height of network coordinates (Dabek et al., "Vivaldi", SIGCOMM 2004). For a share of pairs the
path is a detour of 1.5 to 3 times the rest, so that a way by a third site is shorter: such triangle
inequality violations are common (Wang, Zhang and Ng, IMC 2007), and no coordinates can express
them. All delays are then scaled: the median is what was asked.

A delay is computed from the two sites whenever it is needed: ten thousand sites need no matrix. It
is the same both ways, and depends on the seed, the sites' order and the parameters alone.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate
from math import acos, copysign, cos, radians, sin
from random import Random
from statistics import median

EARTH_KM = 6371.0
FIBRE_KM_S = 200_000.0
SCATTER_DEGREES = 3.0
"""Standard deviation of a site's place around the middle of its region."""
LAST_MILE_S = (0.0005, 0.006)
"""One way, log-uniform between data centre and home."""
STRETCH = 1.7
DETOUR = (1.5, 3.0)
CALIBRATION_SITES = 200

REGIONS = (
    ("Virginia", 38.9, -77.5, 18),
    ("Chicago", 41.9, -87.6, 8),
    ("Oregon", 45.6, -121.2, 10),
    ("Sao Paulo", -23.5, -46.6, 6),
    ("London", 51.5, -0.1, 12),
    ("Frankfurt", 50.1, 8.7, 16),
    ("Stockholm", 59.3, 18.1, 5),
    ("Mumbai", 19.1, 72.9, 7),
    ("Singapore", 1.3, 103.8, 7),
    ("Tokyo", 35.7, 139.7, 7),
    ("Sydney", -33.9, 151.2, 4),
)
"""Name, degrees north, degrees east, weight."""

_ARC_S = EARTH_KM / FIBRE_KM_S * STRETCH
_BOUNDS = tuple(accumulate(weight for *_, weight in REGIONS))


@dataclass(frozen=True, slots=True)
class Place:
    """One site: `number` in the order of placing, a unit vector, and its last mile in seconds."""

    number: int
    x: float
    y: float
    z: float
    height_s: float
    region: str
    luck: float
    """From 1000 to 2000; the fraction of the product of two is what chance gives their pair."""


class Geography:
    """Places sites, and knows the delay of each pair."""

    def __init__(
        self, rng: Random, calibration: Random, one_way_p50_s: float, detours: float
    ) -> None:
        self._rng = rng
        self._detours = detours
        self._count = 0
        self._scale = 1.0
        sample = [self._place(calibration, number) for number in range(CALIBRATION_SITES)]
        delays = (self.delay(one, other) for one in sample for other in sample[: one.number])
        self._scale = one_way_p50_s / median(delays)

    def place(self) -> Place:
        """A new site."""
        self._count += 1
        return self._place(self._rng, self._count - 1)

    def delay(self, one: Place, other: Place) -> float:
        """Seconds from one site to another, or back."""
        cosine = one.x * other.x + one.y * other.y + one.z * other.z
        arc = acos(cosine) if -1.0 < cosine < 1.0 else acos(copysign(1.0, cosine))
        delay = (arc * _ARC_S + (one.height_s + other.height_s)) * self._scale
        chance = one.luck * other.luck % 1.0
        if chance < self._detours:
            low, high = DETOUR
            return delay * (low + (high - low) * chance / self._detours)
        return delay

    def _place(self, rng: Random, number: int) -> Place:
        region, north, east, _ = REGIONS[bisect(_BOUNDS, rng.random() * _BOUNDS[-1])]
        latitude = radians(min(89.0, max(-89.0, rng.gauss(north, SCATTER_DEGREES))))
        longitude = radians(rng.gauss(east, SCATTER_DEGREES))
        low, high = LAST_MILE_S
        height = low * (high / low) ** rng.random()
        x, y = cos(latitude) * cos(longitude), cos(latitude) * sin(longitude)
        luck = 1000 + 1000 * pair_bits(number, number) / 2**32
        return Place(number, x, y, sin(latitude), height, region, luck)


def pair_bits(one: int, other: int) -> int:
    """32 bits of chance that belong to an unordered pair of numbers (a multiplicative hash)."""
    low, high = (one, other) if one < other else (other, one)
    mixed = (low * 0x9E3779B97F4A7C15 + high * 0xC2B2AE3D27D4EB4F) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    return mixed >> 32
