"""``make matrix``: every kind of site with every other, a real ``meshd`` at each end.

Prints one line a cell as it comes in, then the whole as a table; the exit code is 0 when every cell
has the kind of path that it is to have, and in time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

from simulations.lab.cell import DIRECT_S, FIRST_S, Cell, Play
from simulations.lab.demo import Interrupted, interruptible
from simulations.lab.enrolled import enrol_once
from simulations.lab.namespaces import Lab
from simulations.lab.sites import Site
from simulations.lab.waiting import LabError

JOBS = 8
"""Cells side by side: they mostly wait, and are measured one after the other."""
MAX_JOBS = 32
STARTING = 3
"""Cells that are built at the same time."""
SHORT = {"direct": "D", "relay": "R", "stream": "S"}

Pair = tuple[Site, Site]


def half(sites: Sequence[Site]) -> list[Pair]:
    """Every site with itself and with those after it: the other half is the same."""
    return [(one, other) for index, one in enumerate(sites) for other in sites[index:]]


def mark(cell: Cell | None, patience: float) -> str:
    """A cell in eight columns: its way, the seconds to it, ``!`` when something is wrong."""
    if cell is None:
        return ""
    seconds = cell.settled_s if cell.way == "direct" else cell.first_s
    shown = f"{SHORT.get(cell.way, '?')} {seconds:.1f}" if seconds is not None else "-"
    return f"{shown}{'!' if cell.faults(patience) else ''}"


def grid(cells: Iterable[Cell], patience: float = 1.0) -> list[str]:
    """The half matrix of ``cells``, a line a row."""
    found = {(cell.left, cell.right): cell for cell in cells}
    sites = [site for site in Site if any(site in pair for pair in found)]
    width = max(len(site.value) for site in sites)
    lines = [" " * width + "".join(f" {site.value[:8]:>8}" for site in sites)]
    for number, one in enumerate(sites):
        marks = [
            mark(found.get((one, other)) or found.get((other, one)), patience)
            for other in sites[number:]
        ]
        shown = "".join(f" {text:>8}" for text in marks)
        lines.append(f"{one.value:<{width}}{' ' * 9 * number}{shown}")
    return [line.rstrip() for line in lines]


def line(cell: Cell, patience: float = 1.0) -> str:
    """A cell in words."""
    times = [f"{seconds:.1f} s" if seconds else "-" for seconds in (cell.first_s, cell.settled_s)]
    verdict = "; ".join(cell.faults(patience)) or "ok"
    pair = f"{cell.left.value} + {cell.right.value}"
    return f"{pair:<33} {cell.way:<13} first {times[0]:>6}, settled {times[1]:>6}: {verdict}"


def as_json(cell: Cell, patience: float = 1.0) -> dict[str, Any]:
    """A cell for scripts; seconds are null where it did not happen."""
    return {
        "left": cell.left.value,
        "right": cell.right.value,
        "expected": cell.expected,
        "way": cell.way,
        "first_s": cell.first_s and round(cell.first_s, 3),
        "settled_s": cell.settled_s and round(cell.settled_s, 3),
        "faults": cell.faults(patience),
        "ok": not cell.faults(patience),
    }


def run(pairs: Sequence[Pair], jobs: int) -> Iterator[Cell]:
    """Play the cells, ``jobs`` at a time, and yield them as they are done. Raises LabError."""
    with Lab() as lab, ThreadPoolExecutor(jobs) as pool, ThreadPoolExecutor(STARTING) as starters:
        mesh = enrol_once(lab)
        for start in range(0, len(pairs), jobs):
            plays = [Play(mesh, *pair) for pair in pairs[start : start + jobs]]
            try:
                list(starters.map(Play.prepare, plays))
                observed = []
                for each in plays:
                    each.measure()
                    observed.append(pool.submit(each.observe))
                for each, future in zip(plays, observed, strict=True):
                    future.result()
                    yield each.cell
            finally:
                for each in plays:
                    each.stopped = True
                list(pool.map(Play.close, plays))


def main(argv: Sequence[str], stream: TextIO | None = None) -> int:
    """Run the matrix and return the exit code."""
    options = parse(argv)
    output = stream or sys.stdout
    sites = options.only or list(Site)
    pairs = [(site, site) for site in sites] if options.diagonal else half(sites)
    if options.only and len(sites) == 2 and not options.diagonal:
        pairs = [(sites[0], sites[1])]
    began, cells = time.monotonic(), list[Cell]()
    try:
        with interruptible() as check:
            for cell in run(pairs, options.jobs):
                cells.append(cell)
                shown = line(cell, options.patience)
                output.write(f"[{len(cells)}/{len(pairs)}] {shown}\n")
                output.flush()
            check()
    except LabError as error:
        output.write(f"matrix: FAILED: {error}\n")
        return 1
    except Interrupted as error:
        output.write(f"matrix: FAILED: {error}\n")
        return error.exit_code
    return report(cells, time.monotonic() - began, options, output)


def report(cells: Sequence[Cell], took: float, options: argparse.Namespace, output: TextIO) -> int:
    """Write the table, and the file if one was asked for; the exit code."""
    bad = [cell for cell in cells if cell.faults(options.patience)]
    if options.json:
        rows = [as_json(cell, options.patience) for cell in cells]
        whole = {"cells": rows, "total_s": round(took, 1), "ok": not bad}
        options.json.write_text(json.dumps(whole, indent=2) + "\n")
    output.write("\n".join(["", *grid(cells, options.patience), ""]) + "\n")
    output.write(f"D direct, R relay, S stream, then seconds (direct within {DIRECT_S:g}, ")
    output.write(f"else the first answer, within {FIRST_S:g}); ! differs\n")
    output.writelines(f"{line(cell, options.patience)}\n" for cell in bad)
    verdict = f"{len(bad)} of {len(cells)} cells differ" if bad else f"ok, {len(cells)} cells"
    output.write(f"matrix: {verdict}, {took:.0f} s\n")
    return 1 if bad else 0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; exits with code 2 when they make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations.lab.matrix",
        description="Every kind of site with every other.",
        epilog=f"sites: {', '.join(site.value for site in Site)}",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        type=Site,
        metavar="SITE",
        help="these sites: two are one cell, others all their pairs",
    )
    parser.add_argument("--diagonal", action="store_true", help="every site with itself alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the cells there")
    parser.add_argument(
        "--jobs", type=int, choices=range(1, MAX_JOBS + 1), metavar="N", default=JOBS,
        help=f"cells side by side (default: {JOBS})",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=float, metavar="X", default=1.0,
        help="times may be so many times as long (default: 1)",
    )  # fmt: skip
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
