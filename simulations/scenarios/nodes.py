"""Whole nodes of `meshd`: NATs, sessions, paths, relays and routes besides gossip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from simulations.cluster import Host
from simulations.plan import Fault
from simulations.run import Run, Scenario
from simulations.scenarios.steps import JOIN_LIMIT_S, victims
from simulations.whole import NODES_MAX, WholeNode, node_cluster

QUIET_S = 200.0
PING_LIMIT_S = 45.0
PING_EVERY_S = 1.0
SETTLE_S = 20.0
"""Time for what gossip missed to be found by two comparisons of digests."""
NODES = 7


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
        "node-crash",
        "a seventh of whole nodes is killed and restarted",
        node_crash,
        build=node_cluster,
        nodes=NODES,
        nodes_max=NODES_MAX,
        plan=crash_plan,
    ),
)
