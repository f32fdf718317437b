from __future__ import annotations

from simulations.lab.cell import Cell
from simulations.lab.sites import Site


def test_a_cell_is_well_with_the_expected_way_in_time() -> None:
    assert Cell(Site.OPEN, Site.RANDOM, "direct", 1.2, 1.4).faults() == []
    relayed = Cell(Site.RANDOM, Site.PORT_RESTRICTED, "relay", 2.9, 6.0)
    assert relayed.expected == "relay"
    assert relayed.faults() == []


def test_a_cell_says_what_differs() -> None:
    assert Cell(Site.OPEN, Site.OPEN, "relay", 1.0, 1.0).faults() == ["relay instead of direct"]
    late = Cell(Site.OPEN, Site.OPEN, "direct", 3.1, 5.1)
    assert late.faults() == ["first answer after 3.1 s", "direct after 5.1 s"]
    assert late.faults(patience=2.0) == []
    mute = Cell(Site.OPEN, Site.OPEN, "-")
    assert mute.faults() == ["- instead of direct", "no ping was answered"]


def test_what_could_not_be_built_is_the_one_fault() -> None:
    cell = Cell(Site.OPEN, Site.OPEN, "-", problem="nft is not installed")
    assert cell.faults() == ["nft is not installed"]
