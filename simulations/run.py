"""One run of one scenario: builds its world, plays it, and gives the verdict as plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import log10
from typing import TextIO

from gossip.config import GossipConfig
from simulations.checkers import (
    Check,
    Checker,
    MessagesFit,
    NobodyDiesWithoutCause,
    NothingIsRefused,
    SequencesOnlyRise,
    ViewsAgree,
)
from simulations.cluster import Cluster, SimulationError
from simulations.gossiper import gossip_cluster
from simulations.network import Conditions, Network
from simulations.trace import Trace
from simulations.world import World

NODES_MAX = 4096

BuildCluster = Callable[[World, Network, int, GossipConfig], Cluster]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story to play on hosts that have not been started. `summary` fits one line."""

    name: str
    summary: str
    play: Callable[[Run], None]
    conditions: Conditions = field(default_factory=Conditions)
    build: BuildCluster = gossip_cluster
    nodes: int = 32
    """As many hosts as are played with when nobody says how many."""
    nodes_min: int = 2
    nodes_max: int = NODES_MAX


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run: what `--json` writes. Times are virtual seconds."""

    scenario: str
    nodes: int
    seed: int
    trace_hash: str
    checks: tuple[Check, ...]
    ok: bool
    figures: dict[str, float]
    simulated_s: float
    events: int

    def to_json(self) -> dict[str, object]:
        """The report as JSON values."""
        return asdict(self)


class Run:
    """What a scenario plays on: hosts and a network to disturb, expectations and figures to state.

    `suspicion_s` is the longest that a suspicion may last among that many nodes.
    """

    def __init__(self, scenario: Scenario, nodes: int, seed: int, sink: TextIO | None) -> None:
        self.scenario = scenario
        self.config = GossipConfig.lan()
        self.world = World(seed, Trace(sink))
        self.network = Network(self.world, scenario.conditions)
        self.rng = self.world.stream("scenario")
        self.figures: dict[str, float] = {}
        self.expectations: list[Check] = []
        self.cluster = scenario.build(self.world, self.network, nodes, self.config)
        self.hosts = self.cluster.hosts
        scale = max(1.0, log10(nodes)) * self.config.probe_period
        self.suspicion_s = self.config.suspicion_beta * self.config.suspicion_alpha * scale
        self.checkers = self._checkers(lossy=scenario.conditions.loss > 0)
        self.cluster.observers.extend(self.checkers)

    @property
    def command(self) -> str:
        """What to type to see the same run again."""
        nodes, seed = len(self.hosts), self.world.seed
        return f"python -m simulations run {self.scenario.name} --nodes {nodes} --seed {seed}"

    def expect(self, name: str, ok: bool, detail: str) -> None:
        """State something that must hold in this scenario."""
        self.expectations.append(Check(name, ok, detail))

    def agree_within(self, name: str, limit_s: float) -> None:
        """Run until every host sees the truth; expect that to take at most `limit_s` seconds."""
        begun = self.world.now
        agreed = self.world.run_until(self.cluster.agreed, begun + limit_s)
        took = self.world.now - begun
        self.figures[f"{name} s"] = round(took, 3)
        if agreed:
            detail = f"after {took:.3f} s, of at most {limit_s:.0f} s"
        else:
            detail = f"not within {limit_s:.0f} s: {self.cluster.wrong} views are wrong"
        self.expect(name, agreed, detail)

    def measure_traffic(self, duration_s: float) -> None:
        """Run for a while in peace; the figure is bytes sent per host and second."""
        before = sum(host.sent_bytes for host in self.hosts)
        self.world.run_for(duration_s)
        sent = sum(host.sent_bytes for host in self.hosts) - before
        running = max(1, len(self.cluster.running))
        self.figures["idle bytes/s"] = round(sent / duration_s / running, 1)

    def play(self) -> Report:
        """Play the scenario to its end, and judge."""
        try:
            self.scenario.play(self)
            for checker in self.checkers:
                checker.finish()
        except SimulationError as error:
            self.expect("the run comes to its end", False, str(error))
        checks = (*self.expectations, *(checker.result() for checker in self.checkers))
        return Report(
            scenario=self.scenario.name,
            nodes=len(self.hosts),
            seed=self.world.seed,
            trace_hash=self.world.trace.digest(),
            checks=checks,
            ok=all(check.ok for check in checks),
            figures=self.figures,
            simulated_s=round(self.world.now, 3),
            events=self.world.events_run,
        )

    def _checkers(self, lossy: bool) -> list[Checker]:
        checkers: list[Checker] = [
            SequencesOnlyRise(self.cluster),
            MessagesFit(self.cluster),
            NothingIsRefused(self.cluster),
            ViewsAgree(self.cluster),
        ]
        if not lossy:
            grace = self.suspicion_s * 1.5 + 10 * self.config.probe_period
            checkers.append(NobodyDiesWithoutCause(self.cluster, grace))
        return checkers
