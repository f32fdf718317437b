"""The routing table: bounds, old before new, exact closeness, and the estimate."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gossip.ids import NodeId
from gossip.kademlia import BITS, MAX_FAILURES, MAX_STALE, RoutingTable, distance
from gossip.records import Record, RecordKind

OWN = NodeId(bytes(16))
ids = st.binary(min_size=16, max_size=16).map(NodeId).filter(lambda node: node != OWN)


def told(node: NodeId, sequence: int = 1) -> Record:
    """A record as it is after verification: the table does not look at signatures."""
    return Record(RecordKind.MEMBER, bytes(32), node, sequence, False, b"", bytes(64))


def far(number: int) -> NodeId:
    """Ids of one bucket: the farthest."""
    return NodeId(b"\x80" + number.to_bytes(15, "big"))


def full_bucket(k: int = 4) -> RoutingTable:
    table = RoutingTable(OWN, k)
    assert all(table.heard(told(far(n)), float(n)) for n in range(k))
    return table


def test_distance_is_the_xor_of_two_ids() -> None:
    assert distance(far(5), far(5)) == 0
    assert distance(OWN, far(1)) == (1 << 127) + 1


def test_an_old_contact_that_lives_is_preferred_over_a_new_one() -> None:
    table = full_bucket()
    assert not table.heard(told(far(9)), 9.0)
    assert [contact.record.subject for contact in table] == [far(n) for n in range(4)]


def test_a_contact_that_fails_gives_way_to_the_last_heard_that_waits() -> None:
    table = full_bucket()
    table.heard(told(far(8)), 8.0)
    table.heard(told(far(9)), 9.0)
    for _ in range(MAX_FAILURES):
        table.failed(far(0))
    assert {c.record.subject for c in table} == {far(1), far(2), far(3), far(9)}


def test_a_contact_that_fails_stays_for_longer_while_nobody_waits() -> None:
    table = full_bucket()
    for _ in range(MAX_STALE - 1):
        table.failed(far(0))
    assert len(table) == 4
    table.failed(far(0))
    assert len(table) == 3


def test_a_failing_contact_gives_its_place_to_a_newcomer_at_once() -> None:
    table = full_bucket()
    table.failed(far(0))
    assert table.heard(told(far(9)), 9.0)
    table.remove(far(9))
    assert table.get(far(0)) is not None, "it waits"


def test_being_heard_makes_up_for_failures_and_for_age() -> None:
    table = full_bucket()
    table.failed(far(0))
    table.heard(told(far(0)), 9.0)
    assert not table.heard(told(far(9)), 9.0)


def test_an_older_record_does_not_replace_a_newer_one() -> None:
    table = RoutingTable(OWN, 4)
    table.heard(told(far(1), 5), 1.0)
    table.heard(told(far(1), 3), 2.0)
    contact = table.get(far(1))
    assert contact is not None
    assert (contact.record.sequence, contact.heard_at) == (5, 2.0)


def test_the_node_itself_is_no_contact() -> None:
    table = RoutingTable(OWN, 4)
    assert not table.heard(told(OWN), 1.0)
    table.failed(OWN)
    assert len(table) == 0
    assert table.refresh_target(Random(1)) == OWN


@given(st.lists(ids, max_size=80), ids | st.just(OWN), ids | st.just(OWN))
def test_contacts_by_distance_are_all_and_no_group_is_closer_than_one_before(
    nodes: list[NodeId], own: NodeId, target: NodeId
) -> None:
    table = RoutingTable(own, 4)
    for node in nodes:
        table.heard(told(node), 0.0)
    groups = [
        sorted(distance(contact.record.subject, target) for contact in group)
        for group in table.by_distance(int.from_bytes(target, "big"))
    ]
    together = [far for group in groups for far in group]
    assert together == sorted(distance(contact.record.subject, target) for contact in table)


@given(
    st.lists(
        st.tuples(st.sampled_from(["heard", "failed", "remove"]), st.integers(0, 40)), max_size=200
    )
)
def test_the_table_never_exceeds_its_bounds(story: list[tuple[str, int]]) -> None:
    table = RoutingTable(OWN, 3)
    for verb, number in story:
        node = NodeId(bytes((1 << (number % 4),)) + number.to_bytes(15, "big"))
        if verb == "heard":
            table.heard(told(node), 0.0)
        elif verb == "failed":
            table.failed(node)
        else:
            table.remove(node)
        for bucket in table._buckets.values():
            assert 0 < len(bucket.contacts) <= 3
            assert len(bucket.waiting) <= 3
            assert not bucket.contacts.keys() & bucket.waiting.keys()


@given(st.lists(ids, min_size=1, max_size=40), st.integers(0, 1000))
def test_what_is_refreshed_is_no_closer_than_the_closest(nodes: list[NodeId], seed: int) -> None:
    table = RoutingTable(OWN, 4)
    for node in nodes:
        table.heard(told(node), 0.0)
    nearest = min(distance(OWN, node).bit_length() for node in nodes)
    assert distance(OWN, table.refresh_target(Random(seed))).bit_length() >= nearest


def test_the_size_is_told_by_how_close_the_closest_are() -> None:
    for size in (200, 2000, 20000):
        estimates = []
        for seed in range(20):
            rng = Random(seed)
            table = RoutingTable(NodeId(rng.randbytes(16)), 16)
            for _ in range(size - 1):
                table.heard(told(NodeId(rng.randbytes(16))), 0.0)
            estimates.append(table.estimate())
        assert 0.9 < sum(estimates) / len(estimates) / size < 1.1
        assert all(0.4 < estimate / size < 2 for estimate in estimates)


def test_few_contacts_are_counted_not_estimated() -> None:
    table = RoutingTable(OWN, 16)
    for number in range(5):
        table.heard(told(far(number)), 0.0)
    assert (table.estimate(), BITS) == (6, 128)
