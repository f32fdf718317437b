"""The guide says what the simulator does: its example is played, its names are looked up."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from simulations import __main__ as command_line
from simulations import pictures
from simulations.plan import Fault
from simulations.run import Run, Scenario
from simulations.scenarios import SCENARIOS
from simulations.scenarios.steps import boot

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "simulations.md").read_text()


def example() -> str:
    (found,) = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.M | re.S)
    return str(found)


def test_the_scenario_in_ten_lines_is_one_and_holds() -> None:
    names: dict[str, Any] = {"Run": Run, "Scenario": Scenario, "Fault": Fault, "boot": boot}
    exec(example(), names)
    assert sum(bool(line.strip()) for line in example().splitlines()) <= 10
    report = Run(names["SCENARIO"], 16, 1).play()
    assert report.ok, [check for check in report.checks if not check.ok]
    assert [target.name for target in report.targets] == ["bytes at rest"]


@pytest.mark.parametrize("line", re.findall(r"^ +python -m simulations (.+)$", GUIDE, re.M))
def test_every_command_is_one(line: str) -> None:
    options = command_line._parser().parse_args(shlex.split(line))
    assert getattr(options, "scenario", "crash") in SCENARIOS


def test_every_call_exists() -> None:
    calls = set(re.findall(r"run\.(\w+)", GUIDE))
    run = Run(Scenario("toy", "", lambda run: None), 2, 1)
    assert {"target", "heal", "endure", "strike", "series"} <= calls
    assert [name for name in sorted(calls) if not hasattr(run, name)] == []


def test_the_names_that_pictures_look_for_are_told() -> None:
    for name in (
        pictures.DETECTION,
        pictures.INFECTION,
        pictures.FALSE_POSITIVES,
        pictures.IDLE_BYTES,
        pictures.RECOVERY,
    ):
        assert f"`{name}`" in GUIDE
