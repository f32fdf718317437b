from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main

pytestmark = pytest.mark.e2e


def test_a_short_run_writes_what_it_measured(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    short = ["--rounds", "1", "--seconds", "1", "--measure", "tcp1", "ping-idle"]
    assert main(["datapath", "--only", "bare", *short, "--json", str(file)]) == 0
    figures = json.loads(file.read_text())["datapath"]
    assert figures["medians"]["tcp1"]["bare"] > 0.1
    assert 0 < figures["medians"]["ping-idle"]["bare"] < 1e5


def test_a_lossy_line_is_measured_bare(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    short = ["--rounds", "1", "--seconds", "1", "--warm", "0", "--loss", "1", "--cc", "cubic"]
    assert (
        main(["datapath", "--measure", "lossy", "--only", "bare", *short, "--json", str(file)]) == 0
    )
    rate = json.loads(file.read_text())["datapath"]["medians"]["lossy cubic 1 %"]["bare"]
    assert 0.1 < rate < 300


def test_a_missing_tool_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["datapath"]) == 2
    assert capsys.readouterr().err == (
        "benchmarks datapath: iperf3 is not installed: apt-get install iperf3\n"
    )
