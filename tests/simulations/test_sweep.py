from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest
from distributed import LocalCluster

from simulations.sweep import Job, Outcome, SweepError, jobs, play, sweep_cluster, sweep_here
from tests.simulations.sweeping import (
    BAD_SEED,
    DEADLY_SEED,
    endless,
    sometimes_bad,
    sometimes_deadly,
    sometimes_raising,
)


def by_seed(outcomes: Iterator[Outcome]) -> dict[int, Outcome]:
    return {outcome.job.seed: outcome for outcome in outcomes}


def hashes(outcomes: Iterator[Outcome]) -> dict[Job, str]:
    found = {}
    for outcome in outcomes:
        assert outcome.report is not None, outcome.error
        found[outcome.job] = outcome.report["trace_hash"]
    return found


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a real scheduler with two worker processes."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def test_every_size_is_played_with_every_seed() -> None:
    todo = jobs("crash", [8, 16], range(1, 4))
    assert [(job.nodes, job.seed) for job in todo] == [
        (8, 1), (8, 2), (8, 3), (16, 1), (16, 2), (16, 3),
    ]  # fmt: skip
    assert todo[3].command == "python -m simulations run crash --nodes 16 --seed 1"


def test_processes_play_what_this_one_would() -> None:
    todo = jobs("cold-boot", [4], range(1, 4))
    assert hashes(sweep_here(todo, 2)) == hashes(map(play, todo))


def test_a_bug_in_a_run_is_an_outcome_that_ends_with_its_error() -> None:
    outcome = play(Job("no such scenario", 4, 1))
    assert not outcome.ok
    assert outcome.reason == "KeyError: 'no such scenario'"
    assert outcome.to_json()["ok"] is False


def test_a_failed_check_is_the_reason_of_its_outcome() -> None:
    outcomes = by_seed(map(sometimes_bad, jobs("toy", [4], range(1, 5))))
    assert [seed for seed, outcome in outcomes.items() if not outcome.ok] == [BAD_SEED]
    assert outcomes[BAD_SEED].reason.startswith("it holds: played in")


def test_a_missed_target_is_a_reason_too() -> None:
    missed = {"name": "speed", "target": "at most 2 s", "measured": 3.5, "unit": "s", "ok": False}
    outcome = Outcome(Job("toy", 4, 1), {"ok": False, "checks": [], "targets": [missed]})
    assert outcome.reason == "speed: 3.5, not at most 2 s"


def test_a_worker_that_dies_costs_its_own_run_only() -> None:
    outcomes = by_seed(sweep_here(jobs("toy", [4], range(1, 8)), 2, sometimes_deadly))
    assert sorted(outcomes) == list(range(1, 8))
    assert [seed for seed in outcomes if not outcomes[seed].ok] == [DEADLY_SEED]
    assert "died" in outcomes[DEADLY_SEED].reason


def test_who_stops_early_leaves_no_process_behind() -> None:
    before = multiprocessing.active_children()
    coming = sweep_here(jobs("toy", [4], range(1, 6)), 2, sometimes_stuck)
    assert next(coming).ok
    coming.close()
    for process in multiprocessing.active_children():
        if process not in before:
            process.join(10.0)
    assert [left for left in multiprocessing.active_children() if left not in before] == []


def sometimes_stuck(job: Job) -> Outcome:
    return sometimes_bad(job) if job.seed == 1 else endless(job)


def test_a_cluster_plays_what_this_process_would(scheduler: str) -> None:
    todo = jobs("cold-boot", [4], range(1, 8))
    assert hashes(sweep_cluster(todo, scheduler)) == hashes(map(play, todo))


def test_both_workers_of_a_cluster_play(scheduler: str) -> None:
    outcomes = list(sweep_cluster(jobs("toy", [4], range(1, 21)), scheduler, sometimes_bad))
    assert [outcome.job.seed for outcome in outcomes if not outcome.ok] == [BAD_SEED]
    where = {outcome.to_json()["checks"][0]["detail"] for outcome in outcomes}
    assert len(where) == 2


def test_an_error_on_a_cluster_is_the_outcome_of_its_run(scheduler: str) -> None:
    outcomes = by_seed(
        sweep_cluster(jobs("cold-boot", [4], range(2, 5)), scheduler, sometimes_raising)
    )
    assert [seed for seed in sorted(outcomes) if not outcomes[seed].ok] == [BAD_SEED]
    assert outcomes[BAD_SEED].reason == "RuntimeError: a worker's own trouble"


def test_a_cluster_where_nobody_answers_is_an_error_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("simulations.sweep.CONNECT_LIMIT_S", 0.2)
    with pytest.raises(SweepError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(sweep_cluster(jobs("toy", [4], range(1, 2)), "tcp://127.0.0.1:9"))
