"""What the SWIM paper promises (Das, Gupta, Motivala 2002), measured and set beside it.

Each scenario plays groups of several sizes, up to as many members as there are hosts, each in a
world of its own, of plain SWIM (`GossipConfig.swim`): no part of Lifeguard, nothing of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import ceil, e, log2

from gossip import messages
from gossip.config import GossipConfig
from gossip.messages import Ping
from gossip.records import RecordKind
from simulations.cluster import Cluster, Host, Observer
from simulations.conditions import Conditions
from simulations.gossiper import gossiper, start_settled
from simulations.machine import Send
from simulations.measures import Infection
from simulations.nat import Endpoint
from simulations.run import Run, Scenario

SIZES = (8, 16, 32, 64, 128, 256, 512, 1000)
DETECTION_SIZES = (8, 64, 256, 1000)
CALM = Conditions(latency_s=0.002, spread_s=0.002, jitter_s=0.001)
"""The paper's LAN: round trips far below a period."""
SETTLE_PERIODS = 3
CRASHES = {8: 4000, 64: 500, 256: 200, 1000: 200}
"""How many crashes the mean is taken over: most where the exact value is nearest to a limit."""
CRASHED_SHARE = 50
"""One of so many members crashes at a time, at least one; they do not know of each other."""
DETECTION_PERIODS = e / (e - 1)
TOLERANCE = 0.15
PEACE_PERIODS = 60
MESSAGES = 2.0
MESSAGES_TOLERANCE = 0.1
NEWS = 8
"""Pieces of news whose spreading is averaged."""
NEWS_S = 5.0
FIT_TOLERANCE_ROUNDS = 1.5


class FirstPing(Observer):
    """When each of the hosts that crashed was first picked as the target of a probe."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._waiting: dict[Endpoint, float] = {}
        self.delays: list[float] = []

    @property
    def waiting(self) -> int:
        """How many of them nobody has picked yet."""
        return len(self._waiting)

    def crashed(self, host: Host) -> None:
        """`host` crashed just now."""
        self._waiting[host.endpoint] = self._cluster.world.now

    def sent(self, host: Host, send: Send) -> None:
        """Note the first ping to one that crashed."""
        since = self._waiting.get(send.destination)
        if since is not None and isinstance(messages.decode(send.payload).body, Ping):
            del self._waiting[send.destination]
            self.delays.append(self._cluster.world.now - since)


def group(run: Run, nodes: int, config: GossipConfig, conditions: Conditions = CALM) -> Run:
    """A group of its own, settled, by the seed of `run`, where nobody judges but the caller."""
    scenario = Scenario(run.scenario.name, "", lambda _: None, conditions, config=config)
    inner = Run(scenario, nodes, run.options.seed)
    inner.cluster.observers.clear()
    run.stage = f"{nodes} members"
    start_settled(inner.cluster)
    inner.world.run_for(SETTLE_PERIODS * config.probe_period)
    return inner


def close(run: Run, inner: Run) -> None:
    """Let the hash of `run` depend on what happened in a group."""
    run.world.trace.record(run.world.now, "group", len(inner.hosts), inner.world.trace.digest())


def up_to(run: Run, sizes: Sequence[int]) -> list[int]:
    """The sizes that `run` has hosts for."""
    return [size for size in sizes if size <= len(run.hosts)]


def near(run: Run, name: str, value: float, wanted: float, tolerance: float, unit: str) -> None:
    """State a figure that must be within `tolerance` of `wanted`: two targets."""
    run.target(f"{name}, at most", value, round(wanted + tolerance, 3), unit)
    run.target(f"{name}, at least", value, round(wanted - tolerance, 3), unit, at_most=False)


def detection(run: Run) -> None:
    """First detection takes e/(e-1) = 1.58 periods, whatever the number of members.

    The paper (section 3.1) counts protocol periods: in each, a member that crashed is picked by
    somebody with probability 1 - (1 - 1/n)^(n-1), about 1 - 1/e; so the first period in which it
    is picked is number 1 / (1 - 1/e) on the average. Here period k after a crash is
    ((k-1)T, kT], crashes come at random instants, and it counts in which of them the first ping to
    that member is sent; `mean periods` is the time itself. Round robin instead of free choice
    makes it a little less in small groups: for 8 members the mean is exactly the sum over k of
    (1 - k/7)^7, which is 1.458.
    """
    config = GossipConfig.swim()
    for nodes in up_to(run, DETECTION_SIZES):
        inner = group(run, nodes, config)
        watch = FirstPing(inner.cluster)
        inner.cluster.observers.append(watch)
        while len(watch.delays) < CRASHES[nodes]:
            crash_some(inner, watch, config.probe_period)
        delays = [delay / config.probe_period for delay in watch.delays]
        periods = sum(map(ceil, delays)) / len(delays)
        run.figures[f"mean periods until the first ping, {nodes} members"] = round(
            sum(delays) / len(delays), 3
        )
        run.series[f"first pings, {nodes} members"] = sorted(round(delay, 3) for delay in delays)
        name = f"first detection, {nodes} members"
        near(run, name, periods, round(DETECTION_PERIODS, 2), TOLERANCE, "periods")
        close(run, inner)


def crash_some(inner: Run, watch: FirstPing, period_s: float) -> None:
    """Stop some at a random instant until each was picked; nobody knows before whether they live.

    Their processes are paused, which looks the same and spares the group their joining again.
    """
    inner.world.run_for(inner.rng.uniform(0, period_s))
    stopped = inner.rng.sample(inner.hosts, max(1, len(inner.hosts) // CRASHED_SHARE))
    for host in stopped:
        watch.crashed(host)
        inner.cluster.pause(host)
    deadline = inner.world.now + 2 * len(inner.hosts) * period_s
    inner.world.run_until(lambda: not watch.waiting, deadline)
    for host in stopped:
        inner.cluster.resume(host)


def load(run: Run) -> None:
    """In peace a member sends two messages per period: a ping, and an ack (section 5)."""
    config = GossipConfig.swim()
    for nodes in up_to(run, SIZES):
        inner = group(run, nodes, config)
        before = sum(host.sent for host in inner.hosts)
        inner.world.run_for(PEACE_PERIODS * config.probe_period)
        sent = (sum(host.sent for host in inner.hosts) - before) / nodes / PEACE_PERIODS
        near(run, f"messages, {nodes} members", sent, MESSAGES, MESSAGES_TOLERANCE, "per period")
        close(run, inner)


def infection(run: Run) -> None:
    """News reaches all in O(log N) rounds of gossip (section 4.1).

    The mean number of rounds until the last member knows is fitted as a + b log2 N, by least
    squares; every size must lie on that line. A round is `gossip_interval`, in which each member
    with news tells `gossip_fanout` others.
    """
    config = GossipConfig.swim()
    points: list[tuple[float, float]] = []
    for nodes in up_to(run, SIZES):
        inner = group(run, nodes, config)
        rounds = sum(spread(run, inner, nodes) for _ in range(NEWS)) / NEWS / config.gossip_interval
        run.figures[f"rounds until all know, {nodes} members"] = round(rounds, 2)
        points.append((log2(nodes), rounds))
        close(run, inner)
    constant, slope = fitted(points)
    run.figures["rounds per doubling"] = round(slope, 3)
    worst = max(abs(rounds - constant - slope * doublings) for doublings, rounds in points)
    run.target("farthest from the line", worst, FIT_TOLERANCE_ROUNDS, "rounds")
    run.target("rounds per doubling", slope, 1.0, "rounds")


def spread(run: Run, inner: Run, nodes: int) -> float:
    """Publish at one host; seconds until all have it, which they must within `NEWS_S`.

    The curve joins the report's series.
    """
    host = inner.rng.choice(inner.hosts)
    publish = partial(gossiper(host).protocol.publish, RecordKind.ROUTES, b"")
    sequence = 1 + max(sequence for _, sequence in own(host).items())
    watch = Infection(inner.cluster, host.identity, RecordKind.ROUTES, sequence)
    inner.cluster.observers.append(watch)
    inner.cluster.act(host, lambda now: _discard(publish(now)))
    inner.world.run_until(lambda: len(watch.times) == len(inner.hosts), inner.world.now + NEWS_S)
    inner.cluster.observers.remove(watch)
    run.series[f"infection, {nodes} members"] = watch.curve()
    if len(watch.times) < nodes:
        detail = f"{len(watch.times)} of {nodes} within {NEWS_S:g} s"
        run.expect(f"news reaches all of {nodes} members", False, detail)
        return NEWS_S
    return max(watch.times.values())


def own(host: Host) -> dict[int, int]:
    """The sequence of every record that a host holds of itself, by kind."""
    held = gossiper(host).sequences()
    return {
        kind: sequence for (subject, kind), sequence in held.items() if subject == host.identity
    }


def _discard(value: object) -> None:
    """Make an action of a call whose value nobody needs."""


def fitted(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The constant and the slope of the line through `points` by least squares."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread_x = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread_x
    return mean_y - slope * mean_x, slope


SCENARIOS = (
    Scenario(
        "swim-detection",
        "SWIM: first detection takes 1.58 periods, whatever the number of members",
        detection,
        nodes=64,
        nodes_min=DETECTION_SIZES[0],
        nodes_max=SIZES[-1],
    ),
    Scenario(
        "swim-messages",
        "SWIM: two messages per member and period, whatever the number of members",
        load,
        nodes=64,
        nodes_min=SIZES[0],
        nodes_max=SIZES[-1],
    ),
    Scenario(
        "swim-infection",
        "SWIM: news reaches all members in O(log N) rounds",
        infection,
        nodes=128,
        nodes_min=SIZES[2],
        nodes_max=SIZES[-1],
    ),
)
