"""A checker that objects to one thing only: the smallest run that shows it must be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simulations.plan import Fault
from simulations.run import Report, Run, Scenario
from simulations.shrink import Shrunk, failures, shrink


def plan(run: Run) -> Sequence[Fault]:
    """Ten faults, of which the fourth and the eighth together are what the checker minds."""
    return [Fault("cut", (at % len(run.hosts),), at * 10.0, 5.0) for at in range(10)]


def both_struck(run: Run) -> None:
    """Fails with six hosts or more if the faults 3 and 7 both struck."""
    run.start(run.hosts[0])
    run.strike()
    seen: dict[int, bool] = {}
    for _ in range(100):
        seen.update(dict.fromkeys(run.injector.active, True))
        run.endure(1.0)
        if run.world.now >= run.options.until:
            break
    run.expect("no bad pair", not (len(run.hosts) >= 6 and {3, 7} <= seen.keys()), "")
    run.expect("no crowd", len(run.hosts) < 3, "there are always too many")


def shrunk(runs_max: int = 100) -> Shrunk:
    scenario = Scenario("pair", "minds a pair of faults", both_struck, plan=plan)
    run = Run(scenario, 24, 5, None)
    report = run.play()
    return shrink(scenario, run, only(report, "no bad pair"), runs_max)


def only(report: Report, name: str) -> Report:
    """The report as if nothing else had failed."""
    return replace(report, checks=tuple(check for check in report.checks if check.name == name))


def test_hosts_faults_and_time_go_while_the_run_still_fails() -> None:
    found = shrunk()
    assert found.options.nodes == 6
    assert found.options.without == (0, 1, 2, 4, 5, 6, 8, 9)
    assert 70.0 < found.options.until <= 73.0
    assert "no bad pair" in found.failed


def test_the_command_it_names_fails_in_the_same_way() -> None:
    found = shrunk()
    scenario = Scenario("pair", "minds a pair of faults", both_struck, plan=plan)
    options = found.options
    again = Run(scenario, options.nodes, options.seed, None, options.without, options.until)
    assert "no bad pair" in failures(again.play())
    assert found.command("pair") == again.command
    assert "--nodes 6 --seed 5 --without 0,1,2,4,5,6,8,9 --until 7" in again.command


def test_it_stops_after_so_many_runs_with_what_it_has() -> None:
    found = shrunk(runs_max=3)
    assert found.runs == 3
    assert 6 <= found.options.nodes <= 24
