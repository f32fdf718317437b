"""Whole nodes of `meshd`: NATs, sessions, paths, relays and routes besides gossip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from math import inf

from gossip.records import RecordKind
from meshd.node.allowance import PROBE_BURST, PROBE_RATE
from meshd.node.records import encode_routes
from simulations.cluster import Host
from simulations.plan import Fault
from simulations.run import Run, Scenario
from simulations.scenarios.steps import JOIN_LIMIT_S, victims
from simulations.whole import NODES_MAX, WholeNode, node_cluster

QUIET_S = 200.0
PING_LIMIT_S = 45.0
PING_EVERY_S = 1.0
RELAY_DOWN_S, RELAY_PAUSE_S = 60.0, 20.0
EXITS = ("0.0.0.0/0", "::/0")
SETTLE_S = 20.0
"""Time for what gossip missed to be found by two comparisons of digests."""
NODES = 7
CROWD_SETTLES_S, CROWD_QUIET_S = 30.0, 60.0
CROWD_SAMPLE = 7


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


def nat_crowd(run: Run) -> None:
    """Many whole nodes behind NATs: what they probe stays within the budget of each, so that the
    whole grows with their number and not with its square."""
    boot_in_turn(run)
    begun, before = run.world.now, _probes(run)
    run.world.run_for(CROWD_SETTLES_S)
    settling = [count - old for count, old in zip(_probes(run), before, strict=True)]
    run.target(
        "most probes of a node after the start",
        max(settling) / (run.world.now - begun),
        _budget(CROWD_SETTLES_S),
        "per s",
    )
    before = _probes(run)
    run.measure_traffic(CROWD_QUIET_S)
    idle = [(count - old) / CROWD_QUIET_S for count, old in zip(_probes(run), before, strict=True)]
    run.target("most probes of a node in peace", max(idle), _budget(CROWD_QUIET_S), "per s")
    run.target("probes of all in peace, per node", sum(idle) / len(idle), PROBE_RATE, "per s")
    sample = run.hosts[:: max(1, len(run.hosts) // CROWD_SAMPLE)]
    ping_all(run, "a sample of all pairs answers a ping", sample)


def _budget(seconds: float) -> float:
    """Probes per second that a node's bucket lets through in so many seconds."""
    return PROBE_RATE + PROBE_BURST / seconds


def _probes(run: Run) -> list[int]:
    return [whole(host).node.state.probes.taken for host in run.hosts]


def crash_plan(run: Run) -> Sequence[Fault]:
    """A seventh is killed."""
    return [Fault("crash", victims(run, 1 / 7))]


def node_crash(run: Run) -> None:
    """A whole node is killed, noticed, and comes back with its certificate and its counters."""
    boot_in_turn(run)
    ping_all(run, "every pair answers a ping")
    run.strike()
    run.agree_within("all notice the crash", run.suspicion_s + 10.0)
    run.heal(JOIN_LIMIT_S)
    ping_all(run, "every pair answers again")
    run.measure_traffic(SETTLE_S)


def relay_plan(run: Run) -> Sequence[Fault]:
    """Of the two hosts in the open first one dies, and when it is back the other."""
    return [
        Fault("crash", (number,), number * (RELAY_DOWN_S + RELAY_PAUSE_S), RELAY_DOWN_S)
        for number in range(2)
    ]


def relay_death(run: Run) -> None:
    """Two symmetric NATs have only a relay between them: when it dies, they take another."""
    boot_in_turn(run)
    ping_all(run, "every pair answers a ping")
    run.strike()
    for number in range(2):
        rest = [host for host in run.hosts if host.number != number]
        ping_all(run, f"all others answer without host {number}", rest)
        run.world.run_until(lambda: len(run.cluster.running) == len(run.hosts), inf)
        run.world.run_for(RELAY_PAUSE_S - 1.0)
        run.world.run_until(lambda: len(run.cluster.running) < len(run.hosts), run.world.now + 2.0)
    run.heal(JOIN_LIMIT_S)
    ping_all(run, "every pair answers again")


def exit_hijack(run: Run) -> None:
    """A member offers the default route and a neighbour's address, which nobody granted it."""
    boot_in_turn(run)
    thief, victim = run.hosts[-1], run.hosts[0]
    thief.honest = False
    stolen = f"{whole(victim).node.state.identity.certificate.address4}/32"
    body = encode_routes([*EXITS, stolen])
    gossip = whole(thief).node.gossip

    def offer(now: float) -> None:
        gossip.publish(RecordKind.ROUTES, body, now)

    run.cluster.act(thief, offer)
    run.world.run_for(SETTLE_S)
    others = [host for host in run.hosts if host is not thief]
    seen = [whole(host).node.gossip.statistics().refused for host in others]
    refused = [counts for counts in seen if counts.get("not-admitted")]
    run.figures["hosts that refused the routes"] = len(refused)
    run.expect("the routes were told, and refused", bool(refused), f"by {len(refused)} hosts")
    taken = sum(len(whole(host).node.routes()) for host in others)
    run.expect("nobody installed them", not taken, f"{taken} are installed")
    stray = [h.number for h in others if whole(h).node.route(ip_address("192.0.2.1"))[0]]
    run.expect("nothing goes to an exit that is none", not stray, f"{len(stray)} hosts send there")
    ping_all(run, "every pair answers a ping")


def boot_in_turn(run: Run) -> None:
    """Start whole nodes one after the other, as enrolments are: the seeds are there before."""
    for host in run.hosts:
        run.start(host)
        run.world.run_for(0.2)
    run.agree_within("all join", JOIN_LIMIT_S)


def whole(host: Host) -> WholeNode:
    """The whole node on a running host."""
    if not isinstance(host.machine, WholeNode):
        raise TypeError(f"host {host.number} runs no whole node")
    return host.machine


def ping_all(run: Run, name: str, hosts: Sequence[Host] | None = None) -> None:
    """All (or these) ping each other, again and again until answered, within `PING_LIMIT_S`."""
    begun = run.world.now
    hosts = run.hosts if hosts is None else hosts
    silent = [(host, other) for host in hosts for other in hosts if other is not host]
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


SCENARIOS = (
    Scenario(
        "nat-mesh",
        "whole nodes behind all kinds of NAT talk, and again after a silence",
        nat_mesh,
        build=node_cluster,
        nodes=NODES,
        nodes_max=NODES_MAX,
    ),
    Scenario(
        "nat-crowd",
        "many whole nodes behind NATs keep to their budget of probes",
        nat_crowd,
        build=node_cluster,
        nodes=NODES,
        nodes_max=NODES_MAX,
    ),
    Scenario(
        "node-crash",
        "a seventh of whole nodes is killed and restarted",
        node_crash,
        build=node_cluster,
        nodes=NODES,
        nodes_max=NODES_MAX,
        plan=crash_plan,
    ),
    Scenario(
        "relay-death",
        "relays between whole nodes die, one after another",
        relay_death,
        build=node_cluster,
        nodes=NODES,
        nodes_min=NODES,
        nodes_max=NODES_MAX,
        plan=relay_plan,
    ),
    Scenario(
        "exit-hijack",
        "a whole node offers routes that no certificate grants it",
        exit_hijack,
        build=node_cluster,
        nodes=NODES,
        nodes_max=NODES_MAX,
    ),
)
