"""Lifeguard's formula."""

from __future__ import annotations

import pytest

from gossip import suspicion
from gossip.config import GossipConfig

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
