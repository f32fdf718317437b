"""Coordinates: their bytes, how well they tell round trips, and how little a liar moves them."""

from __future__ import annotations

import math
import statistics
import struct
from collections.abc import Callable
from random import Random

import pytest

from gossip import coordinates
from gossip.coordinates import MAX_PULL, MAX_RTT, ORIGIN, Coordinate, Vivaldi
from gossip.errors import DecodeError
from gossip.ids import NodeId

from .cluster import Cluster, id_of, key_of

Truth = Callable[[int, int], float]
"""The round trip between two numbered nodes, in seconds; the lower number comes first."""


def name(number: int) -> NodeId:
    return NodeId(number.to_bytes(16, "big"))


def line(one: int, other: int) -> float:
    return (other - one) * 0.01


def grid(one: int, other: int) -> float:
    return 0.01 * math.dist(divmod(one, 5), divmod(other, 5))


def split(one: int, other: int) -> float:
    """Two sites of 1 ms each, 10 ms apart."""
    return 0.001 + 0.01 * ((one <= 12) != (other <= 12))


def circle(one: int, other: int) -> float:
    """All on a circle of 100 ms, but the first: above its middle, equally far from everyone."""
    if one == 0:
        return 0.2
    angles = [2 * math.pi * number / 25 for number in (one, other)]
    return 0.1 * math.dist(*[(math.cos(angle), math.sin(angle)) for angle in angles])


def scattered(one: int, other: int) -> float:
    """Normally distributed, 100 +- 10 ms: no space has such distances."""
    return Random(f"{one}/{other}").gauss(0.1, 0.01)


def settle(
    nodes: int, truth: Truth, cycles: int = 1000, rounded: bool = True, seed: int = 4
) -> list[Vivaldi]:
    """In each cycle each node measures the way to one other, as it is told (rounded) or is."""
    rng = Random(seed)
    places = [Vivaldi(Random(f"{seed}/{number}"), 100) for number in range(nodes)]
    for _ in range(cycles):
        for one in range(nodes):
            other = rng.randrange(nodes)
            if other != one:
                rtt = truth(min(one, other), max(one, other))
                there = places[other].coordinate
                told = coordinates.unpack(there.pack()) if rounded else there
                places[one].observe(name(other), told, rtt)
    return places


def errors(places: list[Vivaldi], truth: Truth) -> list[float]:
    """By what share the told round trips are wrong, for each pair."""
    found = []
    for one in range(len(places)):
        for other in range(one + 1, len(places)):
            real = truth(one, other)
            told = places[one].coordinate.distance(places[other].coordinate)
            found.append(abs(told - real) / real)
    return found


@pytest.mark.parametrize(
    ("nodes", "truth", "mean", "worst"),
    [
        (10, line, 0.0031, 0.0130),
        (25, grid, 0.0016, 0.0230),
        (25, split, 0.00006, 0.00048),
        (25, circle, 0.0028, 0.064),
        (25, scattered, 0.075, 0.33),
    ],
)
def test_the_errors_are_within_those_of_serf(
    nodes: int, truth: Truth, mean: float, worst: float
) -> None:
    """The table of serf's `performance_test.go`, at one seed, as it is there."""
    exact = errors(settle(nodes, truth, rounded=False), truth)
    assert statistics.fmean(exact) <= mean
    assert max(exact) <= worst


def test_half_floats_on_the_wire_cost_no_more_than_their_last_bit() -> None:
    assert statistics.fmean(errors(settle(25, split), split)) <= 0.00006 + 2**-11


def star(one: int, other: int) -> float:
    """Access links of 10 to 58 ms, all to one place."""
    return 0.02 + 0.002 * (one + other)


def test_access_links_are_told_by_heights() -> None:
    places = settle(25, star)
    assert statistics.fmean(errors(places, star)) < 0.08
    heights = [place.coordinate.height for place in places]
    assert statistics.fmean(heights[15:]) > statistics.fmean(heights[:10]) + 0.005


def test_equal_inputs_give_equal_bits() -> None:
    first, second = settle(10, scattered, 50), settle(10, scattered, 50)
    assert [place.coordinate for place in first] == [place.coordinate for place in second]
    assert first[3].coordinate.vector[5].hex() == "0x1.59264919c47b8p-10"


FAR = Coordinate((9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.9, 0.0, 0.0)


def test_honest_peers_push_harder_than_one_liar_in_sixteen_pulls() -> None:
    places, rng = settle(16, scattered), Random(9)
    before = statistics.median(errors(places, scattered))
    for _ in range(400):
        for one in range(15):
            other = rng.randrange(16)
            if other != one:
                rtt = scattered(min(one, other), max(one, other))
                a, b, c, d, e, f, g, h = [rng.uniform(-3.0, 3.0) for _ in range(8)]
                lie = Coordinate((a, b, c, d, e, f, g, h), 0.0, 0.0, 0.01)
                place = lie if other == 15 else places[other].coordinate
                places[one].observe(name(other), place, rtt)
    assert statistics.median(errors(places[:15], scattered)) < before + 0.2


def test_a_liar_moves_a_node_by_no_more_than_a_bounded_force() -> None:
    here = settle(25, grid)[7]
    for lie in (FAR, Coordinate(ORIGIN.vector, 9.0, -0.9, 0.0), ORIGIN):
        for rtt in (1e-9, 0.001, 9.9):
            for _ in range(3):
                before = here.coordinate
                assert here.observe(name(99), lie, rtt)
                after = here.coordinate
                assert math.dist(before.vector, after.vector) <= MAX_PULL * 1.01
                assert abs(after.height - before.height) <= MAX_PULL * 1.01
                assert abs(after.adjustment) <= MAX_PULL / 2
                assert 0 <= after.error <= 1.5


def test_one_liar_among_many_is_outvoted() -> None:
    places = settle(25, circle, 300)
    honest = statistics.fmean(errors(places, circle))
    rng = Random(1)
    for _ in range(2000):
        one, other = rng.randrange(1, 25), rng.randrange(25)
        if other == 0:
            places[one].observe(name(0), FAR, 0.05)
        elif other != one:
            rtt = circle(min(one, other), max(one, other))
            places[one].observe(name(other), places[other].coordinate, rtt)
    among = statistics.fmean(errors(places[1:], lambda a, b: circle(a + 1, b + 1)))
    assert honest < 0.05
    assert among < 0.5


@pytest.mark.parametrize("rtt", [-0.001, MAX_RTT + 0.001, float("nan"), float("inf")])
def test_a_round_trip_that_is_none_measures_nothing(rtt: float) -> None:
    place = Vivaldi(Random(1), 10)
    assert not place.observe(name(1), ORIGIN, rtt)
    assert place.coordinate == ORIGIN
    assert len(place) == 0


@pytest.mark.parametrize(
    "absurd",
    [
        Coordinate((11.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0, 0.0, 0.1),
        Coordinate(height=10.5),
        Coordinate(adjustment=-11.0),
    ],
)
def test_nobody_lies_further_out_than_the_longest_round_trip(absurd: Coordinate) -> None:
    place = Vivaldi(Random(1), 10)
    assert not place.observe(name(1), absurd, 0.1)
    assert place.of(name(1)) is None


def test_one_late_answer_in_three_does_not_count() -> None:
    steady, disturbed = Vivaldi(Random(1), 10), Vivaldi(Random(1), 10)
    there = Coordinate((0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.001, 0.0, 0.2)
    for count in range(30):
        steady.observe(name(1), there, 0.05)
        disturbed.observe(name(1), there, 5.0 if count % 3 == 2 else 0.05)
    assert disturbed.coordinate == steady.coordinate


def test_the_places_that_are_remembered_are_bounded() -> None:
    place = Vivaldi(Random(1), 10)
    for number in range(100):
        place.observe(name(number), ORIGIN, 0.1)
        place.observe(name(0), ORIGIN, 0.1)
    assert len(place) == 10
    assert place.of(name(0)) == ORIGIN
    assert place.of(name(50)) is None
    place.forget(name(0))
    place.forget(name(0))
    assert len(place) == 9


def test_probes_tell_the_distance_of_everyone_for_free() -> None:
    cluster = Cluster(seed=3)
    cluster.boot(6)
    cluster.run(120)
    one, two, three = (id_of(key_of(number)) for number in (1, 2, 3))
    protocol = cluster.node(1)
    for found in (
        protocol.distance(two),
        protocol.distance(two, three),
        protocol.distance(two, one),
    ):
        assert found is not None
        assert 0.005 < found < 0.05  # each way takes 1 to 20 ms
    assert protocol.distance(id_of(key_of("stranger"))) is None
    assert protocol.coordinate.error < 1.5


def test_a_coordinate_has_the_bytes_that_are_drawn() -> None:
    place = Coordinate((0.001, -0.002, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0625), 0.004, -0.0005, 0.25)
    packed = struct.pack(">11e", 1, -2, 0, 0, 0, 0, 0, 62.5, 4, -0.5, 0.25)
    assert place.pack() == packed
    assert coordinates.unpack(packed) == place
    assert len(packed) == 22


def test_what_is_too_far_is_brought_to_the_edge() -> None:
    far = coordinates.unpack(
        Coordinate((1e9, -1e9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 1e9, -1e9, 9.0).pack()
    )
    assert far == Coordinate((65.504, -65.504, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 65.504, -65.504, 1.5)


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
