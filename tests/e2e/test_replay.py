"""The simulator against real UDP: a short workload, and a loose bound for a busy machine.

`python -m benchmarks replay` has the long one and the tight bound.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.gossip.replay import measure_latency, plan, run_real, simulate
from gossip import GossipConfig

pytestmark = pytest.mark.e2e

CONFIG = replace(GossipConfig.lan(), gossip_interval=0.3, probe_period=0.5, probe_timeout_max=0.25)
"""Rounds that are long beside what a busy machine is late by, and a detection that is not."""
LOOSE = 1.8
"""Times the least and the most of what the simulator says: two crashes are no statistics."""


def test_what_the_simulator_says_happens_on_real_sockets_too() -> None:
    workload = plan(10, 25, 2, CONFIG, seed=5)
    real, late = run_real(workload, CONFIG, seed=1)
    latency = measure_latency()
    virtual = [simulate(workload, CONFIG, latency, late, seed) for seed in range(5)]
    for times in (real, *virtual):  # news that gossip misses comes later than this lasts
        assert 25 * 6 <= len(times.infection) <= 25 * 7
        assert 2 * 7 <= len(times.detection) <= 2 * 8
    found = real.figures()
    for name in ("infection p50, s", "detection p50, s"):
        expected = [times.figures()[name] for times in virtual]
        assert min(expected) / LOOSE < found[name] < max(expected) * LOOSE, name
