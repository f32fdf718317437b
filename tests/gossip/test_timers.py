"""Deadlines: order, moving, cancelling."""

from __future__ import annotations

from gossip.timers import Timer, Timers


def test_deadlines_come_in_order_and_only_when_due() -> None:
    timers = Timers()
    timers.schedule(Timer.HEAL, 3.0)
    timers.schedule(Timer.PROBE, 1.0)
    timers.schedule(Timer.GOSSIP, 1.0)
    assert timers.next() == (1.0, Timer.PROBE)
    assert timers.pop_due(0.5) is None
    assert [timers.pop_due(2.0) for _ in range(3)] == [
        (1.0, Timer.PROBE, None),
        (1.0, Timer.GOSSIP, None),
        None,
    ]


def test_scheduling_again_moves_a_deadline() -> None:
    timers = Timers()
    timers.schedule(Timer.RELAY, 1.0, 7)
    timers.schedule(Timer.RELAY, 5.0, 7)
    assert len(timers) == 1
    assert timers.pop_due(4.0) is None
    assert timers.pop_due(5.0) == (5.0, Timer.RELAY, 7)


def test_cancelled_deadlines_are_gone() -> None:
    timers = Timers()
    timers.schedule(Timer.RELAY, 1.0, 7)
    timers.schedule(Timer.RELAY, 1.0, 8)
    timers.cancel(Timer.RELAY, 7)
    timers.cancel(Timer.RELAY, 9)
    assert not timers.pending(Timer.RELAY, 7)
    assert timers.pop_due(1.0) == (1.0, Timer.RELAY, 8)
    timers.schedule(Timer.SYNC, 1.0)
    timers.clear()
    assert timers.next() is None


def test_moving_one_deadline_for_ever_takes_no_memory() -> None:
    timers = Timers()
    for count in range(10_000):
        timers.schedule(Timer.GOSSIP, 10_000.0 - count)
    assert len(timers._heap) < 200
    assert timers.next() == (1.0, Timer.GOSSIP)
