"""What many scenarios do: bring the hosts up, choose some, wait."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gossip.records import Record, RecordKind
from simulations.adversaries import Adversary
from simulations.cluster import Host
from simulations.gossiper import Gossiper
from simulations.routing import Grants, Routers
from simulations.run import Run

BOOT_SPREAD_S = 1.0
JOIN_LIMIT_S = 15.0
LEAVE_LIMIT_S = 10.0
HEAL_LIMIT_S = 90.0
HOUR_S = 3600.0


def start_all(run: Run, hosts: Sequence[Host], spread_s: float) -> None:
    """Start these hosts in random order, at random instants of `spread_s` seconds."""
    order = list(hosts)
    run.rng.shuffle(order)
    for host in order:
        run.world.after(run.rng.random() * spread_s, partial(run.start, host))
    run.world.run_for(spread_s)


def boot(run: Run, limit_s: float = JOIN_LIMIT_S) -> None:
    """Start all hosts within a second, each knowing the seeds, until all agree.

    A joiner is told everything by a seed and spread by gossip in O(log n) rounds of 0.2 s.
    """
    start_all(run, run.hosts, BOOT_SPREAD_S)
    run.agree_within("all join", limit_s)


def victims(run: Run, share: float) -> tuple[int, ...]:
    """The numbers of this share (0 to 1) of the hosts, at least one, never the first."""
    count = max(1, int(len(run.hosts) * share))
    return tuple(host.number for host in run.rng.sample(run.hosts[1:], count))


def shuffled(run: Run) -> tuple[int, ...]:
    """The numbers of all hosts in random order."""
    order = [host.number for host in run.hosts]
    run.rng.shuffle(order)
    return tuple(order)


def chosen(run: Run, numbers: tuple[int, ...]) -> list[Host]:
    """The hosts with these numbers."""
    return [run.hosts[number] for number in numbers]


def gossiper(host: Host) -> Gossiper:
    """The machine of a host that runs gossip alone, an adversary's too."""
    machine = host.machine
    if isinstance(machine, Adversary):
        machine = machine.inner
    if not isinstance(machine, Gossiper):
        raise TypeError(f"host {host.number} runs no gossip of its own")
    return machine


def network_of(host: Host) -> str:
    """The prefix that is this host's to offer."""
    return f"10.{host.number >> 8}.{host.number & 255}.0/24"


def judge_routes(run: Run, grants: Grants) -> Routers:
    """Let every host install routes, within these grants, and judge what it has."""
    routers = Routers(run.cluster, grants)
    run.cluster.observers.append(routers)
    run.checkers.append(routers)
    return routers


def offer_routes(run: Run, grants: Grants) -> None:
    """Every honest host publishes what it was granted."""
    for number, prefixes in grants.items():
        host = run.hosts[number]
        if host.honest and host.machine is not None:
            publish(run, host, RecordKind.ROUTES, " ".join(prefixes).encode())


def publish(run: Run, host: Host, kind: int, body: bytes) -> Record:
    """Let a host publish a record of its own."""
    made: list[Record] = []
    protocol = gossiper(host).protocol
    run.cluster.act(host, lambda now: made.append(protocol.publish(kind, body, now)))
    return made[0]
