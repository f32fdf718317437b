"""Choosing among those who offer a route."""

from __future__ import annotations

import pytest

from gossip.ids import NodeId
from gossip.routes import MAX_PREFIXES, RouteTable

from .cluster import FakeAuthority, key_of

A, B, C = (NodeId(bytes([i]) * 16) for i in (1, 2, 3))


@pytest.fixture
def table() -> RouteTable:
    return RouteTable(FakeAuthority(key_of("a")))


def test_the_longest_prefix_wins(table: RouteTable) -> None:
    table.offer(A, ["10.0.0.0/8", "fd00::/16"])
    table.offer(B, ["10.1.0.0/16"])
    assert table.best("10.1.2.3") == B
    assert table.best("10.2.2.3") == A
    assert table.best("fd00::1") == A
    assert table.best("192.0.2.1") is None


def test_then_the_cheapest_path_and_then_the_lowest_id(table: RouteTable) -> None:
    for node in (C, B, A):
        table.offer(node, ["10.0.0.0/8"])
    assert table.origins("10.0.0.1") == (A, B, C)
    assert table.best("10.0.0.1") == A
    assert table.best("10.0.0.1", lambda node: {A: 5.0, B: 2.0, C: 2.0}[node]) == B
    assert table.best("10.0.0.1", lambda node: float("inf")) is None


def test_what_is_not_granted_or_no_prefix_is_refused(table: RouteTable) -> None:
    bad = ["0.0.0.0/0", "10.0.0.1/8", "nonsense", ""]
    assert table.offer(A, ["10.0.0.0/8", *bad]) == tuple(bad)
    assert table.offers() == [("10.0.0.0/8", A)]


def test_an_offer_replaces_the_one_before(table: RouteTable) -> None:
    table.offer(A, ["10.0.0.0/8"])
    table.offer(A, ["10.1.0.0/16"])
    assert table.best("10.2.0.1") is None
    table.withdraw(A)
    table.withdraw(A)
    assert table.best("10.1.0.1") is None
    assert table.offers() == []


def test_withdrawing_one_of_two_leaves_the_other(table: RouteTable) -> None:
    table.offer(A, ["10.0.0.0/8"])
    table.offer(B, ["10.0.0.0/8", "10.1.0.0/16"])
    table.withdraw(B)
    assert table.best("10.1.0.1") == A


def test_one_origin_offers_only_so_many(table: RouteTable) -> None:
    refused = table.offer(A, [f"10.{index}.0.0/16" for index in range(100)])
    assert len(table.offers()) == MAX_PREFIXES
    assert len(refused) == 100 - MAX_PREFIXES


def test_a_default_route_works_where_it_is_granted(table: RouteTable) -> None:
    table.offer(A, ["::/0"])
    assert table.best("2001:db8::1") == A
    assert table.best("192.0.2.1") is None
