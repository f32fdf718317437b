from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from simulations.lab import changes
from simulations.lab.changes import CHANGES, Row, main, since
from simulations.lab.waiting import LabError

GOOD = Row("relay dies", "longest pause", 0.42, 1.0)
LATE = Row("relay dies", "until another way", 8.0, 7.0)
NEVER = Row("UDP is back", "until it is used", None, 15.0)


def played(
    monkeypatch: pytest.MonkeyPatch, rows: list[Row], *arguments: str
) -> tuple[int, list[str]]:
    """Exit code and lines, where the one change that there is brings ``rows``."""

    def change(mesh: Any) -> Iterator[Row]:
        yield from rows
        if not rows:
            raise LabError("left reaches right through no relay")

    monkeypatch.setattr(changes, "Lab", lambda: nullcontext())
    monkeypatch.setattr(changes, "enrol_once", lambda lab, names: None)
    monkeypatch.setattr(changes, "CHANGES", {"relay-dies": change})
    output = io.StringIO()
    return main([*arguments, "--only", "relay-dies"], output), output.getvalue().splitlines()


def test_a_row_shows_the_figure_beside_its_target() -> None:
    assert " ".join(GOOD.line().split()) == "relay dies longest pause 0.42 s at most 1 s ok"
    assert LATE.line().endswith("at most 7 s     MISSED")
    assert "never" in NEVER.line()
    assert [row.ok for row in (GOOD, LATE, NEVER)] == [True, False, False]


def test_the_exit_code_says_whether_every_target_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    assert played(monkeypatch, [GOOD]) == (0, [GOOD.line(), "changes: ok"])
    code, lines = played(monkeypatch, [GOOD, LATE, NEVER])
    assert (code, lines[-1]) == (1, "changes: 2 of 3 missed")


def test_a_change_that_cannot_be_made_is_a_target_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    code, lines = played(monkeypatch, [])
    assert code == 1
    assert "left reaches right through no relay" in lines[0]


def test_the_json_has_every_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "changes.json"
    played(monkeypatch, [GOOD, NEVER], "--json", str(file))
    written = json.loads(file.read_text())
    assert written["ok"] is False
    assert written["rows"][0] == {
        "change": "relay dies",
        "what": "longest pause",
        "value": 0.42,
        "limit": 1.0,
        "unit": "s",
        "ok": True,
    }
    assert [row["value"] for row in written["rows"]] == [0.42, None]


def test_only_known_changes_can_be_asked_for() -> None:
    assert "relay-dies" in CHANGES
    with pytest.raises(SystemExit) as stopped:
        main(["--only", "moon-falls"])
    assert stopped.value.code == 2


def test_a_wait_gives_its_seconds_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("simulations.lab.changes.time.monotonic", lambda: clock[0])

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr("simulations.lab.changes.time.sleep", sleep)
    assert since(100.0, lambda: clock[0] > 100.9, 5.0) == pytest.approx(0.95)
    assert since(100.0, lambda: False, 5.0) is None
