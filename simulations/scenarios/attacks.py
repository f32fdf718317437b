"""Insiders who attack: honest hosts must keep all that they keep without them.

One in sixteen hosts is an adversary (see `simulations.adversaries`). All checkers judge the honest
ones; a tenth of those is killed meanwhile, and must be noticed as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from gossip.config import GossipConfig
from simulations.adversaries import (
    Accuser,
    Adversary,
    Babbler,
    Equivocator,
    Forger,
    Hijacker,
    Jumper,
    Liar,
    MakeAdversary,
    Replayer,
    corrupt,
)
from simulations.cluster import Cluster
from simulations.gossiper import gossip_cluster
from simulations.network import Network
from simulations.plan import Fault
from simulations.run import SEEDS, BuildCluster, Run, Scenario
from simulations.scenarios.steps import boot, gossiper, judge_routes, network_of, offer_routes
from simulations.world import World

SHARE = 16
ATTACK_S = 60.0
NOTICE_S = 30.0
NODES_MIN = 6
CALM_S = 120.0
"""Time for coordinates to settle, if there are few."""
ERROR_MAX = 0.25
"""The share of a round trip by which coordinates may misjudge it."""


def adversaries(nodes: int) -> list[int]:
    """The numbers of those who attack: every sixteenth, at least one, no seed."""
    return list(range(SEEDS, nodes, SHARE))


def attacked_by(make: MakeAdversary) -> BuildCluster:
    """Hosts that run gossip, with adversaries among them."""

    def build(world: World, network: Network, nodes: int, config: GossipConfig) -> Cluster:
        cluster = gossip_cluster(world, network, nodes, config)
        corrupt(cluster, make, adversaries(nodes))
        return cluster

    return build


def plan(run: Run) -> Sequence[Fault]:
    """A tenth of the honest hosts, at least one, is killed in the middle of the attack."""
    honest = [host.number for host in run.hosts[SEEDS:] if host.honest]
    killed = run.rng.sample(honest, max(1, len(honest) // 10))
    return [Fault("crash", tuple(killed), ATTACK_S / 2)]


def attack(run: Run) -> None:
    """Under attack all meet, nobody is taken for dead who lives, and who dies is noticed."""
    boot(run)
    suffer(run)


def hijack(run: Run) -> None:
    """Everyone offers a network of its own; adversaries offer others' networks, and all of them."""
    grants = {host.number: (network_of(host),) for host in run.hosts}
    routers = judge_routes(run, grants)
    boot(run)
    offer_routes(run, grants)
    suffer(run)
    stray = [
        host.number
        for host in run.cluster.running
        if host.honest and routers.best(host, "192.0.2.1") is not None
    ]
    run.expect("nobody takes an exit that is none", not stray, f"{len(stray)} hosts do")


def lie(run: Run) -> None:
    """Liars pull at everyone's coordinates; those of honest hosts must still tell round trips."""
    boot(run)
    liars = [host.machine for host in run.hosts if isinstance(host.machine, Adversary)]
    for liar in liars:
        liar.resting = True
    run.endure(CALM_S)
    before = misjudged(run)
    for liar in liars:
        liar.resting = False
    suffer(run)
    run.figures["median error before"] = round(before, 3)
    run.target("median error of honest round trips", misjudged(run), ERROR_MAX, "")


def misjudged(run: Run) -> float:
    """The median share by which coordinates misjudge round trips that honest hosts measured.

    1, as if they told nothing, where none was measured.
    """
    errors = [
        abs((protocol.distance(member.id) or 0.0) - member.rtt) / member.rtt
        for host in run.cluster.running
        if host.honest
        for protocol in (gossiper(host).protocol,)
        for member in protocol.members()
        if member.rtt and run.cluster.by_identity[member.id].honest
    ]
    return median(errors) if errors else 1.0


def suffer(run: Run) -> None:
    """Let the attack go on, with a crash in it; count what it came to."""
    run.strike()
    run.endure(ATTACK_S)
    run.agree_within("all notice the crash", 1.5 * run.suspicion_s + NOTICE_S)
    evil = [host.machine for host in run.hosts if isinstance(host.machine, Adversary)]
    run.figures["attacks"] = sum(machine.harm for machine in evil)
    run.expect("there was an attack", run.figures["attacks"] > 0, "it is counted")
    honest = [gossiper(host).protocol for host in run.cluster.running if host.honest]
    statistics = [protocol.statistics() for protocol in honest]
    run.figures["refused"] = sum(sum(seen.refused.values()) for seen in statistics)
    run.figures["equivocations seen"] = sum(seen.equivocations for seen in statistics)
    run.figures["refutations"] = sum(seen.refutations for seen in statistics)


def _scenario(
    name: str, summary: str, make: MakeAdversary, play: Callable[[Run], None] = attack
) -> Scenario:
    return Scenario(name, summary, play, build=attacked_by(make), nodes_min=NODES_MIN, plan=plan)


SCENARIOS = (
    _scenario("replay", "adversaries send again what they once were sent", Replayer),
    _scenario("forgery", "adversaries write records in others' names", Forger),
    _scenario("jump", "adversaries accuse, and claim, sequences far ahead", Jumper),
    _scenario("equivocation", "adversaries say one thing here and another there", Equivocator),
    _scenario("accusations", "adversaries say of everyone that they are dead", Accuser),
    _scenario("babble", "adversaries send noise, and messages cut or changed", Babbler),
    _scenario("liars", "adversaries say that they lie elsewhere than they do", Liar, lie),
    _scenario("hijack", "adversaries offer routes that are not theirs", Hijacker, hijack),
)
