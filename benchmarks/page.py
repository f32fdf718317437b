"""What a run of the data plane's benchmark shows: tables for the terminal, and the page's part.

``docs/performance.md`` has a part between two marks, which a run with ``--page`` writes afresh; the
text around it is by hand.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import unit
from benchmarks.pictures import draw
from benchmarks.promises import OWN, targets
from benchmarks.report import Samples, medians, ratio, table
from simulations.lab.waiting import LabError

BEGIN, END = "<!-- measured -->\n", "<!-- end of measured -->\n"
PICTURES = "pictures"
"""The directory of the pictures, beside the page."""
CAPTIONS = {
    "throughput.svg": "One TCP stream over 20 ms of a line that loses packets",
    "latency.svg": "Round trips over a cable, idle and beside one full TCP stream",
}


def machine() -> str:
    """The processor, how many cores of it, and what runs on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    system, python = f"Linux {platform.release()}", f"Python {platform.python_version()}"
    return (
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {system}, {python}"
    )


def show(samples: Samples) -> str:
    """The medians, a table for each set of contenders, and what AegisRay's are of the others'.

    Where it is not among them, the last one's are.
    """
    middle = medians(samples)
    sets: dict[tuple[str, ...], list[str]] = {}
    for figure, values in samples.items():
        sets.setdefault(tuple(values), []).append(figure)
    return "\n".join(_table(samples, middle, names, figures) for names, figures in sets.items())


def _table(
    samples: Samples,
    middle: Mapping[str, Mapping[str, float]],
    names: Sequence[str],
    figures: Sequence[str],
) -> str:
    own = OWN if OWN in names else names[-1]
    others = [name for name in names if name != own]
    rows = []
    for figure in figures:
        values = [middle[figure].get(name) for name in names]
        values += [ratio(samples, figure, own, other) for other in others]
        cells = ["" if value is None else f"{value:.2f}" for value in values]
        rows.append([f"{figure}, {unit(figure)}", *cells])
    return table(["", *names, *(f"/ {other}" for other in others)], rows)


def measured(content: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The part of the page, in Markdown: machine, command, tables, targets, pictures."""
    samples: Samples = content["rounds"]
    lines = [f"Measured on {content['machine']}, by\n\n    {content['command']}\n\n"]
    lines += [f"![{CAPTIONS[name]}]({PICTURES}/{name})\n\n" for name in pictures]
    lines.append(f"Medians of {content['turns']} rounds; `/ x` is the ratio to x:\n\n")
    lines.append(f"```text\n{show(samples)}```\n")
    if judged := targets(samples):
        lines.append("\nTargets:\n\n```text\n")
        lines.append("".join(target.line() + "\n" for target in judged) + "```\n")
    return "".join(lines)


def write(page: Path, content: Mapping[str, Any]) -> None:
    """Replace the measured part of ``page``, and the pictures beside it. Raises LabError."""
    before, begin, rest = check(page).partition(BEGIN)
    pictures = draw(medians(content["rounds"]))
    folder = page.parent / PICTURES
    folder.mkdir(exist_ok=True)
    for name, text in pictures.items():
        (folder / name).write_text(text)
    _, end, after = rest.partition(END)
    page.write_text(before + begin + measured(content, list(pictures)) + end + after)


def saved(files: Sequence[Path]) -> dict[str, Any]:
    """What earlier runs wrote with ``--json``, their rounds one after the other. Raises LabError.

    Runs of one command on one machine may be taken apart, with other work in between: only within a
    round do the figures have to be of the same minutes.
    """
    runs = [_saved(file) for file in files]
    first = runs[0]
    for file, run in zip(files, runs, strict=True):
        if any(run[key] != first[key] for key in ("machine", "command")):
            raise LabError(f"{file} is of another machine or command than {files[0]}")
        if any(
            run["rounds"].get(figure, {}).keys() != each.keys() for figure, each in _rounds(first)
        ):
            raise LabError(f"{file} has other figures than {files[0]}")
    rounds = {
        figure: {name: [v for run in runs for v in run["rounds"][figure][name]] for name in each}
        for figure, each in _rounds(first)
    }
    turns = sum(run["turns"] for run in runs)
    return {**first, "turns": turns, "rounds": rounds, "medians": medians(rounds)}


def _rounds(run: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Sequence[float]]]]:
    samples: Samples = run["rounds"]
    return samples.items()


def _saved(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())["datapath"]
        return {key: content[key] for key in ("machine", "command", "turns", "rounds", "medians")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(f"{file} holds no run of this benchmark: {error}") from error


def check(page: Path) -> str:
    """The text of a page that has both marks. Raises LabError, best before a long run."""
    try:
        text = page.read_text()
    except OSError as error:
        raise LabError(f"{page}: {error.strerror}") from error
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise LabError(f"{page} has no part between {BEGIN.strip()} and {END.strip()}")
    return text
