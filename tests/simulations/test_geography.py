from __future__ import annotations

from itertools import combinations
from random import Random
from statistics import median

import pytest

from simulations.geography import Geography, Place, pair_bits


def world(detours: float = 0.1, seed: int = 1, count: int = 120) -> tuple[Geography, list[Place]]:
    geography = Geography(Random(seed), Random(-seed), 0.040, detours)
    return geography, [geography.place() for _ in range(count)]


def violations(geography: Geography, places: list[Place]) -> float:
    """The share of pairs for which a way by some third site is shorter."""
    pairs = list(combinations(places[:60], 2))
    worse = sum(
        any(
            geography.delay(one, third) + geography.delay(third, other)
            < 0.999 * geography.delay(one, other)
            for third in places
            if third is not one and third is not other
        )
        for one, other in pairs
    )
    return worse / len(pairs)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_median_delay_is_what_was_asked_for(seed: int) -> None:
    geography, places = world(seed=seed, count=400)
    delays = [geography.delay(one, other) for one, other in combinations(places, 2)]
    assert median(delays) == pytest.approx(0.040, rel=0.15)
    assert min(delays) > 0.0002
    assert max(delays) < 0.5


def test_a_delay_is_the_same_both_ways_and_each_time() -> None:
    geography, places = world()
    for one, other in combinations(places[:20], 2):
        assert geography.delay(one, other) == geography.delay(other, one)
    again, same = world()
    assert again.delay(same[3], same[7]) == geography.delay(places[3], places[7])


def test_neighbours_are_near_and_antipodes_are_far() -> None:
    geography, places = world(detours=0.0, count=300)
    near: list[float] = []
    far: list[float] = []
    for one, other in combinations(places, 2):
        regions = {one.region, other.region}
        if regions == {"Frankfurt"}:
            near.append(geography.delay(one, other))
        elif regions == {"Frankfurt", "Sydney"}:
            far.append(geography.delay(one, other))
    assert median(far) > 5 * median(near)


def test_detours_and_nothing_else_violate_the_triangle_inequality() -> None:
    assert violations(*world(detours=0.0)) == 0
    assert 0.15 < violations(*world(detours=0.3)) < 0.35


def test_the_bits_of_pairs_are_evenly_spread_and_know_no_order() -> None:
    bits = [pair_bits(one, other) for one, other in combinations(range(100), 2)]
    assert len(set(bits)) == len(bits)
    assert pair_bits(3, 9) == pair_bits(9, 3)
    for shift in (0, 16):
        low = sum((value >> shift & 0xFFFF) < 0x4000 for value in bits)
        assert 0.22 < low / len(bits) < 0.28
