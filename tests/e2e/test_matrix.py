"""Two nodes at sites of one kind, for every kind there is: the diagonal of `make matrix`."""

from __future__ import annotations

import pytest

from simulations.lab.cell import Cell
from simulations.lab.matrix import run
from simulations.lab.sites import Site

pytestmark = pytest.mark.e2e

PATIENCE = 3.0
"""How many times as long as on a machine of its own it may take here, beside other tests."""
JOBS = 7


@pytest.fixture(scope="module")
def cells() -> dict[Site, Cell]:
    """All of them, side by side."""
    return {cell.left: cell for cell in run([(site, site) for site in Site], JOBS)}


@pytest.mark.parametrize("site", list(Site), ids=lambda site: site.value)
def test_two_nodes_at_sites_of_one_kind_meet(cells: dict[Site, Cell], site: Site) -> None:
    assert cells[site].faults(PATIENCE) == []
