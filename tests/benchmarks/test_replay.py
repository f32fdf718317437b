"""What is compared between the simulator and the real thing, without either where it can be."""

from __future__ import annotations

import pytest

from benchmarks.gossip import replay
from benchmarks.gossip.replay import Log, Times, Workload, plan, simulate
from gossip import GossipConfig
from simulations.lab.waiting import LabError

CONFIG = GossipConfig.lan()


def test_a_plan_is_the_same_for_the_same_seed_and_its_crashing_hosts_publish_nothing() -> None:
    made = plan(10, 30, 3, CONFIG, seed=1)
    assert made == plan(10, 30, 3, CONFIG, seed=1) != plan(10, 30, 3, CONFIG, seed=2)
    assert list(made.survivors) == list(range(7))
    assert {origin for _, origin in made.records} <= set(made.survivors)
    assert [number for _, number in made.crashes] == [7, 8, 9]
    assert [at for at, _ in made.records] == sorted(at for at, _ in made.records)
    assert made.lasts > max(at for at, _ in made.crashes) + 10 * CONFIG.probe_period


def test_times_run_from_what_happened_to_the_first_sight_of_those_who_survive() -> None:
    workload = Workload(4, ((10.0, 0), (20.0, 1)), ((30.0, 3),), 60.0)
    log = Log(workload, began=100.0)
    log.note(110.5, 1, "event", 0)
    log.note(115.0, 1, "event", 0)
    log.note(111.0, 3, "event", 0)  # a crashing host is no observer
    log.note(110.0, 0, "event", 0)  # nor is the one who published
    log.note(125.0, 2, "down", 3)  # before the crash: a false alarm
    log.note(137.0, 1, "down", 3)
    log.note(140.0, 0, "up", 3)
    assert log.times() == Times([0.5], [7.0])


def test_figures_need_something_to_be_figures_of() -> None:
    with pytest.raises(LabError, match="too slow"):
        Times([1.0], []).figures()
    figures = Times([float(n) for n in range(101)], [1.0, 3.0]).figures()
    assert (figures["infection p50, s"], figures["detection p50, s"]) == (50.0, 2.0)
    assert figures["infection p95, s"] == pytest.approx(95.0, abs=2)


def test_what_never_came_is_counted_where_times_cannot_show_it() -> None:
    whole, half = Times([1.0] * 10, [2.0] * 4), Times([1.0] * 5, [2.0] * 4)
    assert replay.seen_less([half], [whole, whole], "infection") == 0.5
    assert replay.seen_less([half], [whole, whole], "detection") == 0.0
    assert replay.seen_less([whole], [half], "infection") == 0.0


def test_the_simulator_sees_every_record_and_every_crash() -> None:
    workload = plan(8, 20, 2, CONFIG, seed=3)
    times = simulate(workload, CONFIG, 50e-6, 0.001, seed=1)
    assert times == simulate(workload, CONFIG, 50e-6, 0.001, seed=1)
    assert 20 * 4 <= len(times.infection) <= 20 * (6 - 1)
    assert len(times.detection) == 2 * 6
    assert 0 < min(times.infection) < max(times.infection) < 5
    assert min(times.detection) > CONFIG.suspicion_alpha * CONFIG.probe_period


def test_the_latency_of_loopback_is_that_of_a_datagram() -> None:
    assert 0 < replay.measure_latency() < 0.1
