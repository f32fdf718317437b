"""Counters."""

from __future__ import annotations

from gossip.statistics import Counters

from .cluster import protocol_of


def test_refusals_are_counted_by_reason() -> None:
    counters = Counters()
    counters.refuse("a")
    counters.refuse("a")
    counters.refuse("b")
    assert counters.refused == {"a": 2, "b": 1}


def test_statistics_are_of_one_instant() -> None:
    protocol = protocol_of("a")
    before = protocol.statistics()
    protocol.publish(0, b"", 0.0)
    assert (before.records, protocol.statistics().records) == (0, 1)
