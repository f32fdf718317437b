from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from simulations.collect import STANDARD, ReportError, read, require_matplotlib
from simulations.scenarios import SCENARIOS
from tests.simulations.reports import report


def written(folder: Path, name: str, values: object) -> str:
    file = folder / name
    file.write_text(json.dumps(values))
    return str(file)


def test_runs_and_sweeps_are_read_in_order(tmp_path: Path) -> None:
    one = written(tmp_path, "one.json", report(seed=1))
    two = written(tmp_path, "two.json", {"sweep": "toy", "runs": [report(seed=2), report(seed=3)]})
    assert [entry["seed"] for entry in read([one, two])] == [1, 2, 3]


@pytest.mark.parametrize("values", [[], 7, {"runs": 3}, {"runs": [{}]}, {"scenario": "toy"}])
def test_what_is_no_report_is_refused_by_its_name(tmp_path: Path, values: object) -> None:
    file = written(tmp_path, "other.json", values)
    with pytest.raises(ReportError, match=r"other\.json holds no report"):
        read([file])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    for name in ("bad.json", "missing.json"):
        with pytest.raises(ReportError, match=rf"{name} cannot be read"):
            read([str(tmp_path / name)])


def test_without_matplotlib_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ReportError, match=r"pip install 'aegisray\[simulate\]'"):
        require_matplotlib()


def test_the_standard_set_can_be_played() -> None:
    for job in STANDARD:
        scenario = SCENARIOS[job.scenario]
        assert scenario.nodes_min <= job.nodes <= scenario.nodes_max
