"""Presets and their limits."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from gossip.config import GossipConfig, Policy


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


def test_lifeguards_numbers_may_turn_it_off() -> None:
    off = replace(GossipConfig(), health_limit=0, suspicion_beta=1.0, suspicion_confirmations=0)
    assert (off.health_limit, off.suspicion_confirmations) == (0, 0)
    with pytest.raises(ValueError, match="health_limit"):
        replace(off, health_limit=-1)


def test_swim_is_plain_and_each_part_of_lifeguard_comes_back_alone() -> None:
    swim = GossipConfig.swim()
    assert not any(getattr(swim.policy, item.name) for item in fields(Policy))
    assert all(getattr(GossipConfig().policy, item.name) for item in fields(Policy))
    assert (swim.suspicion_alpha, swim.probe_timeout_min) == (5.0, swim.probe_timeout_max)
    buddy = replace(swim, policy=replace(swim.policy, buddy=True))
    assert buddy.policy.buddy
    assert not buddy.policy.nacks
