"""What holds for all scenarios; each theme has a test file of its own in `scenarios/`."""

from __future__ import annotations

from simulations.run import Run
from simulations.scenarios import SCENARIOS


def test_two_runs_of_one_seed_have_one_trace_and_other_seeds_have_others() -> None:
    digests = [Run(SCENARIOS["cold-boot"], 8, seed, None).play().trace_hash for seed in (3, 3, 4)]
    assert digests[0] == digests[1] != digests[2]


def test_names_are_words_joined_by_hyphens_and_summaries_are_short() -> None:
    for name, scenario in SCENARIOS.items():
        assert scenario.name == name == name.lower()
        assert " " not in name
        assert len(scenario.summary) < 80


def test_the_plan_of_every_scenario_follows_from_its_seed() -> None:
    for scenario in SCENARIOS.values():
        nodes = max(7, scenario.nodes_min)
        plans = [Run(scenario, nodes, seed, None).plan for seed in (3, 3)]
        assert plans[0] == plans[1]
