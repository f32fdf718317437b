"""Medians, ratios within one run, and whether they reach what was promised."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Samples = Mapping[str, Mapping[str, Sequence[float]]]
"""measure -> contender -> one value per round"""


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must reach: at least ``least``, or, if that is None, at most ``most``."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool:
        """Whether the value is where it has to be."""
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )

    def line(self) -> str:
        """For people."""
        bound = f"at least {self.least:g}" if self.least is not None else f"under {self.most:g}"
        return f"{'met   ' if self.met else 'MISSED'} {self.name}: {self.value:.2f} ({bound})"

    def as_json(self) -> dict[str, object]:
        """For machines."""
        bounds = {"least": self.least, "most": self.most}
        return {"name": self.name, "value": self.value, "met": self.met, **bounds}


def medians(samples: Samples) -> dict[str, dict[str, float]]:
    """The median over the rounds, of those that gave a figure."""
    return {
        measure: {name: statistics.median(values) for name, values in each.items() if values}
        for measure, each in samples.items()
    }


def ratio(samples: Samples, measure: str, over: str, under: str) -> float | None:
    """The median of one contender's value over another's in the same round.

    None if one of them is absent, or the other's is zero. Within a round the two are seconds apart,
    so that what slows the machine slows both.
    """
    each = samples.get(measure, {})
    if not each.get(over) or not each.get(under):
        return None
    if 0 in each[under]:
        return None
    return statistics.median(a / b for a, b in zip(each[over], each[under], strict=True))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)
