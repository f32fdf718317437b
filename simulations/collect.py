"""What a report is made of: the JSON of earlier runs, or a standard set of runs to play."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from simulations.sweep import Job

Values: TypeAlias = dict[str, Any]
"""A run's report, as `Report.to_json` or `Outcome.to_json` makes it."""

REQUIRED: Final = ("scenario", "nodes", "seed", "ok", "checks")

STANDARD: Final = (
    Job("swim-detection", 64, 1),
    Job("swim-messages", 64, 1),
    Job("swim-infection", 128, 1),
    Job("lifeguard-ours", 32, 1),
    *(Job("cold-boot", nodes, 1) for nodes in (8, 16, 32, 64, 128)),
    Job("crash", 64, 1),
    *(Job("split-heal", 32, seed) for seed in (1, 2, 3)),
)
"""Two minutes on two cores, and something to see in every picture."""


class ReportError(Exception):
    """A report cannot be made; the text says what is missing or wrong."""


def require_matplotlib() -> None:
    """Raises `ReportError` if the extra `simulate` is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ReportError(
            "the report is drawn by matplotlib, which is not installed: "
            "pip install 'aegisray[simulate]'"
        )


def read(files: Sequence[str]) -> list[Values]:
    """The runs in these files, which `run --json` or `sweep --json` wrote, in order.

    Raises `ReportError` for a file that cannot be read or is something else.
    """
    found: list[Values] = []
    for file in files:
        try:
            values = json.loads(Path(file).read_text())
        except (OSError, ValueError) as error:
            raise ReportError(f"{file} cannot be read as a report: {error}") from None
        runs = values.get("runs", [values]) if isinstance(values, dict) else [values]
        if not isinstance(runs, list) or not all(map(_is_report, runs)):
            raise ReportError(f"{file} holds no report of a run or sweep")
        found += runs
    return found


def _is_report(values: object) -> bool:
    return isinstance(values, dict) and all(name in values for name in REQUIRED)
