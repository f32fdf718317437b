"""One run of one scenario: builds its world, plays it, and gives the verdict as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf, log10
from typing import TextIO, TypeAlias

from gossip.config import GossipConfig
from simulations.adversaries import Adversary
from simulations.agreement import ViewsAgree
from simulations.checkers import (
    Check,
    Checker,
    MessagesFit,
    NobodyDiesWithoutCause,
    NothingIsRefused,
    SequencesOnlyRise,
    StaysBounded,
)
from simulations.cluster import Cluster, Host, SimulationError
from simulations.garbage import rarely_collected
from simulations.gossiper import gossip_cluster
from simulations.injector import FaultInjector
from simulations.measures import Target
from simulations.network import Conditions, Network
from simulations.plan import Fault, Options
from simulations.trace import Trace
from simulations.world import World

NODES_MAX = 4096
SEEDS = 2
RECOVERY_LIMIT_S = 120.0
RECOVERY_STEP_S = 1.0
LOSS_TOLERATED = 0.05
"""Up to this loss for everyone, nobody may be declared dead for it."""

BuildCluster = Callable[[World, Network, int, GossipConfig], Cluster]
Series: TypeAlias = Sequence[float] | Sequence[tuple[float, float]]


def no_faults(run: Run) -> Sequence[Fault]:
    """The plan of a scenario in which nothing is done to the hosts."""
    return ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story to play on hosts that have not been started. `summary` fits one line.

    `plan` says which faults there are, drawn from `run.rng` and the number of hosts alone; `play`
    says when they begin (`run.strike`) and what must hold. In the end the world is healed, and all
    must recover.
    """

    name: str
    summary: str
    play: Callable[[Run], None]
    conditions: Conditions = field(default_factory=Conditions)
    build: BuildCluster = gossip_cluster
    nodes: int = 32
    """As many hosts as are played with when nobody says how many."""
    nodes_min: int = 2
    nodes_max: int = NODES_MAX
    config: GossipConfig = field(default_factory=GossipConfig.lan)
    plan: Callable[[Run], Sequence[Fault]] = no_faults
    on_demand: bool = False
    """It takes too long to be played with every change."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run: what `--json` writes. Times are virtual seconds.

    `series` holds lists of numbers, or of pairs, to draw; `faults` the plan, a line per fault.
    """

    scenario: str
    nodes: int
    seed: int
    trace_hash: str
    checks: tuple[Check, ...]
    ok: bool
    figures: dict[str, float]
    targets: tuple[Target, ...]
    series: dict[str, Series]
    faults: tuple[str, ...]
    command: str
    simulated_s: float
    events: int

    def to_json(self) -> dict[str, object]:
        """The report as JSON values."""
        return asdict(self)


class Run:
    """What a scenario plays on: hosts and a network to disturb, expectations and figures to state.

    `suspicion_s` is the longest that a suspicion may last among that many nodes.
    """

    def __init__(
        self,
        scenario: Scenario,
        nodes: int,
        seed: int,
        sink: TextIO | None = None,
        without: tuple[int, ...] = (),
        until: float = inf,
    ) -> None:
        self.scenario = scenario
        self.options = options = Options(nodes, seed, without, until)
        self.config = scenario.config
        self.world = World(options.seed, Trace(sink))
        self.network = Network(self.world, scenario.conditions)
        self.rng = self.world.stream("scenario")
        self.figures: dict[str, float] = {}
        self.targets: list[Target] = []
        self.series: dict[str, Series] = {}
        self.expectations: list[Check] = []
        self.stage = ""
        """What the run waits for, in words, for whoever watches it."""
        self.cluster = scenario.build(self.world, self.network, options.nodes, self.config)
        self.hosts = self.cluster.hosts
        scale = max(1.0, log10(options.nodes)) * self.config.probe_period
        self.suspicion_s = self.config.suspicion_beta * self.config.suspicion_alpha * scale
        self.injector = FaultInjector(self.cluster, self.start)
        self.plan: Mapping[int, Fault] = options.kept(scenario.plan(self))
        self.views = ViewsAgree(self.cluster)
        self.checkers = self._checkers()
        self.cluster.observers.extend(self.checkers)
        self._healed = False

    @property
    def command(self) -> str:
        """What to type to see the same run again."""
        return self.options.command(self.scenario.name)

    def start(self, host: Host) -> None:
        """Boot one host that knows the seeds, but not itself."""
        self.cluster.start(host, [seed for seed in self.hosts[:SEEDS] if seed is not host])

    def expect(self, name: str, ok: bool, detail: str) -> None:
        """State something that must hold in this scenario."""
        self.expectations.append(Check(name, ok, detail))

    def target(
        self, name: str, value: float, limit: float, unit: str, at_most: bool = True
    ) -> None:
        """State a figure that must be at most (or at least) `limit`: a row of the report."""
        ok = value <= limit if at_most else value >= limit
        text = f"{'at most' if at_most else 'at least'} {limit:g} {unit}".rstrip()
        self.targets.append(Target(name, text, round(value, 3), unit, ok))

    def strike(self) -> None:
        """Let the plan begin."""
        self.injector.strike(self.plan)

    def endure(self, duration_s: float) -> None:
        """Run for a while with whatever the plan does; shorter if the options say so."""
        self.world.run_for(min(duration_s, self.options.until))

    def agree_within(self, name: str, limit_s: float) -> None:
        """Run until every host sees the truth; expect that to take at most `limit_s` seconds."""
        self.stage, begun = name, self.world.now
        agreed = self.world.run_until(self.cluster.agreed, begun + limit_s)
        took = self.world.now - begun
        self.figures[f"{name} s"] = round(took, 3)
        if agreed:
            detail = f"after {took:.3f} s, of at most {limit_s:.0f} s"
        else:
            detail = f"not within {limit_s:.0f} s: {self.cluster.wrong} views are wrong"
        self.expect(name, agreed, detail)

    def heal(self, limit_s: float = RECOVERY_LIMIT_S) -> None:
        """The liveness phase: end all that is bad; all who run must soon agree on all.

        What the plan calls final stays as it is (TigerBeetle's VOPR: random healing hides a
        livelock, so here all faults end at once, and progress is demanded).
        """
        self._healed, self.stage = True, "all recover"
        calm = replace(self.network.conditions, loss=0.0, duplicate=0.0, reorder=0.0)
        self.injector.heal()
        for host in self.hosts:
            if isinstance(host.machine, Adversary):
                host.machine.resting = True
        self.network.conditions = calm
        begun, deadline = self.world.now, self.world.now + limit_s
        wrong = inf
        while self.world.now < deadline and wrong:
            self.world.run_until(self.cluster.agreed, deadline)
            wrong = len(self.views.disagreements(1)) if self.cluster.agreed() else inf
            if wrong:
                self.world.run_for(min(RECOVERY_STEP_S, deadline - self.world.now))
        took = self.world.now - begun
        self.figures["recovery s"] = round(took, 3)
        within = f"of at most {limit_s:.0f} s"
        detail = f"not within {limit_s:.0f} s" if wrong else f"after {took:.3f} s, {within}"
        self.expect("all recover", not wrong, detail)

    def measure_traffic(self, duration_s: float) -> None:
        """Run for a while in peace; the figure is bytes sent per host and second."""
        before = {host.number: host.sent_bytes for host in self.hosts}
        self.world.run_for(duration_s)
        rates = [(h.sent_bytes - before[h.number]) / duration_s for h in self.cluster.running]
        self.figures["idle bytes/s"] = round(sum(rates) / max(1, len(rates)), 1)
        self.series["idle bytes/s per node"] = [round(rate, 1) for rate in rates]

    def play(self) -> Report:
        """Play the scenario to its end, heal the world, and judge."""
        try:
            with rarely_collected():
                self.scenario.play(self)
                if not self._healed:
                    self.heal()
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
            ok=all(check.ok for check in checks) and all(target.ok for target in self.targets),
            figures=self.figures,
            targets=tuple(self.targets),
            series=self.series,
            faults=tuple(f"{number}. {fault}" for number, fault in self.plan.items()),
            command=self.command,
            simulated_s=round(self.world.now, 3),
            events=self.world.events_run,
        )

    def _checkers(self) -> list[Checker]:
        checkers: list[Checker] = [
            SequencesOnlyRise(self.cluster),
            MessagesFit(self.cluster),
            NothingIsRefused(self.cluster),
            StaysBounded(self.cluster, self.config),
            self.views,
        ]
        # Loss of single hosts is their own illness, which the judge knows of.
        lossy = any(fault.kind == "lossy" and not fault.hosts for fault in self.plan.values())
        if self.scenario.conditions.loss <= LOSS_TOLERATED and not lossy:
            grace = self.suspicion_s * 1.5 + 10 * self.config.probe_period
            judge = NobodyDiesWithoutCause(self.cluster, grace, self.injector)
            checkers.append(judge)
        return checkers
