"""From ``meshd join`` to the first answered ping; then memory and idle CPU with five peers."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks.report import Target
from simulations.lab.host import Host, addresses
from simulations.lab.mesh import found, invite, wait_connected
from simulations.lab.namespaces import Lab
from simulations.lab.ping import Pinger
from simulations.lab.topology import Internet
from simulations.lab.waiting import LabError, wait_until

PEERS = 5
SETTLE_S = 5


def time_join(founder: Host, joiner: Host, target: str) -> float:
    """Seconds from starting ``meshd join`` to the first answered ping, with ``up`` in between."""
    token = invite(founder, "--name", joiner.name)
    with Pinger(joiner.namespace) as pinger:
        began = time.monotonic()
        joiner.must("join", "-", text=token + "\n")
        joiner.start()
        wait_until(lambda: pinger.ping(target, 0.02), "the first ping", 20.0, interval_s=0.005)
        return time.monotonic() - began


def idle_cpu_percent(hosts: Sequence[Host], seconds: float) -> list[float]:
    """The share of one core that each daemon uses while nothing is asked of it, in percent."""
    time.sleep(SETTLE_S)
    before, began = [host.cpu_seconds() for host in hosts], time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return [
        (host.cpu_seconds() - cpu) / took * 100 for host, cpu in zip(hosts, before, strict=True)
    ]


def main(argv: Sequence[str]) -> tuple[dict[str, object], list[Target]]:
    """Measure, print, and return the JSON's content and the targets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks join", description=__doc__)
    parser.add_argument("--idle", type=float, default=20.0, help="seconds to watch the CPU")
    options = parser.parse_args(argv)
    if options.idle <= 0:
        raise LabError("--idle takes a positive number of seconds")
    with Lab() as lab:
        internet = Internet(lab)
        hosts = [Host(lab, internet.host(f"node{i}")) for i in range(PEERS + 1)]
        target, _ = addresses(found(hosts[0]))
        joins = []
        for joiner in hosts[1:]:
            joins.append(time_join(hosts[0], joiner, target))
            print(f"{joiner.name}: joined in {joins[-1]:.2f} s", file=sys.stderr)
        wait_connected(hosts)
        for host in hosts:
            host.metrics()  # what the first scrape loads stays in memory: count it
        cpu = idle_cpu_percent(hosts, options.idle)
        memory = [host.resident_mb() for host in hosts]
    print(f"join to first ping: {statistics.median(joins):.2f} s (worst {max(joins):.2f} s)")
    print(f"with {PEERS} peers: memory {max(memory):.1f} MB, idle CPU {max(cpu):.2f} % (the most)")
    content: dict[str, object] = {"join_s": joins, "memory_mb": memory, "idle_cpu_percent": cpu}
    return content, [
        Target("join to first ping, s", statistics.median(joins), most=2.0),
        Target(f"memory with {PEERS} peers, MB", max(memory), most=80.0),
        Target(f"idle CPU with {PEERS} peers, %", max(cpu), most=1.0),
    ]
