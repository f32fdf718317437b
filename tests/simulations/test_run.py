from __future__ import annotations

import json
from dataclasses import replace

from gossip.events import SequenceChanged
from simulations.cluster import SimulationError
from simulations.network import Conditions
from simulations.run import Report, Run, Scenario


def played(play: object, conditions: Conditions | None = None, nodes: int = 4) -> Report:
    assert callable(play)
    scenario = Scenario("test", "a test", play, conditions or Conditions())
    return Run(scenario, nodes, 7, None).play()


def test_a_run_in_which_nothing_goes_wrong_is_ok() -> None:
    report = played(lambda run: run.world.run_for(3.0))
    assert report.ok
    assert all(check.ok for check in report.checks)
    assert report.simulated_s == 3.0


def test_one_unmet_expectation_fails_the_run() -> None:
    def play(run: Run) -> None:
        run.expect("good", True, "as hoped")
        run.expect("bad", False, "not as hoped")

    report = played(play)
    assert not report.ok
    assert [check.name for check in report.checks if not check.ok] == ["bad"]


def test_a_violation_seen_by_a_checker_fails_the_run() -> None:
    def play(run: Run) -> None:
        for observer in run.cluster.observers:
            observer.saw(run.hosts[0], SequenceChanged(0))

    assert not played(play).ok


def test_a_machine_that_breaks_the_contract_fails_the_run_without_a_traceback() -> None:
    def play(run: Run) -> None:
        raise SimulationError("host 0 asks for ever")

    report = played(play)
    assert not report.ok
    assert any("asks for ever" in check.detail for check in report.checks)


def test_agreement_that_does_not_come_in_time_is_a_failure_with_a_figure() -> None:
    def play(run: Run) -> None:
        run.cluster.wrong = 3
        run.agree_within("all join", 5.0)

    report = played(play)
    assert not report.ok
    assert report.figures == {"all join s": 5.0}
    assert "3 views are wrong" in report.checks[0].detail


def test_death_without_cause_is_judged_only_where_nothing_is_lost() -> None:
    def names(conditions: Conditions) -> set[str]:
        return {check.name for check in played(lambda run: None, conditions).checks}

    calm = names(Conditions())
    assert calm - names(replace(Conditions(), loss=0.1)) == {"nobody dies without cause"}


def test_the_report_is_json_with_the_keys_that_are_promised() -> None:
    values = json.loads(json.dumps(played(lambda run: run.expect("a", True, "b")).to_json()))
    assert {"scenario", "nodes", "seed", "trace_hash", "checks", "ok"} <= set(values)
    assert values["checks"][0] == {"name": "a", "ok": True, "detail": "b"}
    assert (values["scenario"], values["nodes"], values["seed"]) == ("test", 4, 7)


def test_the_command_names_scenario_nodes_and_seed() -> None:
    run = Run(Scenario("test", "a test", lambda run: None), 4, 7, None)
    assert run.command == "python -m simulations run test --nodes 4 --seed 7"


def test_thousands_of_hosts_have_addresses_of_their_own() -> None:
    run = Run(Scenario("test", "a test", lambda run: None), 1000, 7, None)
    assert len({host.endpoint for host in run.hosts}) == 1000
    assert len({host.identity for host in run.hosts}) == 1000
