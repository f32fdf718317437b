"""How often what is idle is asked, with few peers and with many."""

from __future__ import annotations

import pytest

from meshd.node.allowance import PROBE_RATE
from meshd.node.pacing import (
    IDLE_INTERVAL,
    IDLE_INTERVAL_MAX,
    IDLE_RATE,
    PUNCH_RATE,
    RELAY_SEEK,
    RETRY_MAX,
    RETRY_RATE,
    SEEK_RATE,
    SPARE_INTERVAL,
    SPARE_INTERVAL_MAX,
    SPARE_RATE,
    Load,
    Pace,
)
from meshd.node.relay import IDLE_AFTER
from meshd.node.standby import FORGET_AFTER


def test_with_few_peers_each_has_the_shortest_pauses() -> None:
    load = Load(sessions=32, spares=30, candidates=20, relayed=9, active=9)
    assert load.pace() == Pace()
    assert (Pace().idle, Pace().spare) == (IDLE_INTERVAL, SPARE_INTERVAL)
    assert (Pace().retry, Pace().seek, Pace().seek_active) == (RETRY_MAX, RELAY_SEEK, RELAY_SEEK)


@pytest.mark.parametrize("nodes", [50, 100, 200])
def test_with_many_peers_all_together_are_asked_so_often(nodes: int) -> None:
    load = Load(nodes, spares=nodes, candidates=3 * nodes, relayed=nodes, active=0)
    pace = load.pace()
    assert nodes / pace.idle <= IDLE_RATE + 1e-9
    assert nodes / pace.spare <= SPARE_RATE + 1e-9
    assert 3 * nodes / pace.retry <= RETRY_RATE + 1e-9
    assert nodes / pace.seek <= SEEK_RATE + 1e-9
    assert nodes / pace.punch <= PUNCH_RATE + 1e-9
    assert pace.seek_active == RELAY_SEEK


def test_pauses_stay_below_what_nats_and_relays_remember() -> None:
    pace = Load(sessions=10_000, spares=10_000).pace()
    assert pace.idle == IDLE_INTERVAL_MAX < 30.0
    assert pace.spare == SPARE_INTERVAL_MAX < IDLE_AFTER == FORGET_AFTER


def test_a_spare_path_is_asked_no_more_often_than_the_one_in_use() -> None:
    assert Load(sessions=200, spares=1).pace().spare == IDLE_INTERVAL_MAX


def test_the_budget_leaves_room_beside_all_that() -> None:
    punched = 2 * 8 * PUNCH_RATE  # rounds of both ends, of up to eight probes
    looked = 2 * 6 * SEEK_RATE  # a path tried, and the one in use beside it; by both ends
    assert IDLE_RATE + SPARE_RATE + RETRY_RATE + punched + looked < PROBE_RATE
