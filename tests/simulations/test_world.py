from __future__ import annotations

import pytest

from simulations.world import World


def test_events_run_in_order_of_time_and_then_of_scheduling() -> None:
    world, ran = World(1), list[str]()
    world.at(2.0, lambda: ran.append("late"))
    world.at(1.0, lambda: ran.append("first"))
    world.at(1.0, lambda: ran.append("second"))
    while world.step():
        pass
    assert ran == ["first", "second", "late"]
    assert world.now == 2.0
    assert world.events_run == 3


def test_what_is_scheduled_in_the_past_runs_now() -> None:
    world = World(1)
    world.run_for(5.0)
    world.at(1.0, lambda: None)
    assert world.step()
    assert world.now == 5.0


def test_a_cancelled_event_does_not_run_and_does_not_stop_the_others() -> None:
    world, ran = World(1), list[str]()
    world.after(1.0, lambda: ran.append("cancelled")).cancel()
    world.after(2.0, lambda: ran.append("kept"))
    assert world.step()
    assert not world.step()
    assert ran == ["kept"]


def test_an_event_runs_once() -> None:
    world = World(1)
    event = world.after(1.0, lambda: None)
    assert world.step()
    assert not event.run()


def test_run_until_stops_at_the_condition() -> None:
    world, ran = World(1), list[int]()
    for number in range(10):
        world.at(float(number), lambda number=number: ran.append(number))  # type: ignore[misc]
    assert world.run_until(lambda: len(ran) == 4, deadline=100.0)
    assert world.now == 3.0


def test_run_until_stops_at_the_deadline_with_the_clock_there() -> None:
    world, ran = World(1), list[int]()
    world.at(3.0, lambda: ran.append(3))
    assert not world.run_until(lambda: bool(ran), deadline=2.5)
    assert world.now == 2.5
    world.run_for(1.0)
    assert ran == [3]


def test_a_cancelled_event_before_the_deadline_lets_none_after_it_run() -> None:
    world, ran = World(1), list[str]()
    world.at(1.0, lambda: None).cancel()
    world.at(5.0, lambda: ran.append("too late"))
    world.run_for(2.0)
    assert ran == []
    assert world.now == 2.0


@pytest.mark.parametrize("seed", [0, 7])
def test_a_stream_depends_on_the_seed_and_its_name_alone(seed: int) -> None:
    world = World(seed)
    world.stream("network").random()
    assert world.stream("nodes").random() == World(seed).stream("nodes").random()
    assert world.stream("nodes").random() != world.stream("network").random()
    assert world.stream("nodes").random() != World(seed + 1).stream("nodes").random()
