"""Who is there: booting, joining, crashing, leaving, coming back.

The limits are for the defaults of `GossipConfig.lan`; the docstrings say what they rest on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gossip.events import MemberDown
from simulations.gossiper import start_settled
from simulations.measures import DeathCount, Verdicts
from simulations.network import Conditions
from simulations.plan import Fault
from simulations.run import SEEDS, Run, Scenario
from simulations.scenarios.steps import (
    BOOT_SPREAD_S,
    JOIN_LIMIT_S,
    LEAVE_LIMIT_S,
    boot,
    chosen,
    start_all,
    victims,
)

LOSSY_JOIN_LIMIT_S = 60.0
LOSSY = Conditions(loss=0.10, duplicate=0.02, reorder=0.05)
CHURN_S = 600.0
CHURN_AWAY_S = 90.0
RESTART_S = 5.0


def cold_boot(run: Run) -> None:
    """All start at once; then nothing happens, and nothing must seem to happen."""
    boot(run)
    run.measure_traffic(60.0)


def mass_join(run: Run) -> None:
    """A mesh of half the hosts is at rest; the other half joins within a second."""
    half = len(run.hosts) // 2
    start_all(run, run.hosts[:half], BOOT_SPREAD_S)
    run.agree_within("the first half joins", JOIN_LIMIT_S)
    run.world.run_for(30.0)
    start_all(run, run.hosts[half:], BOOT_SPREAD_S)
    run.agree_within("the second half joins", JOIN_LIMIT_S)


def crash_of(share: float) -> Callable[[Run], Sequence[Fault]]:
    """The plan in which this share of the hosts, at least one, is killed at once."""
    return lambda run: [Fault("crash", victims(run, share))]


def crash(run: Run) -> None:
    """Some are killed. Noticing takes a probe or two and the suspicion, then gossip."""
    boot(run)
    killed = [host.identity for fault in run.plan.values() for host in chosen(run, fault.hosts)]
    noticed = Verdicts(run.cluster, killed, MemberDown)
    run.cluster.observers.append(noticed)
    run.strike()
    run.agree_within("all notice the crash", 1.5 * run.suspicion_s + 10.0)
    run.series["detection s"] = sorted(noticed.delays)
    run.world.run_for(10.0)
    run.heal()
    run.measure_traffic(20.0)


def lossy_join(run: Run) -> None:
    """SWIM's own hard case: joining while a tenth of all datagrams is lost, some late or twice."""
    deaths = DeathCount()
    run.cluster.observers.append(deaths)
    for host in run.hosts:
        run.start(host)
        run.world.run_for(0.2)
    run.agree_within("all join", LOSSY_JOIN_LIMIT_S)
    run.measure_traffic(60.0)
    run.figures["verdicts of death"] = deaths.deaths


def leave_plan(run: Run) -> Sequence[Fault]:
    """An eighth says goodbye."""
    return [Fault("leave", victims(run, 1 / 8))]


def leave_rejoin(run: Run) -> None:
    """Leaving in order needs no suspicion; they come back with what their disks hold."""
    boot(run)
    run.strike()
    run.agree_within("all see them leave", LEAVE_LIMIT_S)
    gone = {host.identity: host for host in run.hosts if host.machine is None}
    states = [
        host.machine.states().get(identity)
        for host in run.cluster.running
        if host.machine is not None
        for identity in gone
    ]
    left = states.count("left")
    run.expect("they left, not died", left == len(states), f"{left} of {len(states)} views")
    run.world.run_for(30.0)
    run.heal(JOIN_LIMIT_S)
    run.measure_traffic(20.0)


def churn_plan(run: Run) -> Sequence[Fault]:
    """Of a hundred hosts one goes every minute, killed or in order, and comes back later."""
    pace = 60.0 / max(1.0, len(run.hosts) / 100)
    times = [number * pace for number in range(int(CHURN_S / pace))]
    kinds = ("crash", "leave")
    return [Fault(run.rng.choice(kinds), victims(run, 0.0), at, CHURN_AWAY_S) for at in times]


def churn(run: Run) -> None:
    """1 % a minute, for ten minutes: those who stay never doubt each other to death."""
    boot(run)
    run.strike()
    run.endure(CHURN_S + CHURN_AWAY_S)


def restart_plan(run: Run) -> Sequence[Fault]:
    """Every host is killed at one instant, and all are back five seconds later."""
    return [Fault("crash", tuple(host.number for host in run.hosts), 0.0, RESTART_S)]


def restart_all(run: Run) -> None:
    """As after a power cut: everyone restarts with what its disk holds, together."""
    start_settled(run.cluster)
    run.world.run_for(10.0)
    run.strike()
    run.endure(RESTART_S)
    run.agree_within("all are back", 4 * JOIN_LIMIT_S)
    run.measure_traffic(20.0)


def seed_loss_plan(run: Run) -> Sequence[Fault]:
    """The seeds die for good; a fifth of the others is restarted after that."""
    rest = [host.number for host in run.hosts[SEEDS:]]
    again = tuple(run.rng.sample(rest, max(1, len(rest) // 5)))
    seeds = tuple(host.number for host in run.hosts[:SEEDS])
    return [Fault("crash", seeds, final=True), Fault("crash", again, 60.0, 60.0)]


def seed_loss(run: Run) -> None:
    """Who restarts while the seeds are gone comes back by what its disk holds."""
    boot(run)
    run.world.run_for(10.0)
    run.strike()
    run.endure(120.0)
    run.agree_within("all go on without the seeds", 1.5 * run.suspicion_s)


SCENARIOS = (
    Scenario("cold-boot", "all hosts start within a second, then rest", cold_boot),
    Scenario("mass-join", "half of the hosts join the other half within a second", mass_join),
    Scenario("crash", "a tenth is killed and restarted", crash, plan=crash_of(0.10)),
    Scenario("crash-1", "one of a hundred is killed and restarted", crash, plan=crash_of(0.01)),
    Scenario("crash-50", "half of the hosts are killed and restarted", crash, plan=crash_of(0.5)),
    Scenario("lossy-join", "hosts join while 10 % of datagrams are lost", lossy_join, LOSSY),
    Scenario(
        "leave-rejoin", "an eighth leaves in order and comes back", leave_rejoin, plan=leave_plan
    ),
    Scenario("churn", "1 % of the hosts go and come every minute", churn, plan=churn_plan),
    Scenario(
        "restart-all", "everyone is killed and restarts together", restart_all, plan=restart_plan
    ),
    Scenario(
        "seed-loss",
        "the seeds are gone for good, some restart",
        seed_loss,
        plan=seed_loss_plan,
        nodes_min=4,
    ),
)
