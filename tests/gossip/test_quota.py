"""A token bucket for each node."""

from __future__ import annotations

from gossip.quota import Quota

from .cluster import id_of, key_of

A, B, C = (id_of(key_of(name)) for name in "abc")


def test_a_burst_is_served_and_then_the_rate() -> None:
    quota = Quota(2, 0.5, 10)
    assert [quota.take(A, 0.0) for _ in range(3)] == [True, True, False]
    assert [quota.take(A, 2.0) for _ in range(2)] == [True, False]


def test_what_is_left_can_be_asked_without_taking_it() -> None:
    quota = Quota(2, 0.5, 10)
    assert quota.left(A, 0.0) == 2
    quota.take(A, 0.0)
    assert quota.left(A, 0.0) == 1
    assert quota.left(A, 1.0) == 1.5
    assert quota.left(A, 9.0) == 2
    assert quota._buckets[A] == (1, 0.0)


def test_nobody_pays_for_another() -> None:
    quota = Quota(1, 1.0, 10)
    assert quota.take(A, 0.0)
    assert quota.take(B, 0.0)
    assert not quota.take(A, 0.0)


def test_only_the_last_few_are_remembered() -> None:
    quota = Quota(1, 0.01, 2)
    for node in (A, B, C):
        quota.take(node, 0.0)
    assert len(quota._buckets) == 2
    assert not quota.take(C, 0.0)
