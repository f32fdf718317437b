from __future__ import annotations

import re

from simulations.report import PICTURES, page
from tests.simulations.reports import report

TARGET = {"name": "joins", "target": "at most 3 s", "measured": 1234.5, "unit": "s", "ok": True}
BROKEN = {"name": "views agree", "ok": False, "detail": "host 1 sees <host 2> as dead"}


def test_a_target_stands_beside_its_result() -> None:
    text = page([report("crash", 32, targets=[TARGET])])
    row = next(line for line in text.splitlines() if "at most 3 s" in line)
    assert re.findall(r"<td>(.*?)</td>", row)[:5] == [
        "crash", "32", "joins", "at most 3 s", "1,234.5 s",
    ]  # fmt: skip


def test_what_did_not_hold_stands_beside_the_command_that_shows_it_again() -> None:
    text = page([report(), report("split", 16, 7, ok=False, checks=[BROKEN])])
    assert "2 runs, 1 failed" in text
    row = next(line for line in text.splitlines() if "views agree" in line)
    assert "python -m simulations run split --nodes 16 --seed 7" in row
    assert "&lt;host 2&gt;" in row


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    entry = report("crash", 32, series={"detection s": [1.0, 2.0]})
    text = page([entry])
    assert "<svg" in text
    assert re.findall(r'(?:href|src)="(?!#)[^"]*"', text) == []
    assert re.findall(r"<script|@import|url\((?!#)", text) == []


def test_every_picture_has_its_place_even_if_nobody_measured_it() -> None:
    text = page([report()])
    assert text.count("<figure>") == len(PICTURES)
    assert text.count("None of these runs measured it.") == len(PICTURES)
    assert "None of these runs states a target." in text


def test_a_run_that_died_has_a_row_too() -> None:
    died = {"scenario": "toy", "nodes": 4, "seed": 1, "ok": False, "checks": [BROKEN]}
    assert "1 runs, 1 failed" in page([died])
