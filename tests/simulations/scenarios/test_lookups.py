from __future__ import annotations

from dataclasses import replace

import pytest

from gossip.events import LookupDone
from simulations.run import Run
from simulations.scenarios import SCENARIOS
from simulations.scenarios.lookups import SMALL, Searches, key_of
from tests.simulations.scenarios.played import play


def test_who_keeps_a_few_neighbours_finds_everyone() -> None:
    report = play("partial-view", 20)
    assert report.figures["partial views"] == 20
    assert len(report.series["at rest: lookup s"]) == 20
    assert [target.name for target in report.targets] == [
        "neighbours of a host",
        "at rest: 99 % within",
        "after a crash: 99 % within",
        "when all are back: 99 % within",
    ]


def test_one_answer_is_that_of_all_who_asked_the_same_meanwhile() -> None:
    run = Run(SCENARIOS["partial-view"], 20, 1, None)
    asker, subject = run.hosts[:2]
    for host in (asker, subject):
        run.start(host)
    run.world.run_for(2.0)
    searches = Searches(run)
    for _ in range(2):
        searches.ask(asker, key_of(subject), subject)
    searches.saw(asker, LookupDone(key_of(subject), (), None, 3))
    assert [search.hops for search in searches.all] == [3, 3]
    assert not any(search.found for search in searches.all)


def test_where_everyone_knows_everyone_the_scenario_fails() -> None:
    scenario = replace(SCENARIOS["partial-view"], config=replace(SMALL, full_view=100))
    report = Run(scenario, 20, 1, None).play()
    failed = [check.name for check in report.checks if not check.ok]
    assert "every view is partial" in failed
    assert not report.targets[0].ok


def test_a_key_is_found_though_bad_hosts_sit_around_it() -> None:
    assert play("sybil", 20).figures["attacks"] > 0


def test_the_bad_hosts_are_those_closest_to_the_victims_id_and_key() -> None:
    hosts = Run(SCENARIOS["sybil"], 64, 1, None).hosts
    evil = [host for host in hosts if not host.honest]
    assert 8 <= len(evil) <= 16
    for key in (hosts[0].identity, key_of(hosts[0])):
        far = int.from_bytes(key, "big")
        ids = sorted(hosts[2:], key=lambda host: int.from_bytes(host.identity, "big") ^ far)
        assert not any(host.honest for host in ids[:8])


@pytest.mark.parametrize("nodes", [20, 10_000])
def test_ten_thousand_are_played_on_demand(nodes: int) -> None:
    scenario = SCENARIOS["partial-view-10000"]
    assert scenario.on_demand
    assert scenario.nodes_min <= nodes <= scenario.nodes_max
