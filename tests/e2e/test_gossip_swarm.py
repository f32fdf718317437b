"""Our gossip in real processes over real UDP, as the benchmark beside serf runs it."""

from __future__ import annotations

import time

import pytest

from benchmarks.gossip.ours import Ours
from simulations.lab.namespaces import Lab
from simulations.lab.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.patient]

NODES = 8


def test_agents_join_spread_an_event_see_a_crash_and_heal_a_split() -> None:
    with Lab() as lab:
        swarm = Ours(lab, NODES)
        lab.on_close(swarm.watcher.close)
        swarm.start()
        began = time.monotonic()
        swarm.join()
        wait_until(swarm.agreed, "all to join", 20.0)
        assert swarm.agreed_at() > began
        swarm.publish(3, 17)
        wait_until(lambda: len(swarm.watcher.first("event", 17)) == NODES, "an event", 10.0)
        swarm.crash(5)
        wait_until(swarm.agreed, "the crash to be seen", 40.0)
        swarm.split()
        wait_until(lambda: not swarm.agreed(), "the split to be seen", 60.0)
        swarm.heal()
        wait_until(swarm.agreed, "the split to heal", 60.0)
        assert swarm.cpu_seconds() > 0
        assert 5 < swarm.resident_mb() < 200
        assert swarm.sent_bytes() > 10_000
