from __future__ import annotations

import pytest

from simulations.gossiper import gossip_cluster
from simulations.run import Run
from simulations.scenarios import SCENARIOS

GOSSIPING = sorted(name for name, s in SCENARIOS.items() if s.build is gossip_cluster)
WHOLE = sorted(set(SCENARIOS) - set(GOSSIPING))


@pytest.mark.parametrize(
    ("name", "nodes", "seed"),
    [
        *((name, 17, seed) for name in GOSSIPING for seed in (1, 2)),
        *((name, 7, 1) for name in WHOLE),
    ],
)
def test_a_scenario_ends_well(name: str, nodes: int, seed: int) -> None:
    run = Run(SCENARIOS[name], nodes, seed, None)
    report = run.play()
    failed = [f"{check.name}: {check.detail}" for check in report.checks if not check.ok]
    assert failed == [], run.command


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_scenario_works_with_the_fewest_hosts_that_it_takes(name: str) -> None:
    run = Run(SCENARIOS[name], SCENARIOS[name].nodes_min, 1, None)
    report = run.play()
    failed = [f"{check.name}: {check.detail}" for check in report.checks if not check.ok]
    assert failed == [], run.command


def test_two_runs_of_one_seed_have_one_trace_and_other_seeds_have_others() -> None:
    digests = [Run(SCENARIOS["cold-boot"], 8, seed, None).play().trace_hash for seed in (3, 3, 4)]
    assert digests[0] == digests[1] != digests[2]


def test_every_scenario_disturbs_or_measures_something() -> None:
    for name in GOSSIPING:
        report = Run(SCENARIOS[name], 5, 1, None).play()
        assert report.figures
        assert len(report.checks) > 4


def test_names_are_words_joined_by_hyphens_and_summaries_are_short() -> None:
    for name, scenario in SCENARIOS.items():
        assert scenario.name == name == name.lower()
        assert " " not in name
        assert len(scenario.summary) < 80
