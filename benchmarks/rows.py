"""What is measured, in turns: a row is one measure, tried on each contender within seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.report import Samples
from simulations.lab.waiting import LabError

Figures = Mapping[str, float]
"""What one trial gives: figures by their names, all of one unit each (`measure.UNITS`)."""
Trial = Callable[[], Figures]


@dataclass(frozen=True, slots=True)
class Row:
    """One measure, and how to take it on each contender."""

    name: str
    trials: Mapping[str, Trial]


def collect(rows: Sequence[Row], rounds: int) -> Samples:
    """``rounds`` times each row, each contender in turn, starting with another one each time.

    A trial that fails is repeated once: over a line that loses much, iperf3 can miss its deadlines.
    Raises LabError if it fails again.
    """
    samples: dict[str, dict[str, list[float]]] = {}
    for turn in range(rounds):
        for row in rows:
            start = turn % len(row.trials)
            order = list(row.trials.items())
            for name, trial in [*order[start:], *order[:start]]:
                figures = _twice(row.name, name, trial)
                said = ", ".join(f"{figure} {value:.3f}" for figure, value in figures.items())
                print(f"round {turn + 1} of {rounds}: {name}: {said}", file=sys.stderr, flush=True)
                for figure, value in figures.items():
                    samples.setdefault(figure, {each: [] for each in row.trials})
                    samples[figure][name].append(value)
    return samples


def _twice(row: str, name: str, trial: Trial) -> Figures:
    try:
        return trial()
    except LabError as error:
        print(f"{row}: {name}: once more, since {error}", file=sys.stderr, flush=True)
        return trial()
