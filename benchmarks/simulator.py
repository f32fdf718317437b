"""How fast the simulator is: a thousand nodes that know each other, ten thousand that do not.

Each case runs in a process of its own, on one core: a mesh that has settled is left to itself, and
simulated seconds are divided by seconds of CPU. Its start is timed too, and its memory at the most.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace

from benchmarks.report import Target, table
from gossip.config import GossipConfig
from simulations.conditions import Conditions
from simulations.garbage import rarely_collected
from simulations.gossiper import gossip_cluster, start_settled
from simulations.lab.waiting import LabError
from simulations.network import Network
from simulations.settled import start_partial
from simulations.world import World

SETTLE_S = 60.0
"""Simulated seconds before the measuring, in which round trips and places are found out."""

FULL_SPEED = 20.0
PARTIAL_SPEED = 1.0
PARTIAL_MB = 8000.0


@dataclass(frozen=True, slots=True)
class Case:
    """So many nodes; all know all, unless their views are `partial`."""

    name: str
    nodes: int
    partial: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Speed:
    """What came of a case. `times_real` is simulated seconds per second of CPU."""

    times_real: float
    events_per_s: float
    start_cpu_s: float
    bytes_per_s: float
    memory_mb: float


def measure(case: Case) -> Speed:
    """Run one case here and now."""
    with rarely_collected():
        return _measure(case)


def _measure(case: Case) -> Speed:
    began = time.process_time()
    world = World(1)
    network = Network(world, Conditions.wan())
    config = replace(GossipConfig.wan(), full_view=case.nodes)
    cluster = gossip_cluster(world, network, case.nodes, config)
    (start_partial if case.partial else start_settled)(cluster)
    world.run_for(SETTLE_S)
    gc.collect()
    started, events = time.process_time(), world.events_run
    sent = sum(host.sent_bytes for host in cluster.hosts)
    world.run_for(case.seconds)
    cpu = time.process_time() - started
    return Speed(
        times_real=case.seconds / cpu,
        events_per_s=(world.events_run - events) / cpu,
        start_cpu_s=started - began,
        bytes_per_s=(sum(host.sent_bytes for host in cluster.hosts) - sent)
        / case.seconds
        / case.nodes,
        memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def main(argv: Sequence[str]) -> tuple[dict[str, object], list[Target]]:
    """Measure, print, and return the JSON's content and the targets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks simulator", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000, help="that know each other")
    parser.add_argument("--many", type=int, default=10_000, help="that do not")
    parser.add_argument("--seconds", type=float, default=60.0, help="simulated, of each case")
    options = parser.parse_args(argv)
    if options.nodes < 2 or options.many < 2 or options.seconds <= 0:
        raise LabError("--nodes and --many from 2, --seconds above 0")
    cases = (
        Case("full view", options.nodes, False, options.seconds),
        Case("partial view", options.many, True, options.seconds),
    )
    speeds: list[Speed] = []
    for case in cases:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            speeds.append(alone.submit(measure, case).result())
    rows = [
        [
            f"{case.nodes}, {case.name}",
            f"{speed.times_real:.1f}",
            f"{speed.events_per_s:.0f}",
            f"{speed.start_cpu_s:.0f}",
            f"{speed.bytes_per_s:.0f}",
            f"{speed.memory_mb:.0f}",
        ]
        for case, speed in zip(cases, speeds, strict=True)
    ]
    header = ("nodes", "x real time", "events/s", "start, CPU s", "B/s per node", "MB")
    print(table(header, rows))
    full, partial = speeds
    content: dict[str, object] = {
        case.name: {**asdict(case), **asdict(speed)}
        for case, speed in zip(cases, speeds, strict=True)
    }
    return content, [
        Target(f"{options.nodes} nodes, times real time", full.times_real, least=FULL_SPEED),
        Target(f"{options.many} nodes, times real time", partial.times_real, least=PARTIAL_SPEED),
        Target(f"{options.many} nodes, memory in MB", partial.memory_mb, most=PARTIAL_MB),
    ]
