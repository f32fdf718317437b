"""Who sees whom, live: redrawn in place on a terminal, one plain line per change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from simulations.lab.mesh import View

WIDTH = 13
"""Columns of a cell: six of them fit on a terminal of 80."""
Rows = Mapping[str, Mapping[str, View]]


def cell(view: View | None) -> str:
    """What one node says of another in a few characters."""
    if view is None:
        return "-"
    if view.state != "alive" or view.kind is None:
        return view.state
    if view.rtt_ms is None:
        return view.kind
    return f"{view.kind} {view.rtt_ms:.{1 if view.rtt_ms < 10 else 0}f}ms"


def grid(names: Sequence[str], rows: Rows) -> list[str]:
    """The table as lines: a row for each node, a column for each node it may see."""
    lines = ["".join(f"{text:<{WIDTH}}" for text in ("sees", *names)).rstrip()]
    for name in names:
        seen = rows.get(name, {})
        cells = ["." if other == name else cell(seen.get(other)) for other in names]
        lines.append("".join(f"{text:<{WIDTH}}" for text in (name, *cells)).rstrip())
    return lines


class LiveTable:
    """Shows rows as they change, and steps between them; times are seconds since it was made."""

    def __init__(self, names: Sequence[str], stream: TextIO) -> None:
        self._names = list(names)
        self._stream = stream
        self._terminal = stream.isatty()
        self._began = time.monotonic()
        self._drawn = 0
        self._last: dict[tuple[str, str], tuple[str, str | None]] = {}

    @property
    def elapsed_s(self) -> float:
        """Seconds since the table was made."""
        return time.monotonic() - self._began

    def step(self, text: str) -> None:
        """Print a line that stays; the table is drawn below it from now on."""
        self._print(f"[{self.elapsed_s:5.1f} s] {text}")
        self._drawn = 0

    def show(self, rows: Rows) -> None:
        """Show what every node sees now."""
        if self._terminal:
            lines = grid(self._names, rows)
            up = f"\x1b[{self._drawn}A" if self._drawn else ""
            self._stream.write(up + "".join(f"\x1b[2K{line}\n" for line in lines))
            self._stream.flush()
            self._drawn = len(lines)
            return
        for name in self._names:
            changes = [text for other in self._names if (text := self._change(name, other, rows))]
            if changes:
                self._print(f"[{self.elapsed_s:5.1f} s]   {name} sees " + ", ".join(changes))

    def _change(self, name: str, other: str, rows: Rows) -> str | None:
        view = rows.get(name, {}).get(other)
        if view is None or name == other:
            return None
        now = (view.state, view.kind if view.state == "alive" else None)
        if self._last.get((name, other)) == now:
            return None
        self._last[name, other] = now
        return f"{other} {cell(view)}"

    def _print(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
