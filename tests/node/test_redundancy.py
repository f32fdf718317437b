"""Parity and span follow what a path loses, and only that: on lines in miniature."""

from __future__ import annotations

from random import Random

import pytest

from meshd.node.redundancy import (
    GRACE,
    LOSSY_FOR,
    SPAN_MIN,
    Interval,
    LossControl,
)
from meshd.node.wire import MAX_SEGMENTS
from tests.node.lossy import Bbr, Chance, Constant, Cubic, Line, World, bursts, independent

MEGABIT = 1e6 / 8 / 1460
"""Segments per second."""


def world(line: Line, flow: Constant | Cubic | Bbr, chance: Chance = lambda: False) -> World:
    return World(Random(7), line, flow, chance)


def steady(sent: int = 1000, lost: float = 0.0, rtt: float = 0.02) -> Interval:
    return Interval(sent, lost, 0, 0.0, rtt, 0.05)


# Lines


def test_a_clean_path_gets_no_parity_and_full_frames() -> None:
    clean = world(Line(), Cubic()).run(5.0)
    assert not any(clean.shares)
    assert clean.control.span == MAX_SEGMENTS
    assert clean.control.loss == 0.0


def test_a_far_path_is_protected_until_it_is_known() -> None:
    control = LossControl()
    control.assume()
    first = control.parity
    assert first is not None
    assert control.share == 0
    control.take(steady(400), 0.05)
    assert control.parity == first
    control.take(steady(400, lost=4), 0.1)
    assert control.parity == first
    for number in range(3, 7):
        control.take(steady(400, lost=4), 0.05 * number)
        assert control.parity == first
    for number in range(7, 12):
        control.take(steady(400, lost=4), 0.05 * number)
    assert control.share > 0


def test_a_far_path_that_turns_out_clean_loses_the_protection_for_good() -> None:
    control = LossControl()
    control.assume()
    control.take(steady(1200), 0.05)
    assert control.parity is None
    control.assume()
    assert control.parity is None


def test_a_path_with_little_traffic_is_measured_seldom_all_the_same() -> None:
    control = LossControl()
    control.assume()
    assert control.lossy(0.0)
    control.take(Interval(2, 0, 0, 0.0, 0.02, 0.5), 1.0)
    assert control.parity is not None
    assert not control.lossy(1.0)


def test_a_stream_that_begins_where_others_lost_something_is_protected_from_the_start() -> None:
    control = LossControl()
    for number in range(40):
        control.take(steady(400, lost=8), 0.05 * number)
    assert control.share > 0
    for number in range(400):
        control.take(steady(400), 2 + 0.05 * number)
    assert control.parity is None
    control.take(Interval(2, 0, 0, 0.0, 0.02, 0.5), 25.0)
    assert control.parity is not None
    assert control.share == 0
    for number in range(4):
        control.take(steady(400), 26 + 0.05 * number)
    assert control.parity is None


@pytest.mark.parametrize(
    ("loss", "least", "most"),
    [(0.001, 0.03, 0.08), (0.005, 0.07, 0.14), (0.01, 0.09, 0.17), (0.04, 0.15, 0.3)],
)
def test_random_loss_is_hidden_within_two_seconds(loss: float, least: float, most: float) -> None:
    rng = Random(7)
    lossy = World(rng, Line(), Constant(8000.0), independent(rng, loss)).run(2.0)
    frames, failed = lossy.frames, lossy.failed
    lossy.run(8.0)
    assert all(least <= share <= most for share in lossy.shares[20:])
    assert lossy.failed - failed <= 1 + 1e-4 * (lossy.frames - frames)
    assert lossy.control.loss == pytest.approx(loss, rel=0.4)
    assert lossy.control.span == MAX_SEGMENTS


@pytest.mark.parametrize("length", [3.0, 10.0])
def test_bursts_are_met_with_more(length: float) -> None:
    rng = Random(7)
    lossy = World(rng, Line(), Constant(8000.0), bursts(rng, 0.01, length)).run(6.0)
    assert min(lossy.shares[30:]) > 0.18
    assert max(lossy.shares) <= 0.36


def test_parity_holds_still_under_steady_loss() -> None:
    rng = Random(7)
    lossy = World(rng, Line(), Constant(20_000.0), independent(rng, 0.01)).run(10.0)
    steps = sum(a != b for a, b in zip(lossy.shares[20:], lossy.shares[21:], strict=False))
    assert steps <= 8


def test_a_slow_flow_is_protected_too() -> None:
    rng = Random(7)
    slow = World(rng, Line(), Constant(100.0), independent(rng, 0.02)).run(20.0)
    assert all(share > 0.05 for share in slow.shares[80:])


def test_jitter_does_not_look_like_a_queue() -> None:
    rng = Random(7)
    line = Line(jitter=0.01)
    lossy = World(rng, line, Constant(3000.0), independent(rng, 0.01)).run(6.0)
    assert all(0.08 <= share <= 0.2 for share in lossy.shares[30:])


def test_a_stretch_that_tells_otherwise_leaves_the_parity_for_half_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    control, now = LossControl(), 0.0
    for _ in range(40):
        now += 0.05
        control.take(steady(1000, lost=5), now)
    first = control.parity
    assert first is not None
    monkeypatch.setattr(control, "_own", lambda: 0.0)
    control.take(steady(1000, lost=5), now + 0.9 * GRACE)
    assert control.parity == first
    assert not control.congested
    control.take(steady(1000, lost=5), now + 1.1 * GRACE)
    assert control.parity is None
    assert control.congested


def test_parity_is_gone_some_seconds_after_loss_ends() -> None:
    rng, over = Random(7), False
    chance = independent(rng, 0.02)
    lossy = World(rng, Line(), Constant(3000.0), lambda: not over and chance()).run(5.0)
    assert lossy.shares[-1] > 0.1
    over = True
    lossy.run(20.0)
    assert lossy.control.parity is None
    assert lossy.control.span == MAX_SEGMENTS
    assert not lossy.control.lossy(lossy.now)


def test_what_a_path_loses_is_still_known_after_a_rest() -> None:
    rng = Random(7)
    lossy = World(rng, Line(), Constant(8000.0), independent(rng, 0.02)).run(4.0)
    lossy.flow = Constant(0.0)
    lossy.run(40.0)
    assert lossy.control.parity is not None


@pytest.mark.parametrize("queue", [20.0, 83.0, 400.0, 2000.0])
def test_a_full_queue_is_not_met_with_parity(queue: float) -> None:
    narrow = world(Line(rate=50 * MEGABIT, queue=queue), Cubic()).run(20.0)
    assert narrow.failed
    assert not any(narrow.shares)


@pytest.mark.parametrize("queue", [20.0, 83.0])
def test_a_flow_deaf_to_loss_gets_little_parity_in_a_shallow_queue(queue: float) -> None:
    narrow = world(Line(rate=50 * MEGABIT, queue=queue), Bbr()).run(30.0)
    assert sum(map(bool, narrow.shares)) < 0.15 * len(narrow.shares)
    assert narrow.passed > 0.85 * 30.0 * 50 * MEGABIT


@pytest.mark.parametrize("queue", [83.0, 400.0])
def test_a_bare_flow_beside_ours_loses_nothing_to_parity(queue: float) -> None:
    line = Line(rate=50 * MEGABIT, queue=queue)
    ours = World(Random(7), line, Cubic(), others=[Cubic()]).run(20.0)
    without = World(Random(7), line, Cubic(), others=[Cubic()], protect=False).run(20.0)
    assert ours.foreign >= 0.9 * without.foreign


@pytest.mark.parametrize("flow", [Cubic(), Bbr(), Constant(55 * MEGABIT)])
def test_a_policer_is_not_fed_with_parity(flow: Constant | Cubic | Bbr) -> None:
    policed = world(Line(policer=50 * MEGABIT), flow).run(30.0)
    assert sum(map(bool, policed.shares)) < 0.2 * len(policed.shares)
    assert policed.shares[-1] == 0.0


def test_an_overload_that_fills_every_queue_is_not_fed_either() -> None:
    full = world(Line(rate=50 * MEGABIT, queue=400.0), Constant(55 * MEGABIT)).run(30.0)
    assert sum(map(bool, full.shares)) < 0.15 * len(full.shares)
    assert full.control.congested
    assert full.control.span == SPAN_MIN


@pytest.mark.parametrize("flow", [Cubic(), Bbr()])
def test_random_loss_is_hidden_though_the_flow_fills_a_queue(flow: Cubic | Bbr) -> None:
    rng = Random(7)
    mixed = World(rng, Line(rate=50 * MEGABIT, queue=400.0), flow, independent(rng, 0.01)).run(30.0)
    assert sum(map(bool, mixed.shares)) > 0.8 * len(mixed.shares)
    assert mixed.failed < 0.02 * mixed.frames


# One by one


def test_one_loss_makes_the_path_worth_measuring_and_no_more() -> None:
    control = LossControl()
    control.take(steady(), 1.0)
    assert not control.lossy(1.0)
    control.take(steady(lost=1), 2.0)
    assert control.lossy(2.0 + LOSSY_FOR - 0.1)
    assert not control.lossy(2.0 + LOSSY_FOR)
    assert control.parity is None


def test_late_frames_are_looked_at_closely_and_not_lost() -> None:
    control = LossControl()
    control.take(Interval(1000, 0.0, 0, 0.0, 0.02, 0.5, late=3), 1.0)
    assert control.lossy(1.1)
    assert not control.lossy(4.0)
    assert control.loss == 0.0


def test_frames_that_parity_does_not_protect_get_shorter() -> None:
    control = LossControl()
    for turn in range(80):
        full = turn % 8 < 2
        control.take(steady(lost=40 * full, rtt=0.1 if full else 0.02), turn * 0.05)
    assert control.parity is None
    assert control.congested
    assert SPAN_MIN < control.span < 20


def test_a_trial_that_changes_nothing_gives_the_parity_back() -> None:
    rng, loss = Random(7), 0.002
    lossy = World(rng, Line(), Constant(8000.0), lambda: rng.random() < loss).run(3.0)
    loss = 0.12
    lossy.run(10.0)
    assert 0.0 in lossy.shares[32:]
    assert all(lossy.shares[-30:])
