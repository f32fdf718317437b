from __future__ import annotations

import pytest

from simulations.run import Run
from simulations.scenarios import SCENARIOS
from simulations.scenarios.steps import HOUR_S
from tests.simulations.scenarios.played import play


def test_a_small_wide_mesh_reaches_every_target_and_draws_its_curves() -> None:
    report = play("wan", 12)
    assert [target.name for target in report.targets] == [
        "99 % informed, the slowest",
        "all informed, the slowest",
        "join known to 99 %",
        "crash known to all",
        "idle gossip per node",
    ]
    assert len(report.series["detection s"]) == 11
    assert report.series["infection, share by seconds"][-1][1] == 1.0  # type: ignore[index]


def test_a_split_of_an_hour_heals_by_itself() -> None:
    report = play("wan-split", 4)
    assert report.simulated_s > HOUR_S
    assert report.targets[0].name == "split healed"


def test_nobody_is_taken_for_dead_at_five_percent_loss() -> None:
    run = Run(SCENARIOS["soak"], 8, 1, None, until=300.0)
    assert [target.ok for target in run.play().targets] == [True, True]


@pytest.mark.parametrize("name", ["wan", "wan-split", "soak-day"])
def test_what_takes_long_is_played_on_demand(name: str) -> None:
    assert SCENARIOS[name].on_demand
    assert SCENARIOS[name].nodes == 1000
