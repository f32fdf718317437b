"""The store and its digest."""

from __future__ import annotations

import pytest

from gossip.messages import BUCKETS
from gossip.records import RecordKind
from gossip.store import RecordStore, bucket_range

from .cluster import id_of, key_of, record_of

ALL = bucket_range(0, BUCKETS - 1)


def test_equal_contents_have_equal_digests_whatever_the_order() -> None:
    made = [record_of(name, kind=kind) for name in range(20) for kind in (0, 2)]
    first, second = RecordStore(100), RecordStore(100)
    for record in made:
        first.put(record)
    for record in reversed(made):
        second.put(record_of("passing")) if record is made[3] else None
        second.put(record)
    assert first.digest != second.digest
    second.forget(id_of(key_of("passing")))
    assert (first.digest, first.hashes()) == (second.digest, second.hashes())
    assert len(first) == len(second) == 40


def test_a_newer_record_replaces_its_share_of_the_digest() -> None:
    first, second = RecordStore(100), RecordStore(100)
    first.put(record_of("a", 1))
    first.put(record_of("a", 2))
    second.put(record_of("a", 2))
    assert first.digest == second.digest
    assert list(first.offered(*ALL)) == [record_of("a", 2)]


def test_two_records_of_one_sequence_do_not_look_the_same() -> None:
    first, second = RecordStore(100), RecordStore(100)
    first.put(record_of("a", 1, body=b"x"))
    second.put(record_of("a", 1, body=b"y"))
    assert first.digest != second.digest


def test_what_is_hidden_is_kept_but_not_offered() -> None:
    store = RecordStore(100)
    store.put(record_of("a", 1))
    node = id_of(key_of("a"))
    store.hide(node)
    assert (store.digest, list(store.offered(*ALL))) == (0, [])
    assert store.get(node, 0) == record_of("a", 1)
    store.put(record_of("a", 2))
    fresh = RecordStore(100)
    fresh.put(record_of("a", 2))
    assert store.digest == fresh.digest


def test_what_is_forgotten_does_not_come_back_but_newer_does() -> None:
    store = RecordStore(100)
    store.put(record_of("a", 5))
    store.put(record_of("a", 6, RecordKind.ROUTES))
    node = id_of(key_of("a"))
    store.hide(node)
    store.forget(node)
    assert (len(store), store.digest, list(store)) == (0, 0, [])
    assert store.outdated(node, RecordKind.MEMBER, 5)
    assert store.outdated(node, RecordKind.ROUTES, 6)
    assert not store.outdated(node, RecordKind.MEMBER, 6)


def test_what_was_forgotten_stays_so_though_its_subject_is_forgotten_again() -> None:
    store, node = RecordStore(100), id_of(key_of("a"))
    store.put(record_of("a", 5))
    store.put(record_of("a", 4, kind=RecordKind.REVOCATIONS))
    store.forget(node)
    store.forget(node)  # its revocations are held still
    assert store.outdated(node, RecordKind.MEMBER, 5)


def test_revocations_outlive_their_subject() -> None:
    store = RecordStore(100)
    store.put(record_of("a", 5))
    store.put(record_of("a", 6, RecordKind.REVOCATIONS))
    node = id_of(key_of("a"))
    store.forget(node)
    kept = record_of("a", 6, RecordKind.REVOCATIONS)
    fresh = RecordStore(100)
    fresh.put(kept)
    assert list(store.offered(*ALL)) == [kept]
    assert store.digest == fresh.digest


@pytest.mark.parametrize("kind", [RecordKind.REVOCATIONS, RecordKind.DEPARTURE])
def test_what_lasts_is_offered_while_the_rest_of_its_subject_is_hidden(kind: RecordKind) -> None:
    store, lasting = RecordStore(100), record_of("a", 6, kind)
    store.put(record_of("a", 5))
    store.put(lasting)
    node = id_of(key_of("a"))
    whole = store.digest
    store.hide(node)
    fresh = RecordStore(100)
    fresh.put(lasting)
    assert list(store.offered(*ALL)) == [lasting]
    assert (store.digest, store.hashes()) == (fresh.digest, fresh.hashes())
    store.put(record_of("a", 7))
    assert list(store.offered(*ALL)) == [record_of("a", 7), lasting]
    assert store.digest not in (whole, fresh.digest)
    store.hide(node)
    store.forget(node)
    assert (store.digest, list(store.offered(*ALL))) == (fresh.digest, [lasting])


def test_one_record_may_be_dropped_and_nothing_is_left_of_it() -> None:
    store, fresh = RecordStore(100), RecordStore(100)
    node, lasting = id_of(key_of("a")), record_of("a", 6, RecordKind.DEPARTURE)
    store.put(record_of("a", 5))
    store.put(lasting)
    fresh.put(record_of("a", 5))
    store.drop(node, RecordKind.DEPARTURE)
    store.drop(node, RecordKind.DEPARTURE)
    assert (store.digest, store.hashes(), len(store)) == (fresh.digest, fresh.hashes(), 1)
    store.put(lasting)
    store.hide(node)
    store.drop(node, RecordKind.DEPARTURE)
    assert (store.digest, list(store.offered(*ALL))) == (0, [])
    store.drop(node, RecordKind.MEMBER)
    assert (store.digest, len(store), list(store)) == (0, 0, [])


def test_the_number_of_subjects_is_bounded() -> None:
    store = RecordStore(1)
    store.put(record_of("a"))
    assert store.has_room(id_of(key_of("a")))
    assert not store.has_room(id_of(key_of("b")))


def test_ranges_divide_all_subjects() -> None:
    store = RecordStore(1000)
    for name in range(300):
        store.put(record_of(name))
    parts = [list(store.offered(*bucket_range(index, index))) for index in range(BUCKETS)]
    assert [r for part in parts for r in part] == list(store.offered(*ALL))
    assert len(list(store.offered(*ALL))) == 300


def test_the_memory_of_the_forgotten_is_bounded() -> None:
    store = RecordStore(10)
    for name in range(100):
        store.put(record_of(name))
        store.forget(id_of(key_of(name)))
    assert len(store._forgotten) == 10
    assert store.outdated(id_of(key_of(99)), RecordKind.MEMBER, 1)
