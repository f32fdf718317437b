"""A node's own records."""

from __future__ import annotations

import pytest

from gossip.errors import GossipError
from gossip.events import RecordChanged, SequenceChanged
from gossip.ids import MAX_SEQUENCE
from gossip.own import OwnRecords
from gossip.records import RecordKind

from .cluster import record_of
from .test_core import core_of

MEMBER, ROUTES = RecordKind.MEMBER, RecordKind.ROUTES


def test_every_record_has_the_next_sequence_which_is_told_before_it_is_used() -> None:
    core = core_of(3)
    own = OwnRecords(core, 7)
    first = own.publish(MEMBER, b"a", 0.0)
    second = own.publish(ROUTES, b"b", 0.0)
    assert (first.sequence, second.sequence, core.sequence) == (7, 8, 7)
    assert core.outputs == [
        SequenceChanged(7),
        RecordChanged(first),
        SequenceChanged(8),
        RecordChanged(second),
    ]


def test_a_body_too_large_uses_no_sequence() -> None:
    core = core_of()
    own = OwnRecords(core, 7)
    with pytest.raises(GossipError):
        own.publish(MEMBER, bytes(1000), 0.0)
    assert core.outputs == []
    assert own.publish(MEMBER, b"", 0.0).sequence == 7


def test_the_last_sequence_is_the_last() -> None:
    own = OwnRecords(core_of(), MAX_SEQUENCE)
    own.publish(MEMBER, b"", 0.0)
    with pytest.raises(GossipError) as caught:
        own.publish(MEMBER, b"", 0.0)
    assert caught.value.reason == "sequence-exhausted"


def test_an_accusation_is_refuted_by_signing_anew() -> None:
    core = core_of(3)
    own = OwnRecords(core, 5)
    own.publish(MEMBER, b"body", 0.0)
    own.refute(5, 1.0)
    record = core.store.get(core.identity, MEMBER)
    assert record is not None
    assert (record.sequence, record.body) == (6, b"body")
    assert (core.health, core.counters.refutations) == (1, 1)


@pytest.mark.parametrize("sequence", [4, 6, MAX_SEQUENCE])
def test_an_accusation_of_another_sequence_moves_nothing(sequence: int) -> None:
    core = core_of(3)
    own = OwnRecords(core, 5)
    own.publish(MEMBER, b"body", 0.0)
    own.refute(sequence, 1.0)
    assert core.sequence == 5


def test_others_make_it_raise_its_sequence_only_so_often() -> None:
    core = core_of(3)
    own = OwnRecords(core, 1)
    own.publish(MEMBER, b"body", 0.0)
    for count in range(100):
        own.refute(core.sequence, 1.0 + count / 100)
    assert core.sequence <= 4


def test_a_record_of_an_earlier_life_is_outdone() -> None:
    core = core_of()
    own = OwnRecords(core, 1)
    own.publish(MEMBER, b"new", 0.0)
    own.witness(record_of("self", 40, body=b"old"), 1.0)
    record = core.store.get(core.identity, MEMBER)
    assert record is not None
    assert (record.sequence, record.body) == (41, b"new")
    own.witness(record_of("self", 12, body=b"older"), 9.0)
    assert core.sequence == 41


def test_a_farewell_of_an_earlier_life_is_outdone_too() -> None:
    core = core_of()
    own = OwnRecords(core, 1)
    own.publish(MEMBER, b"new", 0.0)
    own.witness(record_of("self", 40, withdrawn=True), 1.0)
    record = core.store.get(core.identity, MEMBER)
    assert record is not None
    assert (record.sequence, record.withdrawn) == (41, False)


def test_a_kind_that_is_not_published_any_more_is_withdrawn_but_not_revocations() -> None:
    core = core_of()
    own = OwnRecords(core, 1)
    own.publish(MEMBER, b"new", 0.0)
    own.witness(record_of("self", 40, ROUTES), 1.0)
    routes = core.store.get(core.identity, ROUTES)
    assert routes is not None
    assert (routes.sequence, routes.withdrawn) == (41, True)
    lasting = record_of("self", 50, RecordKind.REVOCATIONS)
    own.witness(lasting, 1.0)
    assert core.store.get(core.identity, RecordKind.REVOCATIONS) == lasting
    assert own.publish(MEMBER, b"", 2.0).sequence == 51


def test_before_it_has_published_it_only_learns_how_far_it_had_come() -> None:
    core = core_of()
    own = OwnRecords(core, 1)
    own.witness(record_of("self", 40), 0.0)
    assert core.outputs == [SequenceChanged(40)]
    assert own.publish(MEMBER, b"", 0.0).sequence == 41


def test_a_lasting_record_of_an_earlier_life_is_told_before_it_is_outdone() -> None:
    core = core_of()
    own = OwnRecords(core, 1)
    own.publish(RecordKind.REVOCATIONS, b"nothing", 0.0)
    core.outputs.clear()
    lost = record_of("self", 50, RecordKind.REVOCATIONS, b"revoked")
    own.witness(lost, 1.0)
    told = [output.record for output in core.outputs if isinstance(output, RecordChanged)]
    assert [(record.sequence, record.body) for record in told] == [
        (50, b"revoked"),
        (51, b"nothing"),
    ]
