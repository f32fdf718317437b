"""Which path is used, how many are kept, and what becomes of them."""

from __future__ import annotations

from random import Random

import pytest

from gossip import NodeId
from meshd.node.choice import DWELL, QUICKER
from meshd.node.pacing import IDLE_INTERVAL
from meshd.node.path import PathKind
from meshd.node.paths import MAX_PATHS, PathSet
from meshd.node.wire import RELAY_PREFIX, RELAYED, STREAM, Endpoint
from tests.node.reach import Reach
from tests.node.test_paths import ONE, OTHER, RELAY, SIX, answered, proven, relayed


def test_no_unproven_path_is_used() -> None:
    paths = PathSet(Random(1))
    path = paths.learn(ONE, 0.0)
    paths.choose(0.0)
    assert paths.current is None
    assert not paths.changed
    path.prove(0.0)
    paths.choose(0.0)
    assert paths.current is path
    assert paths.changed


def test_a_direct_path_is_used_before_a_quicker_relayed_one() -> None:
    paths = PathSet(Random(1))
    relay = relayed(paths, 0.001)
    paths.choose(0.0)
    assert paths.current is relay
    direct = proven(paths, ONE, 0.300)
    paths.choose(0.0)
    assert paths.current is direct
    paths.choose(0.0)
    assert paths.current is direct


def test_a_direct_path_that_misses_probes_gives_way_to_a_relay_that_answers() -> None:
    paths = PathSet(Random(1))
    direct = proven(paths, ONE, 0.02)
    paths.choose(0.0)
    relay = relayed(paths, 0.04, 1.0)
    direct.misses = 1
    paths.choose(0.0)
    assert paths.current is direct
    direct.misses = 2
    paths.choose(0.0)
    assert paths.current is relay


def test_a_direct_path_that_misses_probes_does_not_replace_a_relay() -> None:
    paths = PathSet(Random(1))
    relay = relayed(paths, 0.04)
    paths.choose(0.0)
    direct = proven(paths, ONE, 0.02)
    direct.misses = 1
    paths.choose(0.0)
    assert paths.current is relay


def test_a_path_must_be_clearly_quicker_to_replace_its_equal() -> None:
    paths = PathSet(Random(1))
    first = proven(paths, ONE, 0.100)
    paths.choose(0.0)
    second = proven(paths, OTHER, 0.091)  # 9 ms, 9 %
    paths.choose(DWELL)
    assert paths.current is first
    second.srtt = 0.086  # 14 ms, but 14 %
    paths.choose(DWELL)
    assert paths.current is first
    first.srtt, second.srtt = 0.012, 0.004  # 66 %, but 8 ms
    paths.choose(DWELL)
    assert paths.current is first
    first.srtt, second.srtt = 0.100, 0.080
    paths.choose(DWELL - 0.1)
    assert paths.current is first
    paths.choose(DWELL)
    assert paths.current is second
    assert paths.choice.reason == QUICKER


def test_two_paths_that_trade_places_by_little_do_not_flap() -> None:
    reach = Reach(PathSet(Random(1)), {ONE: 0.050, OTHER: 0.052}, active=True)
    proven(reach.paths, ONE, 0.05)
    proven(reach.paths, OTHER, 0.05)
    reach.paths.choose(0.0)
    for turn in range(60):
        swing = 0.008 if turn % 2 else -0.008
        reach.answers[ONE], reach.answers[OTHER] = 0.050 + swing, 0.050 - swing
        reach.run(10.0 * (turn + 1))
    assert len(reach.changes) == 1


def test_the_path_in_use_is_left_as_soon_as_another_answers_and_it_does_not() -> None:
    paths = PathSet(Random(1))
    first = proven(paths, ONE, 0.02)
    paths.choose(0.0)
    second = proven(paths, OTHER, 0.03, 1.0)
    first.misses = 1
    paths.choose(1.0)
    assert paths.current is first
    first.misses = 2
    paths.choose(1.0)
    assert paths.current is second


def test_losing_the_path_in_use_falls_to_the_next_at_once() -> None:
    reach = Reach(PathSet(Random(1)), {ONE: 0.02, OTHER: 0.03}, active=True)
    proven(reach.paths, ONE, 0.02)
    relayed(reach.paths, 0.03)
    reach.paths.choose(0.0)
    reach.run(30.0)
    assert reach.paths.current is reach.paths.direct(ONE)
    del reach.answers[ONE]
    reach.run(36.0)
    assert reach.paths.current is not None
    assert reach.paths.current.kind is PathKind.RELAY
    reach.answers[ONE] = 0.02
    reach.run(80.0)
    assert reach.paths.current is reach.paths.direct(ONE)


def test_a_new_source_is_a_candidate_that_has_to_answer_first() -> None:
    reach = Reach(PathSet(Random(1)), {ONE: 0.02}, active=True)
    proven(reach.paths, ONE, 0.02)
    reach.paths.choose(0.0)
    reach.run(10.0)
    reach.paths.learn(OTHER, 10.0)  # an authenticated frame came from there
    reach.run(20.0)
    assert reach.paths.current is reach.paths.direct(ONE)
    assert len(reach.changes) == 1


def test_a_peer_that_roamed_is_followed_within_seconds() -> None:
    reach = Reach(PathSet(Random(1)), {ONE: 0.02}, active=True)
    proven(reach.paths, ONE, 0.02)
    reach.paths.choose(0.0)
    reach.run(10.0)
    reach.answers = {OTHER: 0.02}
    reach.paths.learn(OTHER, 10.0)
    reach.run(12.0)
    assert reach.paths.current is reach.paths.direct(OTHER)


def test_learning_an_endpoint_again_changes_nothing() -> None:
    paths = PathSet(Random(1))
    path = proven(paths, ONE, 0.02)
    assert paths.learn(ONE, 5.0) is path
    assert path.valid
    assert len(list(paths)) == 1


def test_the_number_of_paths_is_bounded_and_those_that_work_stay() -> None:
    paths = PathSet(Random(1))
    used, backup = proven(paths, ONE, 0.02), proven(paths, SIX, 0.02, 1.0)
    relay = relayed(paths, 0.02, 2.0)
    paths.choose(0.0)
    for port in range(1, 500):
        paths.learn(("203.0.113.9", port), 3.0)
    kept = list(paths)
    assert len(kept) == MAX_PATHS
    assert all(any(path is each for each in kept) for path in (used, backup, relay))
    assert paths.direct(("203.0.113.9", 499)) is not None


def test_the_path_in_use_stays_whatever_comes() -> None:
    paths = PathSet(Random(1))
    used = proven(paths, ONE, 0.02)
    paths.choose(0.0)
    for port in range(1, 200):
        proven(paths, ("203.0.113.9", port), 0.02, float(port))
    assert paths.direct(ONE) is used
    assert len(list(paths)) == MAX_PATHS


def test_a_relayed_path_carries_its_channel_in_every_prefix() -> None:
    paths = PathSet(Random(1))
    path = paths.relayed(RELAY, 0xABCD, ONE, 0.0)
    assert path.prefix == RELAY_PREFIX.pack(RELAYED, 0xABCD)
    assert paths.direct(ONE) is None


def test_the_same_channel_follows_its_relay_to_another_endpoint() -> None:
    paths = PathSet(Random(1))
    path = relayed(paths, 0.02)
    assert paths.relayed(RELAY, 7, ONE, 1.0) is path
    assert path.endpoint == ONE
    assert path.valid


def test_a_new_channel_of_the_relay_in_use_ends_the_old_one() -> None:
    paths = PathSet(Random(1))
    old = relayed(paths, 0.02)
    paths.choose(0.0)
    paths.changed = False
    new = paths.relayed(RELAY, 8, OTHER, 1.0)
    assert paths.changed
    assert paths.current is None
    assert [path.channel for path in paths] == [8]
    assert not paths.has(old)
    answered(new, 0.02, 1.1)
    paths.choose(0.0)
    assert paths.current is new


def test_replacing_a_channel_pushes_nothing_else_out() -> None:
    paths = PathSet(Random(1))
    relayed(paths, 0.02)
    for port in range(1, MAX_PATHS):
        paths.learn(("203.0.113.9", port), 0.0)
    paths.relayed(RELAY, 8, OTHER, 1.0)
    assert len(list(paths)) == MAX_PATHS


def test_relays_are_paths_of_their_own() -> None:
    paths = PathSet(Random(1))
    one = relayed(paths, 0.05)
    other = relayed(paths, 0.02, relay=NodeId(b"s" * 16))
    paths.choose(0.0)
    assert paths.current is other
    paths.drop(other)
    assert paths.current is None
    paths.choose(0.0)
    assert paths.current is one


def test_a_peer_that_left_has_no_proven_path() -> None:
    paths = PathSet(Random(1))
    path = proven(paths, ONE, 0.02)
    [probe] = [p for p in paths.due(0.0, False) if not p.size]
    paths.sent(probe, 0.0)
    paths.choose(0.0)
    paths.lose_all()
    assert paths.current is None
    assert path.measured(probe.nonce, 0.1) is None
    assert not path.valid


def test_a_stream_that_stood_by_is_asked_as_soon_as_it_is_used() -> None:
    stream: Endpoint = (STREAM + ONE[0], 443)
    reach = Reach(PathSet(Random(1)), {ONE: 0.02, stream: 0.02})
    for endpoint in (ONE, stream):
        reach.paths.learn(endpoint, 0.0)
    reach.run(20.0)
    assert reach.paths.current is reach.paths.direct(ONE)
    del reach.answers[ONE]
    reach.run(40.0)
    assert reach.paths.current is reach.paths.direct(stream)
    times = [at for at, endpoint, _ in reach.probes if endpoint == stream and at > 20.0]
    assert times[0] == pytest.approx(reach.changes[-1][0], abs=0.1)
    assert times[-1] > 40.0 - 1.5 * IDLE_INTERVAL
    reach.answers.clear()
    reach.run(60.0)
    assert reach.paths.current is None


def test_a_path_that_was_left_and_is_then_lost_has_failed_once() -> None:
    reach = Reach(PathSet(Random(1)), {ONE: 0.02, OTHER: 0.03}, active=True)
    direct = reach.paths.learn(ONE, 0.0)
    relay = reach.paths.relayed(RELAY, 7, OTHER, 0.0)
    reach.run(20.0)
    for failures in (1, 2):
        del reach.answers[ONE]
        reach.run(reach.now + 30.0)
        assert not direct.valid
        assert reach.paths.current is relay
        assert direct.failures == failures
        reach.answers[ONE] = 0.02
        reach.run(reach.now + 30.0)
        assert reach.paths.current is direct


def test_udp_is_taken_again_within_fifteen_seconds_however_often_it_failed() -> None:
    stream: Endpoint = (STREAM + ONE[0], 443)
    reach = Reach(PathSet(Random(1)), {ONE: 0.02, stream: 0.02}, active=True)
    for endpoint in (ONE, stream):
        reach.paths.learn(endpoint, 0.0)
    reach.run(20.0)
    for _ in range(6):
        del reach.answers[ONE]
        reach.run(reach.now + 40.0)
        assert reach.paths.current is reach.paths.direct(stream)
        reach.answers[ONE] = 0.02
        reach.run(reach.now + 15.0)
        assert reach.paths.current is reach.paths.direct(ONE)
