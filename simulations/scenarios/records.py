"""What hosts say besides that they live: routes, revocations, and kinds of another time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gossip.config import GossipConfig
from gossip.records import RecordKind
from simulations.checkers import NothingIsRefused
from simulations.cluster import Cluster, Host
from simulations.gossiper import Gossiper, gossip_cluster
from simulations.machine import Machine
from simulations.measures import Infection
from simulations.network import Network
from simulations.plan import Fault
from simulations.run import Run, Scenario
from simulations.scenarios.steps import (
    boot,
    chosen,
    gossiper,
    judge_routes,
    network_of,
    offer_routes,
    publish,
    shuffled,
    victims,
)
from simulations.versions import FUTURE_KIND, FUTURE_REASONS, NextVersion
from simulations.world import World

SPLIT_S = 120.0
REVOKED_99_LIMIT_S = 3.0
HEALED_LIMIT_S = 30.0
UPGRADE_EVERY_S = 4.0
UPGRADE_S = 2.0


def withdrawal_plan(run: Run) -> Sequence[Fault]:
    """Two halves are apart while routes are withdrawn; some hosts come back with old disks."""
    return [
        Fault("split", shuffled(run), 0.0, SPLIT_S, 2),
        Fault("crash-old", victims(run, 0.2), 60.0, 20.0),
        Fault("crash", victims(run, 0.2), 80.0, 60.0),
    ]


def withdrawal(run: Run) -> None:
    """What is withdrawn in one half is gone in both when they meet, though disks remember it."""
    grants = {host.number: (network_of(host),) for host in run.hosts}
    routers = judge_routes(run, grants)
    boot(run)
    offer_routes(run, grants)
    run.endure(10.0)
    for host in run.hosts:
        run.cluster.back_up(host)
    run.strike()
    run.endure(30.0)
    gone = chosen(run, victims(run, 0.5))
    for host in gone:
        run.cluster.act(host, partial(_withdraw, host))
    run.endure(SPLIT_S)
    run.heal()
    kept = [
        (host.number, other.number)
        for host in run.cluster.running
        for other in gone
        if routers.best(host, network_of(other).replace("0/24", "1")) is not None
    ]
    run.expect("withdrawn routes stay away", not kept, f"{len(kept)} are still there")


def _withdraw(host: Host, now: float) -> None:
    gossiper(host).protocol.withdraw(RecordKind.ROUTES, now)


def revocation_plan(run: Run) -> Sequence[Fault]:
    """Two halves are apart, some hosts restart, and who revoked is gone for good."""
    return [
        Fault("split", shuffled(run), 0.0, SPLIT_S, 2),
        Fault("crash", victims(run, 0.2), 20.0, 30.0),
        Fault("crash", (0,), 30.0, final=True),
    ]


def revocation(run: Run) -> None:
    """A list reaches all in seconds, and one that is made in a split all when that is healed."""
    boot(run)
    run.world.run_for(20.0)
    issuer = run.hosts[0]
    first = publish(run, issuer, RecordKind.REVOCATIONS, b"serial 1")
    infection = Infection(run.cluster, first.subject, first.kind, first.sequence)
    infection.times[issuer.number] = 0.0
    run.cluster.observers.append(infection)
    run.world.run_for(10.0)
    reached = infection.within(run.cluster.running, 0.99)
    run.target("a revocation reaches 99 %", reached, REVOKED_99_LIMIT_S, "s")
    run.series["revocation, share by seconds"] = infection.curve()
    run.strike()
    second = publish(run, issuer, RecordKind.REVOCATIONS, b"serials 1, 2")
    run.endure(SPLIT_S)
    begun = run.world.now
    run.world.run_until(
        lambda: all(_holds(host, issuer, second.sequence) for host in run.cluster.running),
        begun + HEALED_LIMIT_S + 1.0,
    )
    took = run.world.now - begun
    run.target("one made in a split is everywhere after it", took, HEALED_LIMIT_S, "s")
    run.heal()
    ignorant = [h.number for h in run.cluster.running if not _holds(h, issuer, second.sequence)]
    run.expect("it outlives its issuer", not ignorant, f"{len(ignorant)} lack it")


def _holds(host: Host, issuer: Host, sequence: int) -> bool:
    record = gossiper(host).protocol.record(issuer.identity, RecordKind.REVOCATIONS)
    return record is not None and record.sequence >= sequence


def upgraded_cluster(world: World, network: Network, nodes: int, config: GossipConfig) -> Cluster:
    """Hosts that run the next version of the protocol from their second boot on."""
    cluster = gossip_cluster(world, network, nodes, config)
    present = cluster.make

    def make(host: Host) -> Machine:
        machine = present(host)
        if host.boots < 2 or not isinstance(machine, Gossiper):
            return machine
        rng = world.stream(f"next version/{host.number}/{host.boots}")
        return NextVersion(machine, host.number, machine.directory, rng)

    cluster.make = make
    return cluster


def upgrade_plan(run: Run) -> Sequence[Fault]:
    """One host after another stops for two seconds, in order or not."""
    return [
        Fault(run.rng.choice(("crash", "leave")), (number,), place * UPGRADE_EVERY_S, UPGRADE_S)
        for place, number in enumerate(shuffled(run))
    ]


def upgrade(run: Run) -> None:
    """Old and new hosts are one mesh all the time; what is new is kept, or refused and counted."""
    for checker in run.checkers:
        if isinstance(checker, NothingIsRefused):
            checker.tolerated = FUTURE_REASONS
    boot(run)
    run.strike()
    run.endure(len(run.hosts) // 2 * UPGRADE_EVERY_S + UPGRADE_S + 1.0)
    run.agree_within("half are of the next version, and all agree", 0.5)
    settled = [h for h in run.cluster.running if run.cluster.undisturbed_s(h) > UPGRADE_EVERY_S]
    old = [host for host in settled if host.boots < 2]
    new = [host for host in settled if host.boots >= 2]
    known = [
        gossiper(host).protocol.record(other.identity, FUTURE_KIND) is not None
        for host in old
        for other in new
    ]
    run.expect("records of a new kind are passed on", all(known), f"{sum(known)} of {len(known)}")
    refused = [gossiper(host).protocol.statistics().refused for host in old]
    counted = sum(seen.get(reason, 0) for seen in refused for reason in FUTURE_REASONS)
    run.expect("messages of a new kind are counted", counted > 0, f"{counted} refused")
    run.endure(len(run.hosts) * UPGRADE_EVERY_S)


SCENARIOS = (
    Scenario(
        "withdrawal",
        "routes are withdrawn in a split, disks remember them",
        withdrawal,
        plan=withdrawal_plan,
        nodes_min=6,
    ),
    Scenario(
        "revocation",
        "revocations reach all, over splits and restarts",
        revocation,
        plan=revocation_plan,
        nodes_min=6,
    ),
    Scenario(
        "upgrade",
        "one host after another gets the next protocol version",
        upgrade,
        build=upgraded_cluster,
        plan=upgrade_plan,
        nodes=24,
        nodes_min=4,
    ),
)
