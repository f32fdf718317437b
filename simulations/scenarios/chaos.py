"""Anything at any time: faults of every kind, drawn from the seed, then health.

This is what `sweep` is for: each seed is another story, and prints the plan that it drew.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulations.injector import KINDS
from simulations.plan import Fault
from simulations.run import Run, Scenario
from simulations.scenarios.steps import boot, shuffled, victims

CHAOS_S = 240.0
FAULTS = 12
LONGEST_S = 90.0


def plan(run: Run) -> Sequence[Fault]:
    """A dozen faults of random kinds, hosts, times and strength; one host may be gone for good."""
    faults = [draw(run, run.rng.choice(sorted(KINDS))) for _ in range(FAULTS)]
    if run.rng.random() < 0.5:
        faults.append(Fault("crash", victims(run, 0.0), CHAOS_S / 2, final=True))
    return sorted(faults, key=lambda fault: fault.at)


def draw(run: Run, kind: str) -> Fault:
    """One fault of this kind."""
    rng = run.rng
    at = round(rng.uniform(0.0, CHAOS_S - 30.0), 1)
    lasts = round(rng.uniform(1.0, LONGEST_S), 1)
    hosts = victims(run, rng.choice((0.0, 0.1, 0.3)))
    if kind == "split":
        return Fault(kind, shuffled(run), at, lasts, rng.choice((2, 2, 3, 5)))
    if kind == "mute":
        return Fault(kind, hosts, at, lasts, others=victims(run, 0.3))
    if kind == "lossy":
        return Fault(kind, rng.choice((hosts, ())), at, lasts, rng.choice((0.1, 0.3, 0.8)))
    strength = {"slow": (500.0, 6000.0), "jump": (0.5, 60.0), "drift": (-0.05, 0.05)}
    value = round(rng.uniform(*strength[kind]), 3) if kind in strength else 0.0
    return Fault(kind, hosts, at, lasts, value)


def chaos(run: Run) -> None:
    """Checkers run at every step; afterwards all must recover."""
    boot(run)
    run.strike()
    run.endure(CHAOS_S)


SCENARIOS = (
    Scenario("chaos", "a dozen faults of any kind, then health", chaos, plan=plan, nodes_min=6),
)
