"""The scenarios: what is done to the hosts, and how soon all must be well again.

The limits are for the defaults of `GossipConfig.lan`; the docstrings say what they rest on.
"""

from __future__ import annotations

from functools import partial

from gossip.events import MemberDown
from simulations.cluster import Host, Observer
from simulations.machine import Seen
from simulations.network import Conditions
from simulations.run import Run, Scenario

SEEDS = 2
BOOT_SPREAD_S = 1.0
JOIN_LIMIT_S = 15.0
LEAVE_LIMIT_S = 10.0
HEAL_LIMIT_S = 90.0
LOSSY_JOIN_LIMIT_S = 60.0
SPLIT_S = 300.0


class DeathCount(Observer):
    """How many verdicts of death there were."""

    def __init__(self) -> None:
        self.deaths = 0

    def saw(self, host: Host, seen: Seen) -> None:
        """Count a verdict."""
        self.deaths += isinstance(seen, MemberDown)


def boot(run: Run) -> None:
    """Start all hosts within a second, in random order, each knowing the first two; all agree.

    A joiner is told everything by a seed and spread by gossip in O(log n) rounds of 0.2 s.
    """
    order = list(run.hosts)
    run.rng.shuffle(order)
    for host in order:
        delay = run.rng.random() * BOOT_SPREAD_S
        run.world.after(delay, partial(start, run, host))
    run.world.run_for(BOOT_SPREAD_S)
    run.agree_within("all join", JOIN_LIMIT_S)


def start(run: Run, host: Host) -> None:
    """Boot one host that knows the seeds, but not itself."""
    run.cluster.start(host, [seed for seed in run.hosts[:SEEDS] if seed is not host])


def victims(run: Run, share: int) -> list[Host]:
    """One host of every `share`, at least one, never the first."""
    return run.rng.sample(run.hosts[1:], max(1, len(run.hosts) // share))


def cold_boot(run: Run) -> None:
    """All start at once; then nothing happens, and nothing must seem to happen."""
    boot(run)
    run.measure_traffic(60.0)


def crash(run: Run) -> None:
    """A tenth is killed. Noticing takes a probe or two and the suspicion, then gossip."""
    boot(run)
    killed = victims(run, 10)
    for host in killed:
        run.cluster.crash(host)
    run.agree_within("all notice the crash", run.suspicion_s + 10.0)
    run.world.run_for(10.0)
    for host in killed:
        start(run, host)
    run.agree_within("the crashed rejoin", JOIN_LIMIT_S)
    run.measure_traffic(20.0)


def split_heal(run: Run) -> None:
    """Two halves lose each other for five minutes, and find each other again by themselves."""
    boot(run)
    deaths = DeathCount()
    run.cluster.observers.append(deaths)
    shuffled = list(run.hosts)
    run.rng.shuffle(shuffled)
    half = len(shuffled) // 2
    run.cluster.split([shuffled[:half], shuffled[half:]])
    run.world.run_for(SPLIT_S)
    run.figures["verdicts of death"] = deaths.deaths
    run.cluster.heal()
    run.agree_within("the halves reunite", HEAL_LIMIT_S)
    run.measure_traffic(20.0)


def lossy_join(run: Run) -> None:
    """SWIM's own hard case: joining while a tenth of all datagrams is lost, some late or twice."""
    deaths = DeathCount()
    run.cluster.observers.append(deaths)
    for host in run.hosts:
        start(run, host)
        run.world.run_for(0.2)
    run.agree_within("all join", LOSSY_JOIN_LIMIT_S)
    run.measure_traffic(60.0)
    run.figures["verdicts of death"] = deaths.deaths
    run.agree_within("all still agree", 2 * run.suspicion_s)


def leave_rejoin(run: Run) -> None:
    """An eighth says goodbye, which needs no suspicion, and comes back with what its disk holds."""
    boot(run)
    leaving = victims(run, 8)
    for host in leaving:
        run.cluster.leave(host)
    run.agree_within("all see them leave", LEAVE_LIMIT_S)
    gone = {host.identity for host in leaving}
    states = [
        host.machine.states().get(identity)
        for host in run.cluster.running
        if host.machine is not None
        for identity in sorted(gone)
    ]
    left = states.count("left")
    run.expect("they left, not died", left == len(states), f"{left} of {len(states)} views")
    run.world.run_for(30.0)
    for host in leaving:
        start(run, host)
    run.agree_within("they rejoin", JOIN_LIMIT_S)
    run.measure_traffic(20.0)


LOSSY = Conditions(loss=0.10, duplicate=0.02, reorder=0.05)

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("cold-boot", "all hosts start within a second, then rest", cold_boot),
        Scenario("crash", "a tenth is killed and restarted", crash),
        Scenario(
            "split-heal", "two halves are cut apart for five minutes", split_heal, nodes_min=4
        ),
        Scenario("lossy-join", "hosts join while 10 % of datagrams are lost", lossy_join, LOSSY),
        Scenario("leave-rejoin", "an eighth leaves in order and comes back", leave_rejoin),
    )
}
