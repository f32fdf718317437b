from __future__ import annotations

import pytest

from simulations.scenarios.hostile import SCENARIOS
from tests.simulations.scenarios.played import play


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_whoever_misuses_a_members_trust_gains_little(name: str) -> None:
    play(name, 7)
