from __future__ import annotations

import pytest

from simulations.scenarios.hosts import SCENARIOS
from tests.simulations.scenarios.played import play


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
@pytest.mark.parametrize("nodes", [4, 9])
def test_trouble_of_single_hosts_is_theirs_alone_and_ends(name: str, nodes: int) -> None:
    play(name, nodes)


def test_wrong_clocks_kill_nobody() -> None:
    assert play("clocks", 8).figures["verdicts of death"] == 0
