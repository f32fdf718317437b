"""Our gossip beside Debian's serf (memberlist): the same agents, events, crashes and split.

Each has a namespace of its own; both do the same at the same time, so that what slows the machine
slows both. What an agent sees is timed inside it, by the one monotonic clock of the host. Every
running agent is an observer.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from benchmarks.gossip.ours import Ours
from benchmarks.gossip.serf import Serf
from benchmarks.gossip.swarm import Swarm
from benchmarks.pairs import need
from benchmarks.report import Target, table
from simulations.lab.namespaces import Lab
from simulations.lab.waiting import DeadlineError, LabError, wait_until

AHEAD = {
    "joined": "all joined after, s",
    "idle": "idle, IP bytes sent per node and s",
    "event_half": "event at half, s",
    "event_all": "event at all, s",
    "crash_first": "crash seen by the first, s",
    "crash_all": "crash seen by all, s",
    "healed": "split healed after, s",
}
"""The rows in which we have to be ahead; in all of them less is better."""

SHOWN = {"memory": "memory per agent, MB", "cpu": "idle CPU per agent, % of a core"}
SETTLE_S = 20.0
JOIN_LIMIT_S = 300.0
EVENT_LIMIT_S = 20.0
CRASH_LIMIT_S = 90.0
HEAL_LIMIT_S = 300.0


@dataclass(slots=True)
class Figures:
    """What was measured of one contender: every sample of each row."""

    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, row: str, value: float) -> None:
        """One more sample."""
        self.samples.setdefault(row, []).append(value)

    def median(self, row: str) -> float | None:
        """The middle sample; None where nothing came of it (a split that did not heal)."""
        values = self.samples.get(row)
        return statistics.median(values) if values else None


Results = dict[str, Figures]


def make(lab: Lab, nodes: int) -> list[Swarm]:
    """Both, started but not joined."""
    swarms: list[Swarm] = [Serf(lab, nodes), Ours(lab, nodes)]
    for swarm in swarms:
        lab.on_close(swarm.watcher.close)
        swarm.start()
    time.sleep(1.0)  # what a process does after its start is not part of joining
    return swarms


def measure_join(swarms: Sequence[Swarm], results: Results) -> None:
    """From the call to join until every agent sees every other."""
    for swarm in swarms:
        began = time.monotonic()
        swarm.join()
        wait_until(swarm.agreed, f"{swarm.name} to join", JOIN_LIMIT_S, interval_s=0.25)
        results[swarm.name].add("joined", swarm.agreed_at() - began)


def measure_idle(swarms: Sequence[Swarm], results: Results, seconds: float) -> None:
    """Bytes, CPU and memory while nothing happens."""
    before = [(swarm.sent_bytes(), swarm.cpu_seconds(), time.monotonic()) for swarm in swarms]
    time.sleep(seconds)
    for swarm, (sent, cpu, began) in zip(swarms, before, strict=True):
        share = (time.monotonic() - began) * len(swarm.agents)
        results[swarm.name].add("idle", (swarm.sent_bytes() - sent) / share)
        results[swarm.name].add("cpu", (swarm.cpu_seconds() - cpu) / share * 100)
        results[swarm.name].add("memory", swarm.resident_mb())


def measure_event(swarm: Swarm, results: Results, origin: int, event: int) -> None:
    """From the call to publish until half of the agents, and all, have the event."""
    began = time.monotonic()
    swarm.publish(origin, event)

    def spread() -> bool:
        swarm.check()
        return len(swarm.watcher.first("event", event)) == len(swarm.agents)

    wait_until(spread, f"{swarm.name} to spread an event", EVENT_LIMIT_S)
    times = sorted(swarm.watcher.first("event", event).values())
    results[swarm.name].add("event_half", times[len(times) // 2] - began)
    results[swarm.name].add("event_all", times[-1] - began)


def measure_crash(swarms: Sequence[Swarm], results: Results, number: int) -> None:
    """From the kill until the first agent says that it is dead, and the last."""
    killed: dict[str, float] = {}
    for swarm in swarms:
        killed[swarm.name] = time.monotonic()
        swarm.crash(number)
    for swarm in swarms:
        at = killed[swarm.name]

        def known(swarm: Swarm = swarm, at: float = at) -> bool:
            swarm.check()
            return set(swarm.watcher.first("down", number, at)) >= set(swarm.agents)

        wait_until(known, f"{swarm.name} to see a crash", CRASH_LIMIT_S)
        times = swarm.watcher.first("down", number, at).values()
        results[swarm.name].add("crash_first", min(times) - at)
        results[swarm.name].add("crash_all", max(times) - at)


def measure_split(swarms: Sequence[Swarm], results: Results, seconds: float) -> None:
    """Cut the halves apart for so long, then see whether they find together by themselves."""
    for swarm in swarms:
        swarm.split()
    time.sleep(seconds)
    for swarm in swarms:
        views = swarm.watcher.alive()
        kept = sum(len(views[n]) for n in swarm.agents)
        print(f"{swarm.name}: {kept} views alive at the end of the split", file=sys.stderr)
        if swarm.agreed():
            raise LabError(f"{swarm.name} did not notice a split of {seconds:g} s: make it longer")
    healed: dict[str, float] = {}
    for swarm in swarms:
        healed[swarm.name] = time.monotonic()
        swarm.heal()
    for swarm in swarms:
        left = healed[swarm.name] + HEAL_LIMIT_S - time.monotonic()
        try:
            wait_until(swarm.agreed, f"{swarm.name} to heal", max(1.0, left))
        except DeadlineError as error:
            print(error, file=sys.stderr)
        else:
            results[swarm.name].add("healed", swarm.agreed_at() - healed[swarm.name])


def shown(results: Results) -> str:
    """Both columns, and ours over serf's."""
    rows = []
    for row, label in {**AHEAD, **SHOWN}.items():
        ours, theirs = (results[name].median(row) for name in (Ours.name, Serf.name))
        texts = ["never" if value is None else f"{value:.2f}" for value in (ours, theirs)]
        quotient = "" if ours is None or not theirs else f"{ours / theirs:.2f}"
        rows.append([label, *texts, quotient])
    return table(["", Ours.name, Serf.name, "ratio"], rows)


def targets(results: Results) -> list[Target]:
    """Ahead of serf in every row of `AHEAD`; what one of them never did counts as for ever."""
    found = []
    for row, label in AHEAD.items():
        ours, theirs = (results[name].median(row) for name in (Ours.name, Serf.name))
        if ours is None:
            found.append(Target(f"{label}: over serf's", float("inf"), most=1.0))
        else:
            quotient = 0.0 if theirs is None else ours / theirs
            found.append(Target(f"{label}: over serf's", quotient, most=1.0))
    return found


def main(argv: Sequence[str]) -> tuple[dict[str, object], list[Target]]:
    """Measure, print the table, and return the JSON's content and the targets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gossip", description=__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--joins", type=int, default=3, help="times that all join anew")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to count idle bytes")
    parser.add_argument("--events", type=int, default=10)
    parser.add_argument("--crashes", type=int, default=5)
    parser.add_argument("--split", type=float, default=600.0, help="seconds; 0 for none")
    options = parser.parse_args(argv)
    if not 8 <= options.nodes <= 1000 or not 1 <= options.crashes <= options.nodes // 4:
        raise LabError("--nodes takes 8 to 1000, --crashes 1 to a quarter of them")
    if options.idle <= 0 or min(options.joins, options.events) < 1 or options.split < 0:
        raise LabError("--idle, --joins, --events take positive numbers, --split 0 or more")
    need("serf", "nft", "setpriv")
    results: Results = {Serf.name: Figures(), Ours.name: Figures()}
    for _ in range(options.joins - 1):
        with Lab() as lab:
            swarms = make(lab, options.nodes)
            _step("joining", partial(measure_join, swarms, results))
    with Lab() as lab:
        swarms = make(lab, options.nodes)
        _step("joining", partial(measure_join, swarms, results))
        time.sleep(SETTLE_S)
        _step("idle", partial(measure_idle, swarms, results, options.idle))
        for event in range(options.events):
            for swarm in swarms:
                measure_event(swarm, results, event * 7 % options.nodes, event)
            time.sleep(3.0)
        for crash in range(options.crashes):
            number = (crash + 1) * options.nodes // (options.crashes + 2) + 1
            _step(f"crash of {number}", partial(measure_crash, swarms, results, number))
        if options.split:
            _step("split", partial(measure_split, swarms, results, options.split))
    print(shown(results))
    content: dict[str, object] = {name: figures.samples for name, figures in results.items()}
    content["nodes"] = options.nodes
    found = targets(results)
    return content, found if options.split else found[:-1]


def _step(what: str, action: Callable[[], None]) -> None:
    began = time.monotonic()
    action()
    print(f"{what}: {time.monotonic() - began:.1f} s", file=sys.stderr)
