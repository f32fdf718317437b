"""Probing, losing, widening and choosing paths, on a clock that the test winds."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from gossip import NodeId
from meshd.node.choice import STEADY
from meshd.node.pacing import IDLE_INTERVAL, RETRY_MAX, SPARE_INTERVAL
from meshd.node.path import (
    MISSES_MAX,
    PROBE_TIMEOUT_MAX,
    WIDTH_AGAIN,
    WIDTHS4,
    WIDTHS6,
    Path,
    PathKind,
)
from meshd.node.paths import (
    ACTIVE_INTERVAL,
    LOSSY_INTERVAL,
    MEASURE_INTERVAL,
    RETRY_SPARE,
    PathSet,
)
from meshd.node.redundancy import Interval
from meshd.node.wire import (
    BASE_SEGMENT,
    Endpoint,
)
from tests.node.reach import Reach

ONE: Endpoint = ("192.0.2.1", 443)
OTHER: Endpoint = ("198.51.100.1", 443)
SIX: Endpoint = ("2001:db8::1", 443)
RELAY = NodeId(b"r" * 16)


def proven(paths: PathSet, endpoint: Endpoint, rtt: float, now: float = 0.0) -> Path:
    """A direct path that has answered for a while."""
    return answered(paths.learn(endpoint, now), rtt, now)


def relayed(paths: PathSet, rtt: float, now: float = 0.0, relay: NodeId = RELAY) -> Path:
    """A relayed path that has answered for a while."""
    return answered(paths.relayed(relay, 7, OTHER, now), rtt, now)


def answered(path: Path, rtt: float, now: float) -> Path:
    path.prove(now)
    path.sample(rtt)
    path.streak = STEADY
    return path


# Probing


def test_a_candidate_is_probed_at_once_and_then_with_growing_pauses_for_ever() -> None:
    reach = Reach(PathSet(Random(1)))
    reach.paths.learn(ONE, 0.0)
    reach.run(300.0)
    times = [at for at, _, _ in reach.probes]
    assert times[0] == 0.0
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert 0.4 < pauses[0] < 1.1
    assert all(pause < RETRY_MAX * 1.1 + 0.1 for pause in pauses)
    assert pauses[-1] > RETRY_MAX * 0.9
    assert 15 < len(times) < 30


def test_candidates_rest_longer_while_a_direct_path_serves() -> None:
    reach = Reach(PathSet(Random(1)), {ONE: 0.02})
    proven(reach.paths, ONE, 0.02)
    reach.paths.choose(0.0)
    reach.paths.consider([OTHER], 0.0)
    reach.run(3 * RETRY_SPARE)
    times = [at for at, endpoint, _ in reach.probes if endpoint == OTHER]
    assert times[-1] - times[-2] > RETRY_MAX * 2
    assert 5 < len(times) < 20


@pytest.mark.parametrize(("active", "interval"), [(True, ACTIVE_INTERVAL), (False, IDLE_INTERVAL)])
def test_the_current_path_is_probed_every_few_seconds(active: bool, interval: float) -> None:
    reach = Reach(PathSet(Random(1)), {ONE: 0.02}, active=active, width=BASE_SEGMENT)
    answered(reach.paths.learn(ONE, 0.0), 0.02, 0.0).widths = []
    reach.paths.choose(0.0)
    reach.run(10 * interval)
    times = [at for at, _, _ in reach.probes]
    assert 10 <= len(times) <= 12
    assert times[2] - times[1] == pytest.approx(interval, abs=0.1)


def test_a_backup_is_kept_warm() -> None:
    reach = Reach(PathSet(Random(1)), {ONE: 0.02, OTHER: 0.03}, width=BASE_SEGMENT)
    for endpoint in (ONE, OTHER):
        proven(reach.paths, endpoint, 0.02).widths = []
    reach.paths.choose(0.0)
    reach.run(100.0)
    assert reach.paths.current is reach.paths.direct(ONE)
    backup = [at for at, endpoint, _ in reach.probes if endpoint == OTHER]
    assert len(backup) == pytest.approx(100 / SPARE_INTERVAL, abs=1.5)


def test_an_answer_is_taken_once_and_only_for_a_probe_that_was_sent() -> None:
    paths = PathSet(Random(1))
    path = paths.learn(ONE, 0.0)
    [probe] = paths.due(0.0, False)
    assert path.measured(probe.nonce, 0.1) is None  # it has not left
    paths.sent(probe, 0.0)
    assert path.measured(probe.nonce ^ 1, 0.1) is None
    assert not path.valid
    assert path.measured(probe.nonce, 0.1) == pytest.approx(0.1)
    assert path.valid
    assert path.measured(probe.nonce, 0.1) is None


def test_nonces_do_not_repeat() -> None:
    reach = Reach(PathSet(Random(1)))
    reach.paths.learn(ONE, 0.0)
    reach.run(600.0)
    assert len(reach.nonces) == len(set(reach.nonces))


def test_three_misses_lose_a_path_and_two_do_not() -> None:
    paths = PathSet(Random(1))
    path = proven(paths, ONE, 0.02)
    paths.choose(0.0)
    for number in range(MISSES_MAX):
        assert path.valid
        assert paths.current is path
        paths.changed = False
        path.waiting[number] = (float(number), 0)
        paths.due(number + 0.5, False)
    assert not path.valid
    assert paths.current is None
    assert paths.changed
    assert path.last_error


def test_an_answer_forgets_the_misses_before_it() -> None:
    path = answered(Path(PathKind.DIRECT, ONE), 0.02, 0.0)
    for number in range(10):
        path.waiting[number] = (float(number), 0)
        assert not path.lapse(number + 0.5)
        if number % 2:
            path.waiting[99] = (number + 0.5, 0)
            path.measured(99, number + 0.52)
    assert path.valid


def test_a_dead_path_is_noticed_within_seconds_while_packets_flow() -> None:
    reach = Reach(PathSet(Random(1)), {ONE: 0.02}, active=True)
    proven(reach.paths, ONE, 0.02)
    reach.paths.choose(0.0)
    reach.run(20.0)
    del reach.answers[ONE]
    reach.run(20.0 + ACTIVE_INTERVAL + MISSES_MAX * PROBE_TIMEOUT_MAX)
    assert reach.paths.current is None
    reach.answers[ONE] = 0.02
    reach.run(reach.now + RETRY_MAX * 1.1 + 1)
    assert reach.paths.current is reach.paths.direct(ONE)


def test_hurrying_tries_every_candidate_soon() -> None:
    reach = Reach(PathSet(Random(1)))
    reach.paths.consider([ONE, OTHER], 0.0)
    reach.run(200.0)
    reach.paths.hurry(200.0)
    reach.probes.clear()
    reach.run(200.0)
    assert {endpoint for _, endpoint, _ in reach.probes} == {ONE, OTHER}


# Width


@pytest.mark.parametrize(("endpoint", "widths"), [(ONE, WIDTHS4), (SIX, WIDTHS6)])
@pytest.mark.parametrize("largest", [0, 1, 2, 3, 4])
def test_the_search_finds_the_widest_datagram_that_passes(
    endpoint: Endpoint, widths: tuple[int, ...], largest: int
) -> None:
    expected = (*widths, BASE_SEGMENT)[largest]
    reach = Reach(PathSet(Random(1)), {endpoint: 0.02}, width=expected)
    path = proven(reach.paths, endpoint, 0.02)
    reach.paths.choose(0.0)
    reach.run(60.0)
    assert path.segment == expected
    assert path.valid
    assert path.loss == 0.0
    assert len([size for _, _, size in reach.probes if size]) <= 2 * len(widths)


def test_a_path_that_becomes_narrower_falls_back_and_does_not_get_lost() -> None:
    reach = Reach(PathSet(Random(1)), {ONE: 0.02}, active=True, width=1472)
    path = proven(reach.paths, ONE, 0.02)
    reach.paths.choose(0.0)
    reach.run(30.0)
    assert path.segment == 1472
    reach.width = 1400
    reach.run(30.0 + ACTIVE_INTERVAL + 3 * PROBE_TIMEOUT_MAX)
    assert path.segment == BASE_SEGMENT
    reach.run(300.0)
    assert path.valid
    assert path.segment == BASE_SEGMENT
    reach.run(30.0 + WIDTH_AGAIN + 60.0)
    assert path.segment == 1392


def test_a_path_that_was_lost_is_measured_anew_with_few_probes() -> None:
    reach = Reach(PathSet(Random(1)), {ONE: 0.02}, width=1472)
    path = proven(reach.paths, ONE, 0.02)
    reach.paths.choose(0.0)
    reach.run(30.0)
    assert path.segment == 1472
    del reach.answers[ONE]
    reach.run(60.0)
    assert not path.valid
    reach.answers[ONE], reach.width = 0.02, 1432
    reach.probes.clear()
    reach.run(120.0)
    assert path.valid
    assert path.segment == 1432
    assert len(reach.probes) < 20


def test_the_path_in_use_is_measured_while_packets_flow_and_no_other() -> None:
    paths = PathSet(Random(1))
    assert paths.measure(0.0, active=True) is None
    path = proven(paths, ONE, 0.02)
    proven(paths, OTHER, 0.05)
    paths.choose(0.0)
    assert paths.measure(0.0, active=False) is None
    assert not paths.measuring
    probe = paths.measure(0.0, active=True)
    assert probe is not None
    assert (probe.path, probe.size, probe.measures) == (path, 0, True)
    assert paths.measuring
    assert paths.measure(MEASURE_INTERVAL - 0.01, active=True) is None
    assert paths.measure(MEASURE_INTERVAL, active=True) is not None
    assert paths.measure_at == 2 * MEASURE_INTERVAL


@pytest.mark.parametrize(("rtt", "pause"), [(0.02, LOSSY_INTERVAL), (0.1, 0.1)])
def test_a_lossy_path_is_measured_more_often_but_once_a_round_trip(
    rtt: float, pause: float
) -> None:
    paths = PathSet(Random(1))
    path = proven(paths, ONE, rtt)
    paths.choose(0.0)
    assert paths.measure(0.0, active=True) is not None
    assert not paths.hasten(0.1)
    path.control.take(Interval(100, 1, 0, 0.0, rtt, 0.5), 0.1)
    assert paths.hasten(0.1)
    assert not paths.hasten(0.1)
    assert paths.measure(0.1 + pause - 0.01, active=True) is None
    assert paths.measure(0.1 + pause, active=True) is not None
    assert paths.measure(0.1 + 2 * pause, active=True) is not None


def test_a_probe_that_measures_is_not_missed_when_it_is_lost() -> None:
    paths = PathSet(Random(1))
    path = proven(paths, ONE, 0.02)
    paths.choose(0.0)
    for turn in range(20):
        probe = paths.measure(turn * MEASURE_INTERVAL, active=True)
        assert probe is not None
        paths.sent(probe, turn * MEASURE_INTERVAL)
    assert not path.waiting
    assert not path.lapse(100.0)
    assert path.valid
