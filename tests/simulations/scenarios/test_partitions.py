from __future__ import annotations

import pytest

from simulations.scenarios.partitions import SCENARIOS
from tests.simulations.scenarios.played import play

FEWEST = {scenario.name: scenario.nodes_min for scenario in SCENARIOS}


@pytest.mark.parametrize(("name", "nodes"), [*FEWEST.items(), ("split-heal", 17), ("flapping", 9)])
def test_whoever_was_cut_off_comes_back(name: str, nodes: int) -> None:
    play(name, nodes)


def test_a_split_kills_whoever_is_on_the_other_side_until_it_is_healed() -> None:
    report = play("split-heal", 8)
    assert report.figures["verdicts of death"] == 2 * 4 * 4
