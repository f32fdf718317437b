"""Lifeguard's table of false positives (Dadgar, Phillips, Currey 2017), played again.

128 members; some of them are slow at the same time, again and again; it counts how often a healthy
member is declared dead by plain SWIM, by SWIM with one part of Lifeguard each, and with all.

What slow means. The authors let memberlist block immediately before it sends and after it
receives. Its timers go on, for they are goroutines of their own: a suspicion that runs out
meanwhile is a verdict, though the refutation lies unread. Its prober is one goroutine: it blocks
where it sends the next ping, or asks the next helper, and finds in the end that its time is over.
So it is here: what a slow member sends and receives is held; with the first message of its own
prober it stands still. In the end the overdue timers come first, then what it sent goes out, then
it reads what waits (a socket's buffer of it), each message taking `processes.INPUT_S`.

What counts. A false positive is a `MemberDown` event, at any member, about a member that is not
slow in that test; FP- of the paper, at a member that is not slow either, is a figure beside it.

What is not known. The paper pools all combinations of its durations, intervals and numbers of slow
members; here a smaller grid is printed with the result. The ratios depend on it: a false positive
of plain SWIM needs an interval too short to read the refutation, one of LHA-Suspicion several such
in a row. Those of `QUICK` that LHA-Suspicion leaves all come from intervals of 1 and 4 ms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from gossip import messages
from gossip.config import GossipConfig
from gossip.events import MemberDown
from gossip.ids import NodeId
from gossip.messages import Ping, PingRequest
from simulations.cluster import Cluster, Host, Observer
from simulations.conditions import Conditions
from simulations.machine import Seen, Send
from simulations.processes import INPUT_S
from simulations.run import Run, Scenario
from simulations.scenarios.published import close, group, near

MEMBERS: Final = 128
LAN: Final = Conditions(latency_s=0.0005, spread_s=0.0, jitter_s=0.0002)
"""All agents in one data centre, as the paper's."""
OVERDUE_S: Final = 5 * INPUT_S
"""The overdue timers' own time, before the sockets are free."""
SETTLE_S: Final = 20.0
"""After a test: what was accused in it runs out, and all recover."""
RECOVERY_LIMIT_S: Final = 60.0
TOLERANCE: Final = 0.30
OURS_PERCENT: Final = 2.0
"""What this library may have of plain SWIM's false positives: about what Lifeguard has."""

TABLE: Final = {"plain": 100.0, "+probe": 67.72, "+suspicion": 3.0, "+buddy": 94.08, "all": 1.53}
"""The paper's table of false positives, in percent of plain SWIM's."""


@dataclass(frozen=True, slots=True)
class Anomalies:
    """One test: `slow` members are held for `held_s`, run for `free_s`, and so on for `span_s`."""

    slow: int
    held_s: float
    free_s: float
    span_s: float

    def __str__(self) -> str:
        return f"{self.slow} slow, held {self.held_s:g} s, free {self.free_s:g} s"


def grid(
    slow: Sequence[int], held_s: Sequence[float], free_s: Sequence[float], span_s: float
) -> tuple[Anomalies, ...]:
    """Every combination."""
    return tuple(
        Anomalies(count, held, free, span_s) for count in slow for held in held_s for free in free_s
    )


SMALL: Final = grid((1, 4, 8), (16.384,), (0.016,), 34.0)
QUICK: Final = grid((8,), (16.384,), (0.001, 0.004, 0.016, 0.064, 0.256), 98.0)
INTERVALS: Final = (0.001, 0.004, 0.016, 0.064, 0.256, 1.024, 4.096)
FULL: Final = grid((1, 4, 8, 16, 32), (0.128, 2.048, 16.384, 32.768), INTERVALS, 120.0)


def variants() -> dict[str, GossipConfig]:
    """Plain SWIM; with Lifeguard's LHM of 0 to 8; with beta 6 and K 3; with Buddy; with all."""
    plain = GossipConfig.swim()
    probe = partial(replace, health_limit=8)
    suspicion = partial(replace, suspicion_beta=6.0, suspicion_confirmations=3)
    nacks, buddy = (replace(plain.policy, **{part: True}) for part in ("nacks", "buddy"))
    return {
        "plain": plain,
        "+probe": probe(plain, policy=nacks),
        "+suspicion": suspicion(plain),
        "+buddy": replace(plain, policy=buddy),
        "all": suspicion(probe(plain, policy=replace(nacks, buddy=True))),
    }


class FalsePositives(Observer):
    """Holds slow members, and counts the verdicts about members that are not slow."""

    def __init__(self, cluster: Cluster) -> None:
        self.count = 0
        self.at_healthy = 0
        """Of these: declared by members that are not slow themselves."""
        self._cluster = cluster
        self._slow: dict[NodeId, Host] = {}
        self._held = False

    def begin(self, slow: Sequence[Host]) -> None:
        """These are slow from now on, and pay for what they read."""
        self._slow = {host.identity: host for host in slow}
        for host in slow:
            self._cluster.slow(host, 1.0)

    def hold(self) -> None:
        """Let them neither send nor receive."""
        self._held = True
        for host in self._slow.values():
            self._cluster.hold(host)

    def release(self) -> None:
        """Let them do what is overdue, then send and read what waits."""
        self._held = False
        for host in self._slow.values():
            self._cluster.resume(host)
        self._cluster.world.run_for(OVERDUE_S)
        for host in self._slow.values():
            self._cluster.release(host)

    def end(self) -> None:
        """They read as fast as others again, but stay in the test until the next."""
        for host in self._slow.values():
            self._cluster.slow(host, 0.0)

    def saw(self, host: Host, seen: Seen) -> None:
        """Count a verdict about one that is not slow."""
        if isinstance(seen, MemberDown) and seen.id not in self._slow:
            self.count += 1
            self.at_healthy += host.identity not in self._slow

    def sent(self, host: Host, send: Send) -> None:
        """The prober of a held member stands still at what it sends."""
        if self._held and host.identity in self._slow:
            body = messages.decode(send.payload).body
            if isinstance(body, Ping | PingRequest):
                self._cluster.pause(host)


def table(run: Run, tests: Sequence[Anomalies]) -> None:
    """Every test with every variant of the paper; the sums are compared as there."""
    sums = played(run, variants(), tests)
    for name, percent in TABLE.items():
        if name != "plain":
            ratio = 100 * sums[name] / max(1, sums["plain"])
            near(run, f"false positives {name}", ratio, percent, TOLERANCE * percent, "% of plain")


def against_ours(run: Run, tests: Sequence[Anomalies]) -> None:
    """Plain SWIM, Lifeguard, and `GossipConfig.lan()` as it is used: with what goes beyond both."""
    found = variants()
    ours = {"plain": found["plain"], "Lifeguard": found["all"], "ours": GossipConfig.lan()}
    sums = played(run, ours, tests)
    run.expect("plain SWIM errs", sums["plain"] > 0, f"{sums['plain']} times")
    ratio = 100 * sums["ours"] / max(1, sums["plain"])
    run.target("false positives, ours", ratio, OURS_PERCENT, "% of plain")


def played(
    run: Run, configs: Mapping[str, GossipConfig], tests: Sequence[Anomalies]
) -> dict[str, int]:
    """Every test with every configuration; false positives by its name."""
    sums: dict[str, int] = {}
    for name, config in configs.items():
        inner = group(run, len(run.hosts), config, LAN)
        counted = FalsePositives(inner.cluster)
        inner.cluster.observers.append(counted)
        by_slow: dict[int, int] = {}
        for number, test in enumerate(tests):
            run.stage = f"{name}, test {number + 1} of {len(tests)}"
            before = counted.count
            disturb(inner, counted, test)
            found = counted.count - before
            run.figures[f"{name}, {test}"] = found
            by_slow[test.slow] = by_slow.get(test.slow, 0) + found
        sums[name] = counted.count
        run.figures[f"{name}, false positives"] = counted.count
        run.figures[f"{name}, of them at healthy members"] = counted.at_healthy
        run.series[f"false positives, {name}"] = sorted(by_slow.items())
        close(run, inner)
    return sums


def disturb(inner: Run, counted: FalsePositives, test: Anomalies) -> None:
    """One test, from a group at peace to a group at peace."""
    world = inner.world
    counted.begin(inner.rng.sample(inner.hosts, test.slow))
    world.run_for(inner.rng.random() * inner.config.probe_period)
    until = world.now + test.span_s
    while world.now < until:
        counted.hold()
        world.run_for(test.held_s)
        counted.release()
        world.run_for(test.free_s)
    counted.end()
    world.run_for(SETTLE_S)
    world.run_until(inner.cluster.agreed, world.now + RECOVERY_LIMIT_S)


SCENARIOS = (
    Scenario(
        "lifeguard-ours",
        "false positives against slow members: plain SWIM, Lifeguard, and this library",
        partial(against_ours, tests=SMALL),
        nodes=32,
        nodes_min=2 * max(test.slow for test in SMALL),
        nodes_max=MEMBERS,
    ),
    Scenario(
        "lifeguard",
        "Lifeguard's false positives, against plain SWIM and each part of it",
        partial(table, tests=QUICK),
        nodes=MEMBERS,
        nodes_min=2 * max(test.slow for test in QUICK),
        nodes_max=MEMBERS,
        on_demand=True,
    ),
    Scenario(
        "lifeguard-full",
        "the same with all durations, intervals and numbers of slow members",
        partial(table, tests=FULL),
        nodes=MEMBERS,
        nodes_min=2 * max(test.slow for test in FULL),
        nodes_max=MEMBERS,
        on_demand=True,
    ),
)
