"""A thousand nodes over the world, with `GossipConfig.wan`: what is promised, and what is reached.

Round trips have a median of 80 ms. The mesh is settled from the start: everyone knows everyone.
"""

from __future__ import annotations

from collections.abc import Sequence

from gossip.config import GossipConfig
from gossip.events import MemberDown, MemberUp
from gossip.records import RecordKind
from simulations.conditions import Conditions
from simulations.gossiper import start_settled
from simulations.measures import DeathCount, Infection, Verdicts
from simulations.plan import Fault
from simulations.run import Run, Scenario
from simulations.scenarios.steps import HEAL_LIMIT_S, HOUR_S, publish, shuffled, victims

NODES = 1000
RUMOURS = 5
SETTLE_S = 30.0
RUMOUR_S = 15.0
IDLE_S = 120.0

INFORMED_99_S, INFORMED_ALL_S = 2.0, 3.0
CRASH_ALL_S = 32.0
JOIN_99_S = 3.0
IDLE_BYTES = 400.0
SOAK_S = 1200.0
DAY_S = 86400.0
SOAK_LOSS = 0.05


def settled(run: Run, spare: int = 0) -> None:
    """Everyone is up and knows everyone, but for the last `spare` hosts."""
    hosts = run.hosts[: len(run.hosts) - spare]
    start_settled(run.cluster, hosts=hosts)
    run.world.run_for(SETTLE_S)


def wide(run: Run) -> None:
    """A rumour, a join, a crash and silence, one after another, each against its target."""
    settled(run, spare=1)
    _rumours(run)
    _join(run)
    _crash(run)
    run.world.run_for(SETTLE_S)
    run.measure_traffic(IDLE_S)
    run.target("idle gossip per node", run.figures["idle bytes/s"], IDLE_BYTES, "B/s")


def _rumours(run: Run) -> None:
    """Records of random hosts, one at a time: when 99 % and all others have them."""
    most, everyone = [], []
    for teller in run.rng.sample(run.hosts[:-1], min(RUMOURS, len(run.hosts) - 1)):
        record = publish(run, teller, RecordKind.ROUTES, b"10.0.0.0/24")
        infection = Infection(run.cluster, record.subject, record.kind, record.sequence)
        infection.note(teller)
        run.cluster.observers.append(infection)
        run.world.run_for(RUMOUR_S)
        run.cluster.observers.remove(infection)
        most.append(infection.within(run.cluster.running, 0.99))
        everyone.append(infection.within(run.cluster.running, 1.0))
        run.series["infection, share by seconds"] = infection.curve()
    run.series["99 % informed s"], run.series["all informed s"] = most, everyone
    run.target("99 % informed, the slowest", max(most), INFORMED_99_S, "s")
    run.target("all informed, the slowest", max(everyone), INFORMED_ALL_S, "s")


def _join(run: Run) -> None:
    """The last host joins by two seeds: when 99 % of the others see it."""
    joiner = run.hosts[-1]
    sights = Verdicts(run.cluster, [joiner.identity], MemberUp)
    run.cluster.observers.append(sights)
    run.start(joiner)
    run.agree_within("the joiner and all others meet", 60.0)
    run.cluster.observers.remove(sights)
    others = [host for host in run.cluster.running if host is not joiner]
    run.target("join known to 99 %", sights.within(others, 0.99), JOIN_99_S, "s")
    run.series["join, share by seconds"] = sights.curve()


def _crash(run: Run) -> None:
    """One host is killed: when all others have declared it dead."""
    killed = [run.hosts[number].identity for number in victims(run, 0.0)]
    sights = Verdicts(run.cluster, killed, MemberDown)
    run.cluster.observers.append(sights)
    run.cluster.crash(run.cluster.by_identity[killed[0]])
    run.agree_within("all notice the crash", 2 * CRASH_ALL_S)
    run.cluster.observers.remove(sights)
    run.target("crash known to all", sights.within(run.cluster.running, 1.0), CRASH_ALL_S, "s")
    run.series["detection s"] = sorted(sights.delays)


def split_plan(run: Run) -> Sequence[Fault]:
    """Two halves are apart for an hour."""
    return [Fault("split", shuffled(run), 0.0, HOUR_S, 2)]


def split(run: Run) -> None:
    """An hour apart, all hold the other half for dead; then nobody helps them to meet."""
    settled(run)
    run.strike()
    run.endure(HOUR_S - 1.0)
    run.heal(2 * HEAL_LIMIT_S)
    run.target("split healed", run.figures["recovery s"], HEAL_LIMIT_S, "s")


def soak_for(run: Run, seconds: float) -> None:
    """Nothing happens but that datagrams are lost: no healthy node may be taken for dead."""
    deaths = DeathCount()
    run.cluster.observers.append(deaths)
    settled(run)
    run.measure_traffic(min(seconds, run.options.until))
    run.target("false positives at healthy nodes", deaths.deaths, 0, "")
    run.target("gossip per node", run.figures["idle bytes/s"], IDLE_BYTES, "B/s")


def soak(run: Run) -> None:
    """Twenty minutes of it."""
    soak_for(run, SOAK_S)


def soak_day(run: Run) -> None:
    """A day of it."""
    soak_for(run, DAY_S)


SCENARIOS = (
    Scenario(
        "wan",
        "a rumour, a join, a crash and silence among 1,000 nodes over the world",
        wide,
        Conditions.wan(),
        nodes=NODES,
        nodes_min=4,
        config=GossipConfig.wan(),
        on_demand=True,
    ),
    Scenario(
        "wan-split",
        "1,000 nodes over the world are split in two for an hour",
        split,
        Conditions.wan(),
        nodes=NODES,
        nodes_min=4,
        config=GossipConfig.wan(),
        plan=split_plan,
        on_demand=True,
    ),
    Scenario(
        "soak",
        "20 minutes at 5 % loss over the world: nobody is taken for dead",
        soak,
        Conditions.wan(loss=SOAK_LOSS),
        nodes=64,
        nodes_min=4,
        config=GossipConfig.wan(),
    ),
    Scenario(
        "soak-day",
        "the same among 1,000 nodes for 24 hours",
        soak_day,
        Conditions.wan(loss=SOAK_LOSS),
        nodes=NODES,
        nodes_min=4,
        config=GossipConfig.wan(),
        on_demand=True,
    ),
)
