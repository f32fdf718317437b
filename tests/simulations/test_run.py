from __future__ import annotations

import json
from dataclasses import replace
from math import inf

import pytest

from gossip.events import SequenceChanged
from simulations.cluster import SimulationError
from simulations.network import Conditions
from simulations.plan import Fault
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
        run.network.conditions = Conditions(loss=1.0)
        for host in run.hosts[:3]:
            run.start(host)
        run.agree_within("all join", 5.0)

    report = played(play)
    assert not report.ok
    assert report.figures["all join s"] == 5.0
    assert "6 views are wrong" in report.checks[0].detail


def test_death_without_cause_is_judged_only_where_nothing_is_lost() -> None:
    def names(conditions: Conditions) -> set[str]:
        return {check.name for check in played(lambda run: None, conditions).checks}

    calm = names(Conditions())
    assert calm - names(replace(Conditions(), loss=0.1)) == {"nobody dies without cause"}


@pytest.mark.parametrize(("hosts", "judged"), [((1,), True), ((), False)])
def test_loss_of_single_hosts_is_no_excuse_for_the_others(
    hosts: tuple[int, ...], judged: bool
) -> None:
    faults = [Fault("lossy", hosts, lasts=5.0, value=0.8)]
    scenario = Scenario("test", "a test", lambda run: None, plan=lambda run: faults)
    names = [checker.name for checker in Run(scenario, 4, 7, None).checkers]
    assert ("nobody dies without cause" in names) is judged


def test_a_target_that_is_missed_fails_the_run_and_stands_in_the_report() -> None:
    def play(run: Run) -> None:
        run.target("fast", 1.5, 2.0, "s")
        run.target("slow", 1.0, 1.5, "", at_most=False)

    report = played(play)
    assert not report.ok
    assert report.to_json()["targets"] == (
        {"name": "fast", "target": "at most 2 s", "measured": 1.5, "unit": "s", "ok": True},
        {"name": "slow", "target": "at least 1.5", "measured": 1.0, "unit": "", "ok": False},
    )


def crash_one(run: Run) -> list[Fault]:
    return [Fault("crash", (1,)), Fault("crash", (2,), at=4.0), Fault("crash", (3,), final=True)]


def struck(without: tuple[int, ...] = (), until: float = inf) -> tuple[Run, Report]:
    def play(run: Run) -> None:
        for host in run.hosts:
            run.start(host)
        run.strike()
        run.endure(6.0)

    run = Run(Scenario("test", "a test", play, plan=crash_one), 5, 7, None, without, until)
    return run, run.play()


def test_in_the_end_the_world_is_healed_but_for_what_is_final() -> None:
    run, report = struck()
    assert report.ok
    assert [host.number for host in run.cluster.running] == [0, 1, 2, 4]
    assert report.figures["recovery s"] > 0
    assert report.faults == (
        "0. at 0 s: crash hosts 1",
        "1. at 4 s: crash hosts 2",
        "2. at 0 s: crash hosts 3 for good",
    )


def test_faults_are_left_out_and_time_is_cut_as_the_options_say() -> None:
    run, report = struck(without=(2,), until=3.0)
    assert [host.boots for host in run.hosts] == [1, 2, 1, 1, 1]
    assert report.faults == ("0. at 0 s: crash hosts 1",)
    assert report.command.endswith("--nodes 5 --seed 7 --without 2 --until 3")


def test_a_world_that_does_not_recover_fails_the_run() -> None:
    def play(run: Run) -> None:
        for host in run.hosts:
            run.cluster.start(host, [])

    report = played(play)
    assert (
        "not within 120 s" in {check.name: check.detail for check in report.checks}["all recover"]
    )


def test_losses_end_when_the_world_is_healed() -> None:
    scenario = Scenario("test", "a test", lambda run: None, Conditions(loss=0.5, duplicate=0.1))
    run = Run(scenario, 3, 7, None)
    assert run.play().ok
    assert (run.network.conditions.loss, run.network.conditions.duplicate) == (0.0, 0.0)


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
