from __future__ import annotations

import pytest

from simulations.scenarios.attacks import NODES_MIN, SCENARIOS, adversaries
from tests.simulations.scenarios.played import play


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_honest_hosts_keep_what_they_keep_without_adversaries(name: str) -> None:
    figures = play(name, NODES_MIN).figures
    assert figures["attacks"] > 0
    if name in ("forgery", "babble"):
        assert figures["refused"] > 50
    if name == "equivocation":
        assert figures["equivocations seen"] >= 4
    if name == "accusations":
        assert figures["refutations"] > 0


def test_every_sixteenth_is_an_adversary_at_least_one_and_no_seed() -> None:
    assert [adversaries(nodes) for nodes in (6, 18, 19)] == [[2], [2], [2, 18]]
