"""Who reaches whom: splits, one-way cuts, links that come and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simulations.measures import DeathCount
from simulations.plan import Fault
from simulations.run import Run, Scenario
from simulations.scenarios.steps import HEAL_LIMIT_S, HOUR_S, boot, shuffled, victims

FLAP_UP_S = 7.0
FLAP_DOWN_S = 5.0
FLAPS = 25
ONE_WAY_S = 600.0


def split_into(groups: int, duration_s: float) -> Callable[[Run], Sequence[Fault]]:
    """The plan that deals the hosts into groups, which lose each other for so long."""
    return lambda run: [Fault("split", shuffled(run), 0.0, duration_s, groups)]


def split_heal(run: Run) -> None:
    """The groups lose each other, and find each other again by themselves.

    Serf forgets members after a time and skips the dead; here the dead go on being tried.
    """
    boot(run)
    deaths = DeathCount()
    run.cluster.observers.append(deaths)
    run.strike()
    run.endure(max((fault.lasts for fault in run.plan.values()), default=0.0))
    run.figures["verdicts of death"] = deaths.deaths
    run.heal(HEAL_LIMIT_S)
    run.measure_traffic(20.0)


def one_way_plan(run: Run) -> Sequence[Fault]:
    """What a third of the hosts sends does not reach another third; the rest meets everyone."""
    order = shuffled(run)
    third = len(order) // 3
    return [Fault("mute", order[:third], 0.0, ONE_WAY_S, others=order[third : 2 * third])]


def one_way(run: Run) -> None:
    """Those in between keep both sides alive in each other's eyes by indirect probes."""
    boot(run)
    deaths = DeathCount()
    run.cluster.observers.append(deaths)
    run.strike()
    run.endure(ONE_WAY_S)
    run.figures["verdicts of death"] = deaths.deaths
    run.expect("nobody is given up", not deaths.deaths, f"{deaths.deaths} verdicts of death")


def flapping_plan(run: Run) -> Sequence[Fault]:
    """The link of a hundredth of the hosts goes and comes for five minutes."""
    hosts = victims(run, 0.01)
    period = FLAP_UP_S + FLAP_DOWN_S
    return [Fault("cut", hosts, flap * period, FLAP_DOWN_S) for flap in range(FLAPS)]


def flapping(run: Run) -> None:
    """Whoever flaps may be suspected, dead and back; nobody else may suffer for it."""
    boot(run)
    deaths = DeathCount()
    run.cluster.observers.append(deaths)
    run.strike()
    run.endure(FLAPS * (FLAP_UP_S + FLAP_DOWN_S))
    run.figures["verdicts of death"] = deaths.deaths


SCENARIOS = (
    Scenario(
        "split-heal",
        "two halves are cut apart for five minutes",
        split_heal,
        nodes_min=4,
        plan=split_into(2, 300.0),
    ),
    Scenario(
        "split-2-hour",
        "two halves are cut apart for an hour",
        split_heal,
        nodes_min=4,
        plan=split_into(2, HOUR_S),
    ),
    Scenario(
        "split-5-hour",
        "five parts are cut apart for an hour",
        split_heal,
        nodes_min=5,
        plan=split_into(5, HOUR_S),
    ),
    Scenario(
        "one-way",
        "a third sends what another third does not hear, for ten minutes",
        one_way,
        nodes_min=6,
        plan=one_way_plan,
    ),
    Scenario(
        "flapping", "links come and go for five minutes", flapping, nodes_min=3, plan=flapping_plan
    ),
)
