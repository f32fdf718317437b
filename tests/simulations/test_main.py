from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulations import __main__ as command_line
from simulations.run import Run, Scenario
from simulations.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parent.parent.parent


def broken(run: Run) -> None:
    run.expect("something", False, "is wrong")


def crashing(run: Run) -> None:
    raise RuntimeError("a bug")


def quiet(run: Run) -> None:
    run.world.run_for(1.0)


@pytest.fixture(autouse=True)
def _more_scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    for play in (broken, crashing, quiet):
        scenario = Scenario(play.__name__, f"is {play.__name__}", play, nodes_min=3)
        monkeypatch.setitem(SCENARIOS, play.__name__, scenario)


def test_list_has_a_scenario_per_line_its_name_first_and_no_header(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command_line.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SCENARIOS)
    assert {"cold-boot", "crash", "split-heal", "lossy-join", "leave-rejoin"} <= set(SCENARIOS)


def test_a_run_that_holds_exits_0_and_writes_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    arguments = ["run", "quiet", "--nodes", "5", "--seed", "9", "--json", str(file)]
    assert command_line.main(arguments) == 0
    report = json.loads(file.read_text())
    assert report["ok"] is True
    assert (report["scenario"], report["nodes"], report["seed"]) == ("quiet", 5, 9)
    assert report["trace_hash"] in capsys.readouterr().out


def test_a_run_that_fails_exits_1_and_prints_the_command_that_reproduces_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    assert command_line.main(["run", "broken", "--nodes", "5", "--json", str(file)]) == 1
    out = capsys.readouterr().out
    assert "FAILED something: is wrong" in out
    assert "python -m simulations run broken --nodes 5 --seed 1" in out
    assert json.loads(file.read_text())["ok"] is False


def test_a_bug_shows_its_traceback_and_the_command_that_reproduces_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command_line.main(["run", "crashing", "--nodes", "5", "--seed", "2"]) == 1
    error = capsys.readouterr().err
    assert "RuntimeError: a bug" in error
    assert "python -m simulations run crashing --nodes 5 --seed 2" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nonsense"], "there are: cold-boot"),
        (["run", "quiet", "--nodes", "2"], "must be 3 to"),
        (["run", "quiet", "--nodes", "100000"], "must be 3 to"),
    ],
)
def test_misuse_exits_2_and_says_what_would_do(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_trace_file_has_every_event(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    assert command_line.main(["run", "cold-boot", "--nodes", "3", "--trace", str(file)]) == 0
    kinds = {line.split()[1] for line in file.read_text().splitlines()}
    assert {"start", "timer", "deliver", "saw"} <= kinds


def traced(scenario: str, hash_seed: str, seed: int) -> str:
    """The trace hash of a run in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "simulations", "run", scenario, "--nodes", "5", f"--seed={seed}"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.splitlines()[-1].split()[-1]


@pytest.mark.parametrize("scenario", ["crash", "node-crash"])
def test_a_seed_decides_a_run_wholly_whatever_pythonhashseed_is(scenario: str) -> None:
    first = traced(scenario, "0", seed=5)
    assert traced(scenario, "0", seed=5) == first
    assert traced(scenario, "12345", seed=5) == first
    assert traced(scenario, "0", seed=6) != first
