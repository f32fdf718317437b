"""Whom a node asks to relay."""

from __future__ import annotations

from random import Random

from gossip import NodeId
from meshd.node.shortlist import BEST, MAX_JUDGED, Willing, shortlist


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(16, "big"))


def willing(
    number: int, first: float | None, second: float | None, is_relay: bool = False
) -> Willing:
    return Willing(node(number), is_relay, first, second)


WAYS = [willing(number, 0.01 * number, 0.1) for number in range(1, 11)]


def test_the_shortest_whole_ways_go_first() -> None:
    ways = [willing(1, 0.001, 0.3), willing(2, 0.1, 0.01), willing(3, 0.05, 0.05), *WAYS[5:]]
    chosen = shortlist(ways, None, Random(1))[:BEST]
    assert (sorted(chosen[:2]), chosen[2]) == ([node(2), node(3)], node(6))


def test_the_role_goes_before_the_way() -> None:
    ways = [*WAYS, willing(50, 0.3, 0.3, is_relay=True), willing(51, None, None, is_relay=True)]
    chosen = shortlist(ways, None, Random(1))
    assert chosen[:BEST] == [node(50), node(51), node(1)]


def test_what_is_not_known_goes_last_by_what_is() -> None:
    ways = [willing(1, None, 0.1), willing(2, 0.1, None), willing(3, 0.05, None)]
    assert shortlist([*ways, willing(4, 0.2, 0.2)], None, Random(1))[:BEST] == [
        node(4),
        node(3),
        node(2),
    ]


def test_one_of_the_rest_is_asked_by_chance() -> None:
    ways = [willing(number, 0.1 * number, 0.1) for number in range(1, 11)]
    drawn = [shortlist(ways, None, Random(seed)) for seed in range(200)]
    assert all(len(chosen) == BEST + 1 == len(dict.fromkeys(chosen)) for chosen in drawn)
    assert sorted({chosen[-1] for chosen in drawn}) == [node(number) for number in range(4, 11)]


def test_the_last_good_one_is_asked_again_if_it_is_still_willing() -> None:
    assert shortlist(WAYS, node(9), Random(1))[BEST] == node(9)
    assert len(shortlist(WAYS, node(9), Random(1))) == BEST + 2
    assert len(shortlist(WAYS, node(1), Random(1))) == BEST + 1
    assert node(77) not in shortlist(WAYS, node(77), Random(1))


def test_of_few_all_are_asked_and_of_none_nobody() -> None:
    assert sorted(shortlist(WAYS[:2], None, Random(1))) == [node(1), node(2)]
    assert shortlist([], node(1), Random(1)) == []


def test_of_very_many_only_some_are_looked_at_but_always_the_last_good_one() -> None:
    ways = [willing(number, 0.1, 0.1) for number in range(4 * MAX_JUDGED)]
    last = node(3)
    assert all(last in shortlist(ways, last, Random(seed)) for seed in range(20))


def test_those_that_are_as_good_share_the_load_by_their_capacity() -> None:
    ways = [
        Willing(node(number), False, 0.05, 0.05 + 0.001 * number, 3 if number < 3 else 1)
        for number in range(10)
    ]
    first = [shortlist(ways, None, Random(seed))[0] for seed in range(3000)]
    counts = [first.count(node(number)) for number in range(10)]
    assert min(counts) > 100
    assert min(counts[:3]) > 2 * max(counts[3:])


def test_who_is_clearly_farther_is_not_among_them() -> None:
    ways = [willing(1, 0.05, 0.05), willing(2, 0.05, 0.069), willing(3, 0.05, 0.075)]
    firsts = [shortlist(ways, None, Random(seed))[0] for seed in range(100)]
    assert {node(1), node(2)} == set(firsts)
