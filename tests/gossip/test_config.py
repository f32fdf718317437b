"""Presets and their limits."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from gossip.config import GossipConfig


def test_lan_is_the_default_and_wan_is_slower() -> None:
    assert GossipConfig() == GossipConfig.lan()
    assert GossipConfig.wan().probe_period == 2 * GossipConfig.lan().probe_period


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        GossipConfig().probe_period = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"probe_period": 0.0},
        {"gossip_fanout": -1},
        {"probe_timeout_max": 1.0},
        {"probe_timeout_min": 0.6},
        {"packet_size": 1149},
        {"packet_size": 70000},
    ],
)
def test_numbers_that_cannot_work_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        replace(GossipConfig(), **change)  # type: ignore[arg-type]
