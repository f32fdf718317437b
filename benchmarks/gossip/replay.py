"""One workload twice: in the simulator, and over real UDP in real time. Do they tell the same?

Hosts join, publish records at recorded times, and some crash. The simulator's network has the
latency that is measured here, on loopback, and as much jitter as the real hosts were late by; of
this machine's processors it knows nothing else, so the machine has to be mostly idle. Compared are
the time until a host has a record (every pair of record and host), and until it says that a crashed
host is dead.
"""

from __future__ import annotations

import argparse
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from benchmarks.gossip.agent import Agent, event_in, kind_of, turn
from benchmarks.gossip.directory import Directory, address_of
from benchmarks.gossip.sealing import Sealer
from benchmarks.report import Target, table
from gossip import GossipConfig, MemberDown, RecordChanged
from simulations.cluster import Cluster, Host, Observer
from simulations.conditions import Conditions
from simulations.gossiper import gossip_cluster, gossiper
from simulations.lab.waiting import LabError
from simulations.machine import Seen
from simulations.network import Network
from simulations.world import World

SETTLE_PERIODS: Final = 5
"""Probe periods for joining, before anything happens."""
TAIL_PERIODS: Final = 15
"""Probe periods at the end, for the last crash to be seen."""
PACE: Final = 1.5
"""Gossip intervals between two records: there is always some news, so that rounds go on and the
infection takes rounds, not the processors' microseconds."""
CRASH_PERIODS: Final = 3
"""Probe periods between two crashes."""
DRIFT: Final = 0.02
"""Between the slowest clock and the fastest: so two hosts' rounds meet in every phase, in both
worlds, where those of equal clocks would keep the phase that the first news gave them."""
TOLERANCE: Final = 0.15
UNSEEN: Final = 0.02
"""By how much fewer of the pairs may be seen for real than in the simulator: what never came has no
time, so times alone would not show it. (A record that a newer one replaces is seen by fewer.)"""
PROBES: Final = 400
"""Datagrams that the latency is measured with."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What happens, at seconds after the start. The crashing hosts publish nothing."""

    nodes: int
    records: tuple[tuple[float, int], ...]
    """When, and by whom; a record's number is its place."""
    crashes: tuple[tuple[float, int], ...]
    lasts: float

    @property
    def survivors(self) -> range:
        """The hosts that run from the beginning to the end."""
        return range(self.nodes - len(self.crashes))


@dataclass(slots=True)
class Times:
    """Seconds, a value for each pair of what happened and who saw it."""

    infection: list[float] = field(default_factory=list)
    detection: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Medians and 95th percentiles. Raises LabError where there are too few values."""
        if min(len(self.infection), len(self.detection)) < 2:
            raise LabError("too little was seen: is the machine too slow for so many hosts?")
        return {
            "infection p50, s": statistics.median(self.infection),
            "infection p95, s": statistics.quantiles(self.infection, n=20)[-1],
            "detection p50, s": statistics.median(self.detection),
            "detection p95, s": statistics.quantiles(self.detection, n=20)[-1],
        }


def drift_of(number: int, count: int) -> float:
    """What a host's clock gains, in seconds per second."""
    return DRIFT * (number / count - 0.5)


class Log:
    """Collects what hosts see of a workload, and when."""

    def __init__(self, workload: Workload, began: float) -> None:
        self._workload = workload
        self._began = began
        self._crashed = {number: at for at, number in workload.crashes}
        self._seen: dict[tuple[str, int, int], float] = {}

    def note(self, at: float, observer: int, what: str, subject: int) -> None:
        """`observer` saw this; what it saw before counts."""
        if observer in self._workload.survivors:
            self._seen.setdefault((what, subject, observer), at - self._began)

    def times(self) -> Times:
        """From what happened to who saw it; who published is no observer of its own record."""
        found = Times()
        for (what, subject, observer), at in self._seen.items():
            if what == "event" and observer != self._workload.records[subject][1]:
                found.infection.append(at - self._workload.records[subject][0])
            elif what == "down" and at >= self._crashed.get(subject, float("inf")):
                found.detection.append(at - self._crashed[subject])
        return found


def plan(nodes: int, records: int, crashes: int, config: GossipConfig, seed: int) -> Workload:
    """A workload, by chance."""
    rng = Random(f"workload/{seed}")
    pace = PACE * config.gossip_interval
    apart = CRASH_PERIODS * config.probe_period
    survivors = nodes - crashes
    settle = SETTLE_PERIODS * config.probe_period
    published = tuple(
        (settle + pace * (n + rng.random()), rng.randrange(survivors)) for n in range(records)
    )
    crashed = tuple((settle + apart * (n + rng.random()), survivors + n) for n in range(crashes))
    lasts = max(published[-1][0], crashed[-1][0] + TAIL_PERIODS * config.probe_period)
    return Workload(nodes, published, crashed, lasts + 2.0)


def simulate(
    workload: Workload, config: GossipConfig, latency_s: float, late_s: float, seed: int
) -> Times:
    """The workload under the virtual clock; datagrams take `late_s` longer on the average."""
    world = World(seed)
    conditions = Conditions(latency_s=latency_s, spread_s=0.0, jitter_s=2 * late_s)
    cluster = gossip_cluster(world, Network(world, conditions), workload.nodes, config)
    log = Log(workload, 0.0)
    cluster.observers.append(_Noting(cluster, log))
    for host in cluster.hosts:
        cluster.start(host, cluster.hosts[:1])
        cluster.skew(host, drift=drift_of(host.number, workload.nodes))
    for number, (at, origin) in enumerate(workload.records):
        world.at(at, _publishing(cluster, cluster.hosts[origin], number))
    for at, number in workload.crashes:
        world.at(at, _crashing(cluster, cluster.hosts[number]))
    world.run_for(workload.lasts)
    return log.times()


def run_real(workload: Workload, config: GossipConfig, seed: int) -> tuple[Times, float]:
    """The workload over loopback; also the mean seconds by which deadlines were served late."""
    directory = Directory(workload.nodes, free_endpoints(workload.nodes))
    began = time.monotonic()
    log = Log(workload, began)
    agents = {
        number: Agent(
            number, directory, config, log.note, f"{seed}", drift_of(number, workload.nodes)
        )
        for number in range(workload.nodes)
    }
    happens = sorted(
        [(at, "publish", origin, number) for number, (at, origin) in enumerate(workload.records)]
        + [(at, "crash", number, 0) for at, number in workload.crashes]
    )
    lateness: list[float] = []
    with selectors.DefaultSelector() as selector:
        for agent in agents.values():
            selector.register(agent.socket, selectors.EVENT_READ, agent.on_readable)
        for number in range(1, workload.nodes):
            agents[number].join([0])
        while (now := time.monotonic() - began) < workload.lasts:
            while happens and happens[0][0] <= now:
                at, what, number, event = happens.pop(0)
                lateness.append(now - at)
                if what == "publish":
                    agents[number].publish(event)
                else:
                    selector.unregister(agents[number].socket)
                    agents.pop(number).close()
            until = happens[0][0] if happens else workload.lasts
            turn(selector, list(agents.values()), began + until)
        for agent in agents.values():
            agent.close()
    return log.times(), statistics.mean(lateness)


def free_endpoints(count: int) -> list[tuple[str, int]]:
    """Loopback addresses with one port that is free on the first of them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address_of(0, count), 0))
        port = probe.getsockname()[1]
    return [(address_of(number, count), port) for number in range(count)]


def measure_latency() -> float:
    """The median seconds of a sealed datagram from one socket here to another, opened."""
    sealers = Sealer(0, 2), Sealer(1, 2)
    times = []
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as left,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as right,
    ):
        right.bind(("127.0.0.1", 0))
        right.settimeout(1.0)
        for _ in range(PROBES):
            began = time.perf_counter()
            left.sendto(sealers[0].seal(1, bytes(300)), right.getsockname())
            sealers[1].open(right.recv(2048))
            times.append(time.perf_counter() - began)
    return statistics.median(times)


class _Noting(Observer):
    def __init__(self, cluster: Cluster, log: Log) -> None:
        self._cluster = cluster
        self._log = log

    def saw(self, host: Host, seen: Seen) -> None:
        now = self._cluster.world.now
        if isinstance(seen, MemberDown):
            self._log.note(now, host.number, "down", self._cluster.by_identity[seen.id].number)
        elif isinstance(seen, RecordChanged) and (event := event_in(seen.record)) is not None:
            self._log.note(now, host.number, "event", event)


def _publishing(cluster: Cluster, host: Host, number: int) -> Callable[[], None]:
    def publish(now: float) -> None:
        gossiper(host).protocol.publish(kind_of(number), number.to_bytes(4, "big"), now)

    return lambda: cluster.act(host, publish)


def _crashing(cluster: Cluster, host: Host) -> Callable[[], None]:
    return lambda: cluster.crash(host)


def seen_less(real: Sequence[Times], virtual: Sequence[Times], what: str) -> float:
    """Of the pairs that the simulator sees, the part that is not seen for real; 0 if none is."""
    here, there = (
        statistics.mean(len(getattr(times, what)) for times in runs) for runs in (real, virtual)
    )
    return max(0.0, 1 - here / there)


def pooled(all_times: Sequence[Times]) -> Times:
    """Several runs as one."""
    return Times(
        [value for times in all_times for value in times.infection],
        [value for times in all_times for value in times.detection],
    )


def main(argv: Sequence[str]) -> tuple[dict[str, object], list[Target]]:
    """Run both, print the table, and return the JSON's content and the targets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks replay", description=__doc__)
    parser.add_argument("--nodes", type=int, default=32)
    parser.add_argument("--records", type=int, default=100)
    parser.add_argument("--crashes", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2, help="workloads, each run in real time")
    parser.add_argument("--simulated", type=int, default=6, help="seeds for each workload")
    options = parser.parse_args(argv)
    if not 2 <= options.crashes < options.nodes // 2 or min(options.rounds, options.simulated) < 1:
        raise LabError("--crashes takes 2 to half of --nodes, --rounds and --simulated 1 or more")
    # The slower profile: what a processor is late by weighs least in its longer intervals.
    config = GossipConfig.wan()
    latency = measure_latency()
    real, virtual, late = list[Times](), list[Times](), list[float]()
    for seed in range(options.rounds):
        workload = plan(options.nodes, options.records, options.crashes, config, seed)
        print(f"round {seed + 1}: {workload.lasts:.0f} s in real time", file=sys.stderr)
        times, lateness = run_real(workload, config, seed)
        real.append(times)
        late.append(lateness)
        for other in range(options.simulated):
            virtual.append(simulate(workload, config, latency, lateness, 1000 * seed + other))
    found, expected = pooled(real).figures(), pooled(virtual).figures()
    rows = [
        [name, f"{found[name]:.3f}", f"{expected[name]:.3f}", f"{found[name] / expected[name]:.3f}"]
        for name in found
    ]
    print(table(["", "real", "simulated", "ratio"], rows))
    print(f"latency {latency * 1e6:.0f} us; served late by {statistics.mean(late) * 1e3:.1f} ms")
    targets = [
        Target(
            f"{name} off the simulator's by", abs(found[name] / expected[name] - 1), most=TOLERANCE
        )
        for name in found
    ]
    targets += [
        Target(
            f"{what} unseen, of what the simulator sees",
            seen_less(real, virtual, what),
            most=UNSEEN,
        )
        for what in ("infection", "detection")
    ]
    content: dict[str, object] = {"real": found, "simulated": expected, "latency_s": latency}
    return {**content, "late_s": statistics.mean(late)}, targets
