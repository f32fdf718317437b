"""Which spare paths are asked, which are parked, and when they are asked again."""

from __future__ import annotations

from random import Random

import pytest

from gossip import NodeId
from meshd.node.choice import STEADY
from meshd.node.pacing import SPARE_INTERVAL
from meshd.node.path import KEPT_AFTER, Path
from meshd.node.paths import MAX_RELAYED, PathSet
from meshd.node.standby import FORGET_AFTER, GIVEN_UP, is_forgotten, is_needed, is_tried, may_rest
from meshd.node.wire import Endpoint
from tests.node.reach import Reach
from tests.node.test_paths import ONE, answered, proven, relayed


def node(number: int) -> NodeId:
    return NodeId(bytes([number]) * 16)


def spot(number: int) -> Endpoint:
    """Where the relay of this number is."""
    return f"198.51.100.{number}", 443


def crowd(reach: Reach, count: int, asked: bool = True) -> list[Path]:
    """Paths through so many relays, the first one the quickest, all just opened."""
    paths = []
    for number in range(count):
        reach.answers[spot(number)] = 0.02 + 0.001 * number
        made = reach.paths.relayed(node(number), number, spot(number), reach.now, asked=asked)
        paths.append(made)
    return paths


def test_of_many_relayed_paths_that_answer_one_backup_is_kept_warm() -> None:
    reach = Reach(PathSet(Random(1)))
    paths = crowd(reach, MAX_RELAYED)
    reach.run(10.0)
    working = [path for path in paths if path.valid]
    assert reach.paths.current is paths[0]
    assert working == paths[:2]
    assert all(path.parked_at is not None and path.streak >= STEADY for path in paths[2:])
    reach.probes.clear()
    reach.run(10.0 + 6 * SPARE_INTERVAL)
    asked = [endpoint for _, endpoint, _ in reach.probes]
    assert set(asked) == {spot(0), spot(1)}
    assert asked.count(spot(1)) == pytest.approx(6, abs=1)


def test_the_path_in_use_is_asked_beside_the_backup_and_no_more_often_for_that() -> None:
    reach = Reach(PathSet(Random(1)))
    crowd(reach, 2)
    reach.run(10.0)
    reach.probes.clear()
    reach.run(310.0)
    times = {number: [at for at, e, _ in reach.probes if e == spot(number)] for number in (0, 1)}
    assert set(times[1]) <= set(times[0])
    assert len(times[0]) <= 300 / 4 + len(times[1]) / 2 + 1


def test_when_the_path_in_use_fails_and_no_other_answers_parked_ones_are_asked_at_once() -> None:
    reach = Reach(PathSet(Random(1)))
    paths = crowd(reach, 3)
    reach.run(20.0)
    del reach.answers[spot(0)], reach.answers[spot(1)]
    reach.run(40.0)
    assert reach.paths.current is paths[2]


def test_a_relayed_path_that_never_answers_is_given_up_while_another_serves() -> None:
    reach = Reach(PathSet(Random(1)), {ONE: 0.02})
    proven(reach.paths, ONE, 0.02)
    reach.paths.choose(0.0)
    silent = reach.paths.relayed(node(9), 9, spot(9), 0.0)
    reach.run(2 * GIVEN_UP + 1.0)
    assert silent.parked_at is not None
    reach.probes.clear()
    reach.run(FORGET_AFTER)
    assert spot(9) not in [endpoint for _, endpoint, _ in reach.probes]


def test_while_no_way_works_a_silent_relayed_path_is_tried_for_ever() -> None:
    reach = Reach(PathSet(Random(1)))
    silent = reach.paths.relayed(node(9), 9, spot(9), 0.0)
    reach.run(300.0)
    assert silent.parked_at is None
    assert len(reach.probes) > 15


def test_a_parked_path_is_forgotten_when_nothing_came_by_it_for_long() -> None:
    reach = Reach(PathSet(Random(1)))
    paths = crowd(reach, 4)
    reach.run(20.0)
    for _ in range(20):
        reach.run(reach.now + 10.0)
        paths[2].heard(reach.now)  # it is the peer who uses it
    kept = list(reach.paths)
    assert [any(path is each for each in kept) for path in paths] == [True, True, True, False]
    assert not is_forgotten(paths[2], paths[2].last_received + FORGET_AFTER)
    assert is_forgotten(paths[2], paths[2].last_received + FORGET_AFTER + 0.1)


def test_what_the_peer_opens_is_parked_where_there_are_a_way_and_a_backup() -> None:
    reach = Reach(PathSet(Random(1)))
    crowd(reach, 2)
    reach.run(10.0)
    opened = reach.paths.relayed(node(7), 7, spot(7), reach.now, asked=False)
    reach.answers[spot(7)] = 0.001
    reach.run(11.0)
    opened.heard(reach.now)  # the peer tries it
    reach.run(14.0)
    assert opened.parked_at == pytest.approx(10.0, abs=0.1)
    assert opened.tries.sent == 0
    reach.now = 10.1 + KEPT_AFTER
    opened.heard(reach.now)  # and still uses it
    reach.run(reach.now + 5.0)
    assert opened.valid
    assert opened.streak >= STEADY


def test_a_path_that_was_tried_is_not_tried_again_because_the_peer_uses_it() -> None:
    reach = Reach(PathSet(Random(1)))
    paths = crowd(reach, 3)
    reach.run(30.0)
    sent = paths[2].tries.sent
    paths[2].heard(reach.now)
    reach.run(40.0)
    assert paths[2].tries.sent == sent
    again = reach.paths.relayed(node(2), 2, spot(2), reach.now)  # but because we ask for it
    assert again is paths[2]
    reach.run(45.0)
    assert paths[2].tries.sent > sent


def test_what_the_peer_opens_is_tried_at_once_where_it_is_needed() -> None:
    paths = PathSet(Random(1))
    assert is_needed(paths, None, 1)
    first = relayed(paths, 0.02)
    paths.choose(0.0)
    assert is_needed(paths, first, 1)  # there is no backup
    answered(paths.relayed(node(1), 1, spot(1), 0.0), 0.02, 0.0)
    assert not is_needed(paths, first, 1)
    assert not is_needed(paths, first, 3)
    first.misses = 2
    assert is_needed(paths, first, 1)
    first.misses, first.by_stream = 0, True
    assert is_needed(paths, first, 1)


def test_a_path_rests_only_when_it_was_compared() -> None:
    paths = PathSet(Random(1))
    used = relayed(paths, 0.02)
    paths.choose(0.0)
    best, other = (answered(paths.relayed(node(n), n, spot(n), 0.0), 0.01 * n, 0.0) for n in (3, 4))
    assert may_rest(other, paths, used)
    assert not may_rest(best, paths, used)
    assert not may_rest(used, paths, used)
    assert not may_rest(other, paths, None)
    other.waiting[1] = (0.0, 0)
    assert not may_rest(other, paths, used)
    other.waiting.clear()
    other.streak = STEADY - 1
    assert not is_tried(other, used)
    assert not may_rest(other, paths, used)
    direct = proven(paths, ONE, 0.02)
    assert is_tried(other, direct)
    assert not may_rest(direct, paths, used)
