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
from simulations.whole import NODES_MAX as WHOLE_NODES_MAX
from simulations.whole import WholeNode, node_cluster

SEEDS = 2
BOOT_SPREAD_S = 1.0
JOIN_LIMIT_S = 15.0
LEAVE_LIMIT_S = 10.0
HEAL_LIMIT_S = 90.0
LOSSY_JOIN_LIMIT_S = 60.0
SPLIT_S = 300.0
RECOVERY_S = 15.0
SETTLE_S = 20.0
"""Time for what gossip missed to be found by two comparisons of digests."""
QUIET_S = 200.0
PING_LIMIT_S = 45.0
PING_EVERY_S = 1.0
WHOLE_NODES = 7


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
    """SWIM's own hard case: joining while a tenth of all datagrams is lost, some late or twice.

    In the end the network is well again, and all must be so too.
    """
    deaths = DeathCount()
    run.cluster.observers.append(deaths)
    for host in run.hosts:
        start(run, host)
        run.world.run_for(0.2)
    run.agree_within("all join", LOSSY_JOIN_LIMIT_S)
    run.measure_traffic(60.0)
    run.figures["verdicts of death"] = deaths.deaths
    run.network.conditions = Conditions()
    run.world.run_for(RECOVERY_S)
    run.agree_within("all agree without loss", 1.0)


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


def nat_mesh(run: Run) -> None:
    """Whole nodes behind every kind of NAT: every pair talks, and still does after long silence.

    Mappings die after two minutes without a packet; two symmetric NATs leave only a relay.
    """
    boot_in_turn(run)
    ping_all(run, "every pair answers a ping")
    kinds = [
        whole(host).path_kind(other.identity)
        for host in run.hosts
        for other in run.hosts
        if other is not host
    ]
    run.figures.update(
        {"direct paths": kinds.count("direct"), "relayed paths": kinds.count("relay")}
    )
    run.measure_traffic(QUIET_S)
    ping_all(run, "every pair answers after the silence")
    run.agree_within("all still agree", 1.0)


def node_crash(run: Run) -> None:
    """A whole node is killed, noticed, and comes back with its certificate and its counters."""
    boot_in_turn(run)
    ping_all(run, "every pair answers a ping")
    killed = victims(run, 7)
    for host in killed:
        run.cluster.crash(host)
    run.agree_within("all notice the crash", run.suspicion_s + 10.0)
    for host in killed:
        start(run, host)
    run.agree_within("the crashed rejoin", JOIN_LIMIT_S)
    ping_all(run, "every pair answers again")
    run.measure_traffic(SETTLE_S)


def boot_in_turn(run: Run) -> None:
    """Start whole nodes one after the other, as enrolments are: the seeds are there before."""
    for host in run.hosts:
        start(run, host)
        run.world.run_for(0.2)
    run.agree_within("all join", JOIN_LIMIT_S)


def whole(host: Host) -> WholeNode:
    """The whole node on a running host."""
    if not isinstance(host.machine, WholeNode):
        raise TypeError(f"host {host.number} runs no whole node")
    return host.machine


def ping_all(run: Run, name: str) -> None:
    """Every host pings every other, again and again until answered; all within `PING_LIMIT_S`."""
    begun = run.world.now
    silent = [(host, other) for host in run.hosts for other in run.hosts if other is not host]
    pairs, times = len(silent), list[float]()
    while silent and run.world.now < begun + PING_LIMIT_S:
        for token, (host, other) in enumerate(silent):
            run.cluster.act(host, partial(whole(host).ping, other.identity, token))
        run.world.run_for(PING_EVERY_S)
        pongs = [whole(host).pongs.pop(token, None) for token, (host, _) in enumerate(silent)]
        times += [pong.rtt for pong in pongs if pong is not None and pong.rtt is not None]
        answered = [pong is not None and pong.rtt is not None for pong in pongs]
        silent = [pair for pair, done in zip(silent, answered, strict=True) if not done]
    run.figures[f"{name}, last s"] = round(run.world.now - begun, 1)
    run.figures[f"{name}, slowest ms"] = round(1e3 * max(times, default=0.0), 1)
    examples = ", ".join(f"{host.number} to {other.number}" for host, other in silent[:8])
    detail = f"{len(times)} of {pairs}" + (f"; not {examples}" if silent else "")
    run.expect(name, not silent, detail)


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
        Scenario(
            "nat-mesh",
            "whole nodes behind all kinds of NAT talk, and again after a silence",
            nat_mesh,
            build=node_cluster,
            nodes=WHOLE_NODES,
            nodes_max=WHOLE_NODES_MAX,
        ),
        Scenario(
            "node-crash",
            "a seventh of whole nodes is killed and restarted",
            node_crash,
            build=node_cluster,
            nodes=WHOLE_NODES,
            nodes_max=WHOLE_NODES_MAX,
        ),
    )
}
