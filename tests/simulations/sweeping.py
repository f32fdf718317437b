"""Players for the tests of `sweep`: they must be importable in a process of its own."""

from __future__ import annotations

import os
import signal

from simulations.sweep import Job, Outcome, play

BAD_SEED = 3
DEADLY_SEED = 4


def report_of(job: Job, ok: bool) -> dict[str, object]:
    check = {"name": "it holds", "ok": ok, "detail": f"played in {os.getpid()}"}
    return {
        "scenario": job.scenario,
        "nodes": job.nodes,
        "seed": job.seed,
        "ok": ok,
        "checks": [check],
        "targets": [],
        "simulated_s": 1.0,
    }


def sometimes_bad(job: Job) -> Outcome:
    return Outcome(job, report_of(job, ok=job.seed != BAD_SEED))


def sometimes_deadly(job: Job) -> Outcome:
    if job.seed == DEADLY_SEED:
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(job, report_of(job, ok=True))


def endless(job: Job) -> Outcome:
    while True:
        signal.pause()


def sometimes_raising(job: Job) -> Outcome:
    if job.seed == BAD_SEED:
        raise RuntimeError("a worker's own trouble")
    return play(job)
