"""One lookup: whom it asks, what ends it, what it does with liars and the slow."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.ids import NodeId
from gossip.kademlia import distance
from gossip.lookup import MAX_QUERIES, MAX_SHORTLIST, Lookup, RoundTrip
from gossip.records import Record, RecordKind

OWN = NodeId(b"\xff" * 16)
TARGET = bytes(16)


def node(number: int) -> NodeId:
    """The smaller, the closer to the target."""
    return NodeId(number.to_bytes(16, "big"))


def told(number: int | NodeId, sequence: int = 1, kind: int = RecordKind.MEMBER) -> Record:
    subject = node(number) if isinstance(number, int) else number
    return Record(kind, bytes(32), subject, sequence, False, b"", bytes(64))


def a_lookup(begin: list[int], count: int = 4, paths: int = 1, parallelism: int = 3) -> Lookup:
    records = [told(number) for number in begin]
    return Lookup(TARGET, OWN, records, count, parallelism, paths, 10.0)


def test_the_closest_are_asked_first_and_only_so_many_at_a_time() -> None:
    lookup = a_lookup([40, 10, 30, 20, 50])
    assert lookup.next_queries(0.0) == [node(10), node(20), node(30)]
    assert lookup.next_queries(0.0) == []
    lookup.told(node(10), [told(5)], last=True)
    assert lookup.next_queries(0.0) == [node(5)]


def test_it_ends_when_the_closest_known_have_answered() -> None:
    lookup = a_lookup([10, 20, 30], count=2)
    for number in (10, 20):
        lookup.next_queries(0.0)
        assert not lookup.done(0.0)
        lookup.told(node(number), [], last=True)
    lookup.overdue(0.0, 0.0)
    assert lookup.done(0.0)
    assert [record.subject for record in lookup.closest()] == [node(10), node(20)]


def test_an_overdue_query_is_not_waited_for_but_its_answer_counts() -> None:
    lookup = a_lookup([10, 20, 30, 40])
    lookup.next_queries(0.0)
    assert lookup.next_check(0.5) == 0.5
    lookup.overdue(0.5, 0.5)
    assert lookup.next_queries(0.5) == [node(40)]
    assert lookup.asked_at(node(10)) == 0.0
    lookup.told(node(10), [told(1)], last=True)
    assert lookup.next_queries(0.6) == [node(1)]
    assert lookup.silent() == [node(20), node(30), node(40), node(1)]


def test_no_contact_is_asked_by_two_paths() -> None:
    lookup = a_lookup([10, 20, 30], paths=3, parallelism=9)
    first = lookup.next_queries(0.0)
    for number in (10, 20, 30):
        lookup.told(node(number), [told(5), told(6)], last=True)
    second = lookup.next_queries(0.0)
    assert sorted(first) == [node(10), node(20), node(30)]
    assert sorted(second) == [node(5), node(6)], "each by one path only"


def test_a_liar_is_out() -> None:
    lookup = a_lookup([10, 20])
    lookup.next_queries(0.0)
    lookup.lied(node(10))
    lookup.told(node(10), [told(1)], last=True)
    lookup.found(node(10), [told(1)])
    assert lookup.next_queries(0.0) == []
    assert lookup.bundles() == []
    lookup.told(node(20), [], last=True)
    assert lookup.done(0.0)
    assert [record.subject for record in lookup.closest()] == [node(20)]


def test_of_the_values_of_all_paths_the_newest_counts() -> None:
    lookup = a_lookup([10, 20, 30], paths=3)
    lookup.next_queries(0.0)
    lookup.told(node(20), [], last=True)
    for number, sequence in ((10, 4), (30, 7)):
        lookup.told(node(number), [], last=True)
        lookup.found(node(number), [told(99, sequence)])
        lookup.settle(node(number), 1.0)
    assert [bundle.member.sequence for bundle in lookup.bundles()] == [7]
    assert lookup.source(node(99)) == (node(30), 1)
    assert lookup.to_cache() == node(20)
    assert lookup.deadline == 1.0


def test_a_value_in_two_parts_is_one_bundle() -> None:
    lookup = a_lookup([10])
    lookup.next_queries(0.0)
    lookup.found(node(10), [told(99, kind=RecordKind.CERTIFICATE)])
    assert lookup.awaits(node(99))
    assert lookup.bundles() == []
    lookup.found(node(10), [told(99)])
    assert lookup.bundles()[0].certificate is not None


def test_a_value_ends_its_path_and_the_deadline_the_rest() -> None:
    lookup = a_lookup([10, 20, 30, 40], paths=2, parallelism=2)
    asked = lookup.next_queries(0.0)
    lookup.found(asked[0], [told(99)])
    lookup.told(asked[0], [told(1)], last=True)
    lookup.settle(asked[0], 0.5)
    assert not lookup.done(0.4)
    assert lookup.done(0.5)


def test_hops_are_counted_from_those_known_at_first() -> None:
    lookup = a_lookup([10])
    lookup.next_queries(0.0)
    lookup.told(node(10), [told(5)], last=True)
    lookup.next_queries(0.0)
    lookup.found(node(5), [told(99)])
    assert lookup.source(node(99)) == (node(5), 2)
    assert lookup.source(node(98)) == (None, 0)


def test_answers_of_those_who_were_not_asked_change_nothing() -> None:
    lookup = a_lookup([10])
    lookup.told(node(10), [told(5)], last=True)
    lookup.found(node(10), [told(99)])
    lookup.settle(node(10), 0.0)
    lookup.lied(node(10))
    assert lookup.next_queries(0.0) == [node(10)]
    assert lookup.bundles() == []


def test_the_own_id_is_never_asked() -> None:
    lookup = a_lookup([10])
    lookup.next_queries(0.0)
    lookup.told(node(10), [told(OWN)], last=True)
    assert lookup.next_queries(0.0) == []


@given(st.integers(0, 2**32), st.floats(0, 0.9), st.integers(1, 3), st.booleans())
def test_a_lookup_ends_under_any_loss_and_within_its_queries(
    seed: int, loss: float, paths: int, liars: bool
) -> None:
    rng = Random(seed)
    nodes = sorted(NodeId(rng.randbytes(16)) for _ in range(60))
    begin = [told(one) for one in rng.sample(nodes, 5)]
    lookup = Lookup(TARGET, OWN, begin, 8, 3, paths, 30.0)
    now, asked = 0.0, list[NodeId]()
    while not lookup.done(now):
        for one in lookup.next_queries(now):
            assert one not in asked
            asked.append(one)
            if rng.random() >= loss:
                shown = rng.sample(nodes, 4)
                if liars:
                    shown = [NodeId(rng.randbytes(16)) for _ in range(40)]
                lookup.told(one, [told(other) for other in shown], last=True)
        if lookup.done(now):
            break
        due = lookup.next_check(0.5)
        assert due > now or any(lookup.next_queries(now))
        now = due
        lookup.overdue(0.5, now)
    assert now <= 30.0
    assert len(asked) <= MAX_QUERIES
    assert all(len(path.shortlist) <= MAX_SHORTLIST for path in lookup._paths)
    found = [record.subject for record in lookup.closest()]
    assert found == sorted(found, key=lambda one: distance(one, TARGET))
    assert len(found) <= 8


def test_without_loss_the_closest_of_all_are_found() -> None:
    rng = Random(5)
    nodes = [NodeId(rng.randbytes(16)) for _ in range(300)]
    lookup = Lookup(TARGET, OWN, [told(one) for one in nodes[:3]], 8, 3, 3, 30.0)
    while not lookup.done(0.0):
        for one in lookup.next_queries(0.0):
            known = Random(one).sample(nodes, 100)
            shown = sorted(known, key=lambda other: distance(other, TARGET))[:8]
            lookup.told(one, [told(other) for other in shown], last=True)
    closest = sorted(nodes, key=lambda other: distance(other, TARGET))[:8]
    assert [record.subject for record in lookup.closest()] == closest


def test_patience_follows_the_round_trips() -> None:
    trips = RoundTrip()
    assert trips.timeout(0.05, 0.5) == 0.5
    trips.measure(0.1)
    assert trips.timeout(0.05, 0.5) == pytest.approx(0.3)
    for _ in range(100):
        trips.measure(0.001)
    assert trips.timeout(0.05, 0.5) == 0.05
