from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.page import BEGIN, END, PICTURES, check, machine, measured, saved, show, write
from benchmarks.report import medians
from simulations.lab.waiting import LabError

SAMPLES = {
    "tcp1": {"aegisray": [4.0, 1.0, 6.0], "null": [8.0, 2.0, 20.0], "wireguard-go": [1.0, 1.0, 2.0]}
}
CONTENT = {"rounds": SAMPLES, "turns": 3, "machine": "a Z80, 1 cores", "command": "python -m x"}


def test_the_shown_table_has_a_column_for_each_contender_and_for_each_ratio() -> None:
    assert show(SAMPLES) == (
        "              aegisray  null  wireguard-go  / null  / wireguard-go\n"
        "tcp1, Gbit/s      4.00  8.00          1.00    0.50            3.00\n"
    )


def test_what_one_contender_did_not_give_stays_empty() -> None:
    assert show({"tcp1": {"bare": [], "aegisray": [2.0]}}) == (
        "              bare  aegisray  / bare\ntcp1, Gbit/s            2.00\n"
    )


def test_contenders_that_were_measured_apart_have_tables_of_their_own() -> None:
    far = {"lossy bbr 1 %": {"bare": [400.0], "aegisray": [380.0]}}
    assert show({**SAMPLES, **far}).count("\n\n") == 1


def test_where_aegisray_is_not_compared_the_last_one_is() -> None:
    assert show({"relay-tcp1": {"direct": [2.0], "relayed": [1.0]}}).splitlines()[0].split() == [
        "direct",
        "relayed",
        "/",
        "direct",
    ]


def test_the_part_says_where_and_how_it_was_measured_and_what_was_reached() -> None:
    text = measured(CONTENT, ["latency.svg"])
    assert "Measured on a Z80, 1 cores, by\n\n    python -m x\n" in text
    assert "met    tcp1 over null's: 0.50 (at least 0.5)" in text
    assert f"]({PICTURES}/latency.svg)" in text
    assert show(SAMPLES) in text


def test_a_run_replaces_the_part_between_the_marks_only(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{BEGIN}old\n{END}after\n")
    for _ in range(2):
        write(file, CONTENT)
        text = file.read_text()
        assert text == f"before\n{BEGIN}{measured(CONTENT, [])}{END}after\n"


def test_pictures_of_what_was_measured_lie_beside_the_page(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"{BEGIN}{END}")
    rates = {"lossy cubic 1 %": {"bare": [8.0], "aegisray": [300.0]}}
    write(file, {**CONTENT, "rounds": rates})
    assert [each.name for each in (tmp_path / PICTURES).iterdir()] == ["throughput.svg"]
    assert f"({PICTURES}/throughput.svg)" in file.read_text()


@pytest.mark.parametrize("text", ["", BEGIN, END, END + BEGIN])
def test_a_page_without_both_marks_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "page.md"
    file.write_text(text)
    with pytest.raises(LabError):
        check(file)


def test_a_missing_page_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="No such file"):
        check(tmp_path / "page.md")


def test_the_shipped_page_has_a_part_for_figures() -> None:
    check(Path(page.__file__).parent.parent / "docs" / "performance.md")


def test_the_machine_is_named_with_its_cores() -> None:
    assert " cores, Linux " in machine()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"datapath": {"rounds": {}}}'])
def test_a_file_that_no_run_wrote_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "figures.json"
    file.write_text(text)
    with pytest.raises(LabError, match="holds no run"):
        saved([file])


def kept_run(file: Path, **changes: object) -> Path:
    content = {**CONTENT, "medians": medians(SAMPLES), "rounds": SAMPLES, **changes}
    file.write_text(json.dumps({"datapath": {**content, "targets": []}}))
    return file


def test_a_saved_run_is_shown_as_it_was(tmp_path: Path) -> None:
    file = kept_run(tmp_path / "figures.json")
    assert saved([file]) == {**CONTENT, "medians": medians(SAMPLES), "rounds": SAMPLES}


def test_the_rounds_of_saved_runs_are_taken_together(tmp_path: Path) -> None:
    first, second = (
        {"tcp1": {"bare": [8.0], "aegisray": [2.0]}},
        {"tcp1": {"bare": [4.0], "aegisray": [3.0]}},
    )
    files = [
        kept_run(tmp_path / "first.json", turns=1, rounds=first),
        kept_run(tmp_path / "second.json", turns=1, rounds=second),
    ]
    both = saved(files)
    assert both["turns"] == 2
    assert both["rounds"] == {"tcp1": {"bare": [8.0, 4.0], "aegisray": [2.0, 3.0]}}
    assert both["medians"] == {"tcp1": {"bare": 6.0, "aegisray": 2.5}}


@pytest.mark.parametrize(
    "other", [{"machine": "another"}, {"command": "another"}, {"rounds": {"tcp1": {"bare": [1.0]}}}]
)
def test_runs_that_do_not_compare_are_not_taken_together(
    tmp_path: Path, other: dict[str, object]
) -> None:
    files = [kept_run(tmp_path / "first.json"), kept_run(tmp_path / "second.json", **other)]
    with pytest.raises(LabError, match=r"than .*first\.json"):
        saved(files)
