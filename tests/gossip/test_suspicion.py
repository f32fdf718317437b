"""Lifeguard's formula, and the quota."""

from __future__ import annotations

import pytest

from gossip import suspicion
from gossip.config import GossipConfig

from .cluster import id_of, key_of

LAN, WAN = GossipConfig.lan(), GossipConfig.wan()


@pytest.mark.parametrize(
    ("config", "members", "low", "high"),
    [(LAN, 5, 3, 18), (LAN, 100, 6, 36), (LAN, 1000, 9, 54), (WAN, 1000, 24, 144)],
)
def test_the_bounds_are_those_of_the_paper(
    config: GossipConfig, members: int, low: float, high: float
) -> None:
    assert suspicion.shortest(config, members) == pytest.approx(low)
    assert suspicion.longest(config, members) == pytest.approx(high)
    assert suspicion.timeout(config, members, 0) == pytest.approx(high)
    assert suspicion.timeout(config, members, 2) == pytest.approx(low)
    assert suspicion.timeout(config, members, 9) == pytest.approx(low)


def test_every_confirmation_shortens_less_than_the_one_before() -> None:
    first = suspicion.timeout(LAN, 100, 0) - suspicion.timeout(LAN, 100, 1)
    second = suspicion.timeout(LAN, 100, 1) - suspicion.timeout(LAN, 100, 2)
    assert first > second > 0


@pytest.mark.parametrize("members", [1, 2, 3])
def test_with_nobody_to_confirm_it_is_short_at_once(members: int) -> None:
    assert suspicion.timeout(LAN, members, 0) == suspicion.shortest(LAN, members)


def test_an_accuser_has_a_burst_and_then_a_rate() -> None:
    quota = suspicion.AccusationQuota(LAN)
    spammer, other = id_of(key_of("s")), id_of(key_of("o"))
    heard = sum(quota.take(spammer, 0.0) for _ in range(1000))
    assert heard == LAN.accusation_burst
    assert quota.take(other, 0.0)
    assert sum(quota.take(spammer, 3.0) for _ in range(1000)) == 3 * LAN.accusation_rate


def test_the_memory_of_accusers_is_bounded() -> None:
    quota = suspicion.AccusationQuota(GossipConfig(max_members=10))
    for name in range(100):
        quota.take(id_of(key_of(name)), 0.0)
    assert len(quota._buckets) == 10
