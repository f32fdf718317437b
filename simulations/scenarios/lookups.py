"""Partial views: everyone keeps a few neighbours, and finds the others by lookup.

Each host owns its id and one more key, as by the name in a certificate (`FakeAuthority.keys`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from gossip.config import GossipConfig
from gossip.events import LookupDone
from gossip.records import RecordKind
from simulations.adversaries import Sybil, corrupt
from simulations.cluster import Cluster, Host, Observer
from simulations.conditions import Conditions
from simulations.gossiper import gossip_cluster
from simulations.machine import Seen
from simulations.measures import share_within
from simulations.network import Network
from simulations.plan import Fault
from simulations.run import SEEDS, Run, Scenario
from simulations.scenarios.steps import gossiper, publish, victims
from simulations.settled import start_partial
from simulations.world import World

NODES_MAX = 16384
SMALL = replace(GossipConfig.lan(), full_view=8, active_view=6, refresh_interval=60.0)
"""Partial views where there are few hosts."""

WIDE = replace(GossipConfig.wan(), full_view=200)
"""The same where there are many."""

JOIN_PACE = 50.0
"""Hosts that start in a second."""
SETTLE_S = 30.0
LOOKUPS_MAX = 300
LOOKUP_LIMIT_S = 2.0
LOOKUP_WAIT_S = 10.0
LOOKUPS_EVERY_S = 0.05
NOTICE_S = 90.0
IDLE_BYTES = 400.0
SYBILS = 12
"""The hosts whose ids are closest to a victim's key: of the 16 that keep it, so many are bad."""


@dataclass(slots=True)
class _Search:
    begun: float
    subject: Host
    found: bool = False
    hops: int = 0
    took_s: float = float("inf")


class Searches(Observer):
    """Lookups under way, and what came of them."""

    def __init__(self, run: Run) -> None:
        self.all: list[_Search] = []
        self._run = run
        self._open: dict[tuple[int, bytes], list[_Search]] = {}

    def ask(self, host: Host, key: bytes, subject: Host) -> None:
        """Let a host look a key up that is its subject's."""
        search = _Search(self._run.world.now, subject)
        self._open.setdefault((host.number, key), []).append(search)
        self.all.append(search)
        self._run.cluster.act(host, partial(gossiper(host).protocol.lookup, key))

    def saw(self, host: Host, seen: Seen) -> None:
        """Note an answer: it must hold the subject's MEMBER record. It answers all who wait."""
        if not isinstance(seen, LookupDone):
            return
        held = {(record.subject, record.kind) for record in seen.records}
        for search in self._open.pop((host.number, seen.key), []):
            search.took_s, search.hops = self._run.world.now - search.begun, seen.hops
            search.found = (search.subject.identity, RecordKind.MEMBER) in held


def key_of(host: Host) -> bytes:
    """The key that a host owns besides its id: as spread as ids are, and unlike its own."""
    return bytes(reversed(host.identity))


def gather(run: Run) -> None:
    """Start all, some each second, until every view is right; each then announces its key."""
    for number, host in enumerate(run.hosts):
        run.world.after(number / JOIN_PACE, partial(run.start, host))
    run.world.run_for(len(run.hosts) / JOIN_PACE + 5.0)
    run.agree_within("all have neighbours", NOTICE_S)
    announce(run)


def gather_settled(run: Run) -> None:
    """Start all as if they had long been up, with partial views and keys that are announced."""
    start_partial(run.cluster, key_of)
    run.world.run_for(SETTLE_S)
    run.agree_within("all have neighbours", NOTICE_S)
    note_views(run)


def announce(run: Run) -> None:
    """Let every host own a key, and tell those who keep it."""
    for host in run.cluster.running:
        publish(run, host, RecordKind.CERTIFICATE, key_of(host))
        run.cluster.act(host, partial(_announce, host))
    run.world.run_for(SETTLE_S)
    note_views(run)


def note_views(run: Run) -> None:
    """See that nobody knows everyone, and nobody keeps more neighbours than allowed."""
    narrow = [host for host in run.cluster.running if gossiper(host).is_partial]
    run.figures["partial views"] = len(narrow)
    count, running = len(narrow), len(run.cluster.running)
    run.expect("every view is partial", count == running, f"{count} of {running}")
    most = max(len(gossiper(host).protocol.neighbours()) for host in run.cluster.running)
    run.target("neighbours of a host", most, run.config.active_view, "")


def _announce(host: Host, now: float) -> None:
    gossiper(host).protocol.announce([key_of(host)], now)


def look_up(run: Run, name: str, subjects: Sequence[Host]) -> None:
    """Random honest hosts look up the ids and keys of these; all must be found, and soon."""
    searches = Searches(run)
    run.cluster.observers.append(searches)
    askers = [host for host in run.cluster.running if host.honest]
    for subject in subjects[:LOOKUPS_MAX]:
        asker = run.rng.choice([host for host in askers if host is not subject])
        key = run.rng.choice((bytes(subject.identity), key_of(subject)))
        searches.ask(asker, key, subject)
        run.world.run_for(LOOKUPS_EVERY_S)
    run.world.run_for(LOOKUP_WAIT_S)
    run.cluster.observers.remove(searches)
    times = [search.took_s for search in searches.all]
    found = sum(search.found for search in searches.all)
    run.expect(f"{name}: every key is found", found == len(times), f"{found} of {len(times)}")
    run.target(f"{name}: 99 % within", share_within(times, 0.99), LOOKUP_LIMIT_S, "s")
    run.figures[f"{name}: hops"] = round(
        sum(search.hops for search in searches.all) / max(1, len(times)), 2
    )
    run.series[f"{name}: lookup s"] = sorted(round(time, 3) for time in times)


def sample(run: Run) -> list[Host]:
    """Honest hosts that run, in random order."""
    hosts = [host for host in run.cluster.running if host.honest]
    run.rng.shuffle(hosts)
    return hosts


def narrow_plan(run: Run) -> Sequence[Fault]:
    """A tenth is killed at once."""
    return [Fault("crash", victims(run, 0.1))]


def narrow(run: Run) -> None:
    """Nobody knows everyone, and still everyone is found: before, during and after a crash."""
    gather(run)
    find(run)


def find(run: Run) -> None:
    """Silence, then lookups: at rest, after a crash, and when all are back."""
    run.measure_traffic(SETTLE_S)
    look_up(run, "at rest", sample(run))
    run.strike()
    # Each of its neighbours is probed once in so many periods; then it is suspected for a while.
    turn_s = run.config.active_view * run.config.probe_period
    run.agree_within("the crashed are no one's neighbours", turn_s + 2 * run.suspicion_s)
    look_up(run, "after a crash", sample(run))
    run.heal()
    run.world.run_for(SETTLE_S)
    look_up(run, "when all are back", sample(run))


def many(run: Run) -> None:
    """The same of many, from a settled start; silence costs each what it does among few."""
    gather_settled(run)
    find(run)
    run.target("idle gossip per node", run.figures["idle bytes/s"], IDLE_BYTES, "B/s")


def sybil(run: Run) -> None:
    """Bad hosts are the closest to a victim's key: they keep nothing, and tell of each other."""
    gather(run)
    victim = run.hosts[0]
    searches = [victim] * min(40, len(run.hosts))
    look_up(run, "the victim's key", searches)
    look_up(run, "everyone else's", [host for host in sample(run) if host is not victim])
    evil = [host.machine for host in run.hosts if isinstance(host.machine, Sybil)]
    run.figures["attacks"] = sum(machine.harm for machine in evil)
    run.expect("there was an attack", run.figures["attacks"] > 0, "it is counted")


def besieged_cluster(world: World, network: Network, nodes: int, config: GossipConfig) -> Cluster:
    """Hosts of which those closest to the first one's id, and to its key, are adversaries."""
    cluster = gossip_cluster(world, network, nodes, config)
    victim = cluster.hosts[0]
    count = min(SYBILS, nodes // 8)
    evil: dict[int, bool] = {}
    for key in (bytes(victim.identity), key_of(victim)):
        far = int.from_bytes(key, "big")
        close = sorted(
            cluster.hosts[SEEDS:], key=lambda host: int.from_bytes(host.identity, "big") ^ far
        )
        evil.update((host.number, True) for host in close[:count])
    fellows = tuple(sorted(evil))
    corrupt(cluster, partial(Sybil, fellows), fellows)
    return cluster


def _scenario(
    name: str,
    summary: str,
    nodes: int,
    config: GossipConfig,
    conditions: Conditions,
    play: Callable[[Run], None] = narrow,
    on_demand: bool = False,
) -> Scenario:
    return Scenario(
        name,
        summary,
        play,
        conditions,
        nodes=nodes,
        nodes_min=20,
        nodes_max=NODES_MAX,
        config=config,
        plan=narrow_plan,
        on_demand=on_demand,
    )


SCENARIOS = (
    _scenario(
        "partial-view",
        "everyone keeps a few neighbours and finds the others by lookup",
        64,
        SMALL,
        Conditions(),
    ),
    _scenario(
        "partial-view-10000",
        "the same among 10,000 nodes over the world",
        10_000,
        WIDE,
        Conditions.wan(),
        many,
        on_demand=True,
    ),
    Scenario(
        "sybil",
        "bad hosts sit around a victim's key and hide it",
        sybil,
        build=besieged_cluster,
        nodes=64,
        nodes_min=20,
        config=SMALL,
    ),
)
