from __future__ import annotations

import pytest

from simulations.scenarios.nodes import SCENARIOS
from tests.simulations.scenarios.played import play


@pytest.mark.parametrize(
    ("name", "nodes"), [(s.name, n) for s in SCENARIOS for n in (s.nodes_min, s.nodes)]
)
def test_whole_nodes_meet_and_stay_met(name: str, nodes: int) -> None:
    play(name, nodes)


def test_every_kind_of_nat_is_crossed_directly_or_by_a_relay() -> None:
    figures = play("nat-mesh", 7).figures
    assert figures["direct paths"] + figures["relayed paths"] == 42
    assert figures["relayed paths"] > 0
