"""Which path is taken, and how seldom it is left."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gossip import NodeId
from meshd.node.choice import (
    BETTER_KIND,
    CALM,
    CALM_MAX,
    DWELL,
    QUICKER,
    STEADY,
    STEADY_BESIDE_STREAM,
    Choice,
    backup,
    cost,
    is_failing,
    is_steady,
)
from meshd.node.path import FORGIVEN_AFTER, Path, PathKind
from meshd.node.wire import STREAM, Endpoint


def path(
    number: int, rtt: float | None, *, relayed: bool = False, stream: bool = False, now: float = 0.0
) -> Path:
    """A proven path that has answered for a while."""
    endpoint: Endpoint = (f"{STREAM if stream else ''}192.0.2.{number}", 443)
    relay = NodeId(bytes((number,)) * 16) if relayed else None
    kind = PathKind.RELAY if relayed else PathKind.STREAM if stream else PathKind.DIRECT
    made = Path(kind, endpoint, relay)
    made.prove(now)
    made.srtt, made.streak = rtt, STEADY
    return made


def test_loss_costs_as_much_as_a_longer_way() -> None:
    clean, lossy = path(1, 0.020), path(2, 0.020)
    lossy.outcomes.extend([True] * 16 + [False] * 16)
    assert cost(clean) == pytest.approx(0.020)
    assert cost(lossy) == pytest.approx(0.020 + 0.2)
    lossy.outcomes.extend([False] * 32)
    assert cost(lossy) == pytest.approx(0.020 + 0.2 * 9)
    choice = Choice()
    assert choice.choose([lossy], None, 0.0) is lossy
    assert choice.choose([lossy, clean], lossy, DWELL) is clean


def test_kinds_have_their_order_whatever_they_cost() -> None:
    ways = [
        path(4, 0.001, relayed=True, stream=True),
        path(3, 0.002, stream=True),
        path(2, 0.003, relayed=True),
        path(1, 0.300),
    ]
    choice, current = Choice(), None
    for turn, better in enumerate(ways):
        current = choice.choose(ways[: turn + 1], current, float(turn))
        assert current is better
    assert choice.reason == BETTER_KIND
    assert choice.switches == 4
    assert choice.choose(ways[:3], None, 9.0) is ways[2]


def test_a_path_that_was_tried_too_little_is_not_taken_for_its_quality() -> None:
    old, new = path(1, 0.200), path(2, 0.001)
    choice = Choice()
    choice.choose([old], None, 0.0)
    new.streak = STEADY - 1
    assert choice.choose([old, new], old, 100.0) is old
    new.streak = STEADY
    assert choice.choose([old, new], old, 100.0) is new
    assert choice.reason == QUICKER


def test_switches_for_quality_get_rarer_and_peace_makes_up_for_it() -> None:
    one, other = path(1, 0.200), path(2, 0.050)
    choice, now, times = Choice(), 0.0, list[float]()
    current = choice.choose([one], None, now)
    while now < 3600.0:
        assert current is not None
        worse, better = (one, other) if current is one else (other, one)
        worse.srtt, better.srtt = 0.200, 0.050
        after = choice.choose([one, other], current, now)
        if after is not current:
            times.append(now)
        current, now = after, now + 1.0
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == DWELL
    assert pauses[0] >= CALM
    assert pauses[1] >= 1.8 * CALM
    assert max(pauses) <= CALM_MAX + 1
    assert 6 <= len(pauses) <= 12
    assert choice.calm > CALM
    assert current is not None
    current.srtt = 0.9
    spare = other if current is one else one
    spare.srtt = 0.05
    assert choice.choose([one, other], current, now + 10 * CALM_MAX) is spare
    assert choice.calm == 2 * CALM


def test_a_path_that_fails_is_left_for_one_that_was_heard_since() -> None:
    old, new = path(1, 0.010), path(2, 0.020, relayed=True)
    choice = Choice()
    choice.choose([old], None, 0.0)
    old.failing = True
    assert is_failing(old)
    assert choice.choose([old, new], old, 1.0) is old
    new.last_received = 0.5
    new.misses = 1
    assert choice.choose([old, new], old, 1.0) is old
    new.misses = 0
    assert choice.choose([old, new], old, 1.0) is new
    assert choice.reason == "the way before does not answer"


def test_a_better_kind_that_failed_has_to_answer_longer_each_time() -> None:
    relay, direct = path(1, 0.020, relayed=True), path(2, 0.010)
    choice = Choice()
    choice.choose([relay], None, 0.0)
    for failures, needed in ((1, STEADY), (2, 2 * STEADY), (3, 4 * STEADY), (9, 8 * STEADY)):
        direct.failures, direct.streak = failures, needed - 1
        assert not is_steady(direct)
        assert choice.choose([relay, direct], relay, 1.0) is relay
        direct.streak = needed
        assert is_steady(direct)


def test_failures_are_forgiven() -> None:
    made = path(1, 0.010)
    for turn in range(100):
        made.fail(float(turn))
        made.out = False
    assert 1 < made.failures < 100
    made.fail(99.0 + FORGIVEN_AFTER + 1)
    assert made.failures == 1
    made.fail(99.0 + FORGIVEN_AFTER + 2)
    assert made.failures == 1  # it has not answered in between
    now = 99.0 + 3 * FORGIVEN_AFTER
    made.waiting[7] = (now, 0)
    made.measured(7, now + 0.01)
    assert made.failures == 0


def test_the_backup_is_the_best_of_the_others() -> None:
    used, second, third = path(1, 0.01), path(2, 0.05, relayed=True), path(3, 0.02, relayed=True)
    assert backup([used], used) is None
    assert backup([used, second, third], used) is third
    third.misses = 1
    assert backup([used, second, third], used) is second
    second.valid = False
    assert backup([used, second, third], used) is third
    assert backup([], None) is None


def test_nothing_that_works_leaves_nothing() -> None:
    choice = Choice()
    used = path(1, 0.01)
    assert choice.choose([used], None, 0.0) is used
    assert choice.reason == "the first that worked"
    used.valid = False
    assert choice.choose([used], used, 1.0) is None
    assert choice.reason == "no way works"
    used.valid = True
    assert choice.choose([used], None, 2.0) is used
    assert choice.reason == "the way before was lost"


def test_udp_that_failed_often_is_taken_again_soon_where_a_stream_is_in_use() -> None:
    stream, relay, direct = path(1, 0.020, stream=True), path(2, 0.020, relayed=True), path(3, 0.01)
    direct.failures, direct.streak = 9, STEADY_BESIDE_STREAM
    assert Choice().choose([stream, direct], stream, 1.0) is direct
    assert Choice().choose([relay, direct], relay, 1.0) is relay
    direct.streak -= 1
    assert Choice().choose([stream, direct], stream, 1.0) is stream
