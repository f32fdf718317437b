from __future__ import annotations

import pytest

from simulations.injector import KINDS
from simulations.run import Run
from simulations.scenarios.chaos import SCENARIOS
from tests.simulations.scenarios.played import play


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_happens_all_recover(seed: int) -> None:
    assert len(play("chaos", 6, seed).faults) >= 12


def test_every_kind_of_fault_is_drawn_by_some_seed() -> None:
    plans = [Run(SCENARIOS[0], 6, seed, None).plan.values() for seed in range(30)]
    assert {fault.kind for plan in plans for fault in plan} == set(KINDS)
