from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import pytest

from simulations import __main__ as command_line
from simulations import collect, progress
from simulations.run import Run, Scenario
from simulations.scenarios import SCENARIOS
from simulations.sweep import Job, Outcome
from tests.simulations.reports import report

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
        (["sweep", "nonsense"], "there are: cold-boot"),
        (["sweep", "quiet", "--nodes", "5,2"], "must be 3 to"),
        (["sweep", "quiet", "--nodes", "5", "--dask", "nowhere"], "no Dask scheduler answers"),
        (["report", "--json", "/nonexistent"], "cannot be read as a report"),
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


def stand_in(jobs: Sequence[Job], *_: object) -> Generator[Outcome, None, None]:
    """Plays nothing; the odd seeds fail."""
    for job in jobs:
        bad = {"name": "it holds", "ok": False, "detail": "it does not"}
        ok = job.seed % 2 == 0
        checks = [] if ok else [bad]
        yield Outcome(job, report(job.scenario, job.nodes, job.seed, ok=ok, checks=checks))


def test_list_can_leave_out_what_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SCENARIOS, "quiet", replace(SCENARIOS["quiet"], on_demand=True))
    assert command_line.main(["list", "--quick"]) == 0
    names = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert names == {name for name, scenario in SCENARIOS.items() if not scenario.on_demand}
    assert "quiet" not in names


def test_a_sweep_says_how_to_reproduce_each_run_that_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "sweep_here", stand_in)
    file = tmp_path / "sweep.json"
    arguments = ["sweep", "quiet", "--nodes", "5,6", "--seeds", "2-4", "--json", str(file)]
    assert command_line.main(arguments) == 1
    assert capsys.readouterr().out.splitlines()[:4] == [
        "FAILED it holds: it does not",
        "  python -m simulations run quiet --nodes 5 --seed 3",
        "FAILED it holds: it does not",
        "  python -m simulations run quiet --nodes 6 --seed 3",
    ]
    values = json.loads(file.read_text())
    assert (values["ok"], values["wanted"], len(values["runs"])) == (False, 6, 6)


def test_a_sweep_in_which_all_holds_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["sweep", "cold-boot", "--nodes", "3", "--seeds", "1-2"]) == 0
    assert "cold-boot: 2 of 2 runs ok, 0 failed" in capsys.readouterr().out


def test_an_interrupted_sweep_says_what_it_has_and_exits_as_shells_expect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(jobs: Sequence[Job], *_: object) -> Generator[Outcome, None, None]:
        yield from stand_in(jobs[:1])
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "sweep_here", interrupted)
    assert command_line.main(["sweep", "quiet", "--nodes", "5", "--seeds", "2-9"]) == 130
    assert "1 of 1 runs ok, 0 failed, 7 not played" in capsys.readouterr().out


def test_a_report_is_drawn_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "run.json", tmp_path / "report.html"
    file.write_text(json.dumps(report("crash", 8, figures={"recovery s": 2.5})))
    assert command_line.main(["report", "--json", str(file), "--out", str(out)]) == 0
    assert "<svg" in out.read_text()
    assert f"{out}: 1 runs, 0 failed" in capsys.readouterr().out


def test_a_report_without_files_plays_the_standard_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "sweep_here", stand_in)
    out = tmp_path / "report.html"
    assert command_line.main(["report", "--out", str(out)]) == 1
    for job in collect.STANDARD:
        assert job.command in out.read_text()


def test_a_run_that_fails_can_be_made_smaller(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["run", "broken", "--nodes", "6", "--shrink"]) == 1
    assert "run broken --nodes 3 --seed 1" in capsys.readouterr().out


def test_progress_is_shown_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    streams: list[TextIO | None] = []

    @contextmanager
    def shown(describe: Callable[[], str], stream: TextIO | None) -> Iterator[None]:
        yield
        lines.append(describe())
        streams.append(stream)

    monkeypatch.setattr(progress, "shown", shown)
    monkeypatch.setattr(command_line, "sweep_here", stand_in)
    for more in (["--progress"], []):
        assert command_line.main(["run", "quiet", "--nodes", "5", *more]) == 0
    assert command_line.main(["sweep", "quiet", "--nodes", "5", "--seeds", "2", "--progress"]) == 0
    assert streams == [sys.stderr, None, sys.stderr]
    assert "1 of at most 121 s simulated" in lines[0]
    assert "1 of 1 runs, 0 failed" in lines[2]
