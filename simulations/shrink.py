"""Makes a failing run smaller: fewer hosts, fewer faults, less time, while it still fails so.

Faults are dropped by delta debugging (Zeller, Hildebrandt: "Simplifying and isolating
failure-inducing input", 2002). A smaller run counts only if one of the same checks fails in it: a
mesh that is too small to work at all would show something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf

from simulations.plan import Options
from simulations.run import Report, Run, Scenario

RUNS_MAX = 100
"""Runs played at most: each takes as long as the one that failed, or less."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest run found, what failed in it, and how many were played to find it."""

    options: Options
    failed: tuple[str, ...]
    runs: int

    def command(self, scenario: str) -> str:
        """What to type to see it."""
        return self.options.command(scenario)


def failures(report: Report) -> tuple[str, ...]:
    """The names of the checks and targets that a run did not hold."""
    checks = [check.name for check in report.checks if not check.ok]
    return (*checks, *(target.name for target in report.targets if not target.ok))


def shrink(scenario: Scenario, failing: Run, report: Report, runs_max: int = RUNS_MAX) -> Shrunk:
    """The smallest variant of a run that fails as `report` does, within `runs_max` more runs."""
    shrinker = _Shrinker(scenario, failures(report), runs_max)
    options = shrinker.fewer_nodes(failing.options)
    options = shrinker.fewer_faults(options)
    options = shrinker.less_time(options)
    return Shrunk(options, shrinker.failed, shrinker.runs)


class _Shrinker:
    def __init__(self, scenario: Scenario, failed: tuple[str, ...], runs_max: int) -> None:
        self.failed = failed
        self.runs = 0
        self._scenario = scenario
        self._wanted = frozenset(failed)
        self._runs_max = runs_max

    def fewer_nodes(self, options: Options) -> Options:
        """Bisect down to the fewest hosts. What fails with n may hold with n + 1: no minimum."""
        least, most = self._scenario.nodes_min - 1, options.nodes
        tried = self._scenario.nodes_min
        while most - least > 1:
            candidate = replace(options, nodes=tried)
            if self._fails(candidate):
                options, most = candidate, tried
            else:
                least = tried
            tried = (least + most) // 2
        return options

    def fewer_faults(self, options: Options) -> Options:
        """Leave out ever smaller parts of the plan, until no single fault can be left out."""
        kept = list(self._run(options).plan)
        size = len(kept)
        while size and kept:
            parts = [kept[at : at + size] for at in range(0, len(kept), size)]
            for part in parts:
                candidate = replace(options, without=_sorted(options.without, part))
                if self._fails(candidate):
                    options, kept = candidate, [fault for fault in kept if fault not in part]
            size = ceil(size / 2) if size > 1 else 0
        return options

    def less_time(self, options: Options) -> Options:
        """Bisect the seconds for which the world is disturbed."""
        faults = self._run(options).plan.values()
        ends = [fault.at + fault.lasts for fault in faults if fault.lasts < inf]
        most = min(options.until, max([*ends, *(fault.at for fault in faults)], default=0.0))
        least = 0.0
        while most - least > 1.0:
            candidate = replace(options, until=float(ceil((least + most) / 2)))
            if candidate.until >= most:
                break
            if self._fails(candidate):
                options, most = candidate, candidate.until
            else:
                least = candidate.until
        return options

    def _fails(self, options: Options) -> bool:
        if self.runs >= self._runs_max:
            return False
        self.runs += 1
        failed = failures(self._run(options).play())
        same = not self._wanted.isdisjoint(failed)
        if same:
            self.failed = failed
        return same

    def _run(self, options: Options) -> Run:
        return Run(
            self._scenario, options.nodes, options.seed, None, options.without, options.until
        )


def _sorted(without: tuple[int, ...], more: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted((*without, *more)))
