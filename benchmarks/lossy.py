"""One TCP stream over 20 ms of a line that loses or reorders packets, and bare beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks.contenders import Build, make
from benchmarks.measure import tcp
from benchmarks.pairs import Contender, across
from benchmarks.rows import Figures, Row
from simulations.lab.namespaces import Lab
from simulations.lab.wan import Line, Wan

DELAY_MS = 10.0
"""One way; the round trip has two of them."""
LOSSES = (0.0, 0.1, 0.5, 1.0, 2.0, 4.0)
"""Percent, each way, each packet independently."""
CONTROLS = ("bbr", "cubic")
CONTENDERS = ("bare", "aegisray")
REORDERED = Line(delay_ms=DELAY_MS, reorder_percent=1.0, reorder_ms=1.0)
BURSTY = Line(delay_ms=DELAY_MS, loss_percent=1.0, burst=3.0)
WARM_S = 2
"""Not counted: the stream finds its rate, and an overlay learns what the line loses."""


def lossy(control: str, percent: float) -> str:
    """The name of a figure."""
    return f"lossy {control} {percent:g} %"


class Lines:
    """A WAN of its own for each contender."""

    def __init__(self, lab: Lab, builds: Mapping[str, Build], seconds: int, warm_s: int) -> None:
        self._seconds, self._warm_s = seconds, warm_s
        self._wans: dict[str, Wan] = {}
        self._contenders: dict[str, Contender] = {}
        for index, (name, build) in enumerate(builds.items()):
            wan = Wan(lab, f"far{index}", Line(delay_ms=DELAY_MS), seed=index)
            self._wans[name] = wan
            self._contenders[name] = make(lab, name, build, across(wan))

    def lossy(self, controls: Sequence[str], percents: Sequence[float]) -> list[Row]:
        """A row for each congestion control and loss."""
        return [
            self._row(lossy(control, percent), control, Line(DELAY_MS, loss_percent=percent))
            for control in controls
            for percent in percents
        ]

    def bursty(self, controls: Sequence[str]) -> list[Row]:
        """A row for each congestion control over a line that loses several in a row."""
        return [self._row(f"bursty {control}", control, BURSTY) for control in controls]

    def reorder(self, controls: Sequence[str]) -> list[Row]:
        """A row for each congestion control over a line that reorders."""
        return [self._row(f"reorder {control}", control, REORDERED) for control in controls]

    def _row(self, figure: str, control: str, line: Line) -> Row:
        trials = {
            name: partial(self._stream, figure, name, control, line) for name in self._contenders
        }
        return Row(figure, trials)

    def _stream(self, figure: str, name: str, control: str, line: Line) -> Figures:
        """In Mbit/s, without the start of the stream."""
        self._wans[name].change(line)
        options = ["--congestion", control, "--omit", str(self._warm_s)]
        return {figure: tcp(self._contenders[name], self._seconds, *options) * 1e3}
