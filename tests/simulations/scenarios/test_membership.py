from __future__ import annotations

import pytest

from simulations.scenarios.membership import SCENARIOS
from tests.simulations.scenarios.played import play

NAMES = [scenario.name for scenario in SCENARIOS]


@pytest.mark.parametrize("name", NAMES)
def test_a_story_of_membership_ends_well(name: str) -> None:
    play(name, 9 if name == "churn" else 17)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=NAMES)
def test_it_works_with_the_fewest_hosts_that_it_takes(scenario: object) -> None:
    name, fewest = next((s.name, s.nodes_min) for s in SCENARIOS if s is scenario)
    play(name, fewest)


def test_a_crash_is_noticed_by_everyone_and_every_delay_is_kept() -> None:
    report = play("crash", 21)
    assert len(report.series["detection s"]) == 2 * 19
    assert report.faults[0].startswith("0. at 0 s: crash hosts ")


def test_a_mesh_without_its_seeds_goes_on() -> None:
    report = play("seed-loss", 12)
    assert "crash hosts 0-1 for good" in report.faults[0]


def test_churn_takes_one_of_a_hundred_each_minute() -> None:
    assert len(play("churn", 4).faults) == 10
