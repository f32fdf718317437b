"""Records that wait: the newest, within bounds, and fairly among those who told of them."""

from __future__ import annotations

import pytest

from gossip import NodeId, Record, RecordKind
from meshd.node.pending import Pending

LOUD, QUIET, OTHER = (NodeId(letter * 16) for letter in (b"l", b"q", b"o"))


def about(number: int, kind: int = RecordKind.ROUTES, sequence: int = 1) -> Record:
    subject = NodeId(number.to_bytes(16, "big"))
    return Record(kind, bytes(32), subject, sequence, False, b"", b"")


def everything(record: Record) -> bool:
    return True


@pytest.fixture
def pending() -> Pending:
    return Pending(8)


def test_of_a_subject_and_kind_the_newest_waits(pending: Pending) -> None:
    for record in (about(1, sequence=2), about(1, sequence=3), about(1), about(1, 3)):
        pending.put(record, QUIET)
    assert pending.take(lambda record: record.kind == 3) == [about(1, 3)]
    assert pending.take(everything) == [about(1, sequence=3)]
    assert len(pending) == 0


def test_whoever_told_the_most_loses_its_oldest(pending: Pending) -> None:
    pending.put(about(1), QUIET)
    pending.put(about(2), OTHER)
    for number in range(100, 150):
        pending.put(about(number), LOUD)
    kept = [about(1), about(2), *map(about, range(144, 150))]
    assert pending.take(everything) == kept


def test_of_one_teller_the_oldest_goes(pending: Pending) -> None:
    for number in range(20):
        pending.put(about(number), QUIET)
    assert pending.take(everything) == [about(number) for number in range(12, 20)]


def test_whoever_told_the_least_counts_as_the_teller(pending: Pending) -> None:
    pending.put(about(1), LOUD)
    pending.put(about(2), LOUD)
    pending.put(about(1), QUIET)
    for number in range(100, 150):
        pending.put(about(number), LOUD)
        pending.put(about(1), LOUD)
    kept = pending.take(everything)
    assert about(1) in kept
    assert about(2) not in kept


def test_subjects_are_named_in_turns_and_each_once(pending: Pending) -> None:
    for number in (1, 2, 3):
        pending.put(about(number), LOUD)
    pending.put(about(3, 3), LOUD)
    pending.put(about(7), QUIET)
    pending.put(about(8), QUIET)
    pending.put(about(9, 3), OTHER)
    subjects = [int.from_bytes(node, "big") for node in pending.subjects(everything)]
    assert subjects == [1, 7, 9, 2, 8, 3]
    assert pending.subjects(lambda record: record.kind == 7) == []
