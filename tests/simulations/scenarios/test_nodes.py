from __future__ import annotations

import pytest

from simulations.scenarios.nodes import SCENARIOS
from tests.simulations.scenarios.played import play

SIZES = dict.fromkeys((s.name, nodes) for s in SCENARIOS for nodes in (s.nodes_min, s.nodes))


@pytest.mark.parametrize(("name", "nodes"), [size for size in SIZES if size != ("nat-mesh", 7)])
def test_whole_nodes_meet_and_stay_met(name: str, nodes: int) -> None:
    play(name, nodes)


def test_every_kind_of_nat_is_crossed_directly_or_by_a_relay() -> None:
    figures = play("nat-mesh", 7).figures
    assert figures["direct paths"] + figures["relayed paths"] == 42
    assert figures["relayed paths"] > 0


def test_routes_that_no_certificate_grants_are_refused_by_all() -> None:
    assert play("exit-hijack", 4).figures["hosts that refused the routes"] == 3
