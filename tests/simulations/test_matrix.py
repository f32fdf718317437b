from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from simulations.lab import matrix
from simulations.lab.cell import Cell
from simulations.lab.matrix import Pair, grid, half, line, main
from simulations.lab.sites import Site
from simulations.lab.waiting import LabError

GOOD = Cell(Site.OPEN, Site.OPEN, "direct", 1.04, 1.21)
BAD = Cell(Site.OPEN, Site.RANDOM, "relay", 1.1, 1.1)
MUTE = Cell(Site.RANDOM, Site.RANDOM, "-")


class Played:
    """Stands for the lab: which pairs were asked for, and what comes of them."""

    def __init__(self, *cells: Cell) -> None:
        self.cells = cells
        self.pairs: list[Pair] = []

    def run(self, pairs: Sequence[Pair], jobs: int) -> Iterator[Cell]:
        self.pairs += pairs
        if not self.cells:
            raise LabError("making network namespaces needs root")
        yield from self.cells


def played(
    monkeypatch: pytest.MonkeyPatch, played: Played, *arguments: str
) -> tuple[int, list[str]]:
    monkeypatch.setattr(matrix, "run", played.run)
    output = io.StringIO()
    return main(arguments, output), output.getvalue().splitlines()


def test_half_of_the_matrix_has_every_pair_once() -> None:
    sites = [Site.OPEN, Site.RANDOM, Site.NO_UDP]
    pairs = half(sites)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) == 6


def test_the_grid_shows_way_and_seconds_and_marks_what_differs() -> None:
    lines = grid([GOOD, BAD, MUTE])
    assert [row.split() for row in lines] == [
        ["open", "random"],
        ["open", "D", "1.2", "R", "1.1!"],
        ["random", "-!"],
    ]
    assert lines[2].index("-!") + 2 == len(lines[1])  # right below the cell above it


def test_a_line_says_a_cell_in_words() -> None:
    assert line(GOOD).endswith("direct        first  1.0 s, settled  1.2 s: ok")
    assert line(BAD).endswith("first  1.1 s, settled  1.1 s: relay instead of direct")


def test_the_exit_code_says_whether_all_is_as_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    code, lines = played(monkeypatch, Played(GOOD))
    assert (code, lines[-1]) == (0, "matrix: ok, 1 cells, 0 s")
    code, lines = played(monkeypatch, Played(GOOD, BAD))
    assert (code, lines[-1]) == (1, "matrix: 1 of 2 cells differ, 0 s")
    code, lines = played(monkeypatch, Played())
    assert code == 1
    assert lines == ["matrix: FAILED: making network namespaces needs root"]


def test_which_cells_are_played_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, few, one, diagonal = Played(GOOD), Played(GOOD), Played(GOOD), Played(GOOD)
    played(monkeypatch, whole)
    assert len(whole.pairs) == len(Site) * (len(Site) + 1) // 2
    played(monkeypatch, few, "--only", "open", "random", "ipv6")
    assert len(few.pairs) == 6
    played(monkeypatch, one, "--only", "random", "open")
    assert one.pairs == [(Site.RANDOM, Site.OPEN)]
    played(monkeypatch, diagonal, "--diagonal")
    assert diagonal.pairs == [(site, site) for site in Site]
    with pytest.raises(SystemExit) as stopped:
        played(monkeypatch, few, "--only", "moon")
    assert stopped.value.code == 2


def test_the_json_has_every_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "matrix.json"
    played(monkeypatch, Played(GOOD, MUTE), "--json", str(file))
    written = json.loads(file.read_text())
    assert written["ok"] is False
    assert written["cells"][0] == {
        "left": "open",
        "right": "open",
        "expected": "direct",
        "way": "direct",
        "first_s": 1.04,
        "settled_s": 1.21,
        "faults": [],
        "ok": True,
    }
    assert [cell["first_s"] for cell in written["cells"]] == [1.04, None]
