"""What is kept for others: entitled, bounded, the newest, for a time."""

from __future__ import annotations

import pytest

from gossip import directory
from gossip.directory import (
    CACHE_SHARE,
    Bundle,
    Directory,
    KeyIndex,
    assemble,
    entitled,
    keys_of,
)
from gossip.ids import NodeId
from gossip.records import Record, RecordKind

from .cluster import FakeAuthority, id_of, key_of, record_of

KEY, OTHER = b"k" * 16, b"o" * 16
AUTHORITY = FakeAuthority(key_of("any"))
SENDER = id_of(key_of("sender"))


def owned(name: int | str, sequence: int = 1, key: bytes = KEY) -> list[Record]:
    """A bundle of a node whose certificate holds `key`."""
    return [record_of(name, sequence, RecordKind.CERTIFICATE, key), record_of(name, sequence)]


def a_directory() -> Directory:
    return Directory(AUTHORITY, 80.0)


def subjects(kept: Directory, key: bytes = KEY, now: float = 0.0) -> list[NodeId]:
    return [bundle.subject for bundle in kept.values(key, now)]


def test_a_bundle_is_kept_for_the_key_that_its_certificate_proves() -> None:
    kept = a_directory()
    assert kept.offer(KEY, owned("a"), False, SENDER, 0.0)
    assert [bundle.records for bundle in kept.values(KEY, 0.0)] == [tuple(owned("a"))]
    assert not kept.offer(OTHER, owned("a"), False, SENDER, 0.0)
    assert subjects(kept, OTHER) == []


def test_a_nodes_own_id_needs_no_certificate() -> None:
    kept = a_directory()
    member = record_of("a")
    assert kept.offer(member.subject, [member], False, SENDER, 0.0)
    assert subjects(kept, member.subject) == [member.subject]
    assert not entitled(AUTHORITY, KEY, Bundle(member))


@pytest.mark.parametrize("order", [1, -1])
def test_two_halves_make_a_bundle_in_any_order(order: int) -> None:
    kept = a_directory()
    first, second = owned("a")[::order]
    assert not kept.offer(KEY, [first], False, SENDER, 0.0)
    assert kept.offer(KEY, [second], False, SENDER, 0.0)


def test_records_of_two_subjects_or_of_none_are_no_bundle() -> None:
    kept = a_directory()
    assert not kept.offer(KEY, [owned("a")[0], owned("b")[1]], False, SENDER, 0.0)
    assert not kept.offer(KEY, [], False, SENDER, 0.0)


def test_the_newest_record_of_each_kind_stays() -> None:
    kept = a_directory()
    kept.offer(KEY, owned("a", 5), False, SENDER, 0.0)
    kept.offer(KEY, owned("a", 3), False, SENDER, 0.0)
    kept.offer(KEY, [record_of("a", 7)], False, SENDER, 0.0)
    (bundle,) = kept.values(KEY, 0.0)
    assert bundle.certificate is not None
    assert (bundle.member.sequence, bundle.certificate.sequence) == (7, 5)


def test_a_certificate_without_the_key_ends_the_entitlement() -> None:
    kept = a_directory()
    kept.offer(KEY, owned("a", 5), False, SENDER, 0.0)
    assert not kept.offer(KEY, owned("a", 6, OTHER), False, SENDER, 0.0)
    assert subjects(kept) == []


def test_who_left_is_no_answer_and_an_older_record_does_not_bring_it_back() -> None:
    kept = a_directory()
    kept.offer(KEY, owned("a", 5), False, SENDER, 0.0)
    kept.offer(KEY, [record_of("a", 6, withdrawn=True)], False, SENDER, 0.0)
    kept.offer(KEY, owned("a", 5), False, SENDER, 0.0)
    assert subjects(kept) == []


def test_of_those_who_own_one_key_the_lowest_ids_are_kept_in_order() -> None:
    kept = a_directory()
    for number in range(9):
        kept.offer(KEY, owned(number), False, SENDER, 0.0)
    lowest = sorted(id_of(key_of(number)) for number in range(9))[: directory.MAX_PER_KEY]
    assert subjects(kept) == lowest


def test_what_is_stored_expires_and_a_cached_copy_does_so_sooner() -> None:
    kept = a_directory()
    kept.offer(KEY, owned("a"), False, SENDER, 0.0)
    kept.offer(KEY, owned("b"), True, SENDER, 0.0)
    assert len(subjects(kept, now=80.0 / CACHE_SHARE - 1)) == 2
    assert subjects(kept, now=80.0 / CACHE_SHARE) == [id_of(key_of("a"))]
    kept.offer(KEY, owned("a"), True, SENDER, 40.0)
    assert subjects(kept, now=79.0) == [id_of(key_of("a"))], "a copy does not shorten it"
    kept.expire(80.0)
    assert len(kept) == 0


def test_keys_and_halves_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_KEYS", 3)
    monkeypatch.setattr(directory, "MAX_HALVES", 3)
    kept = a_directory()
    for number in range(6):
        kept.offer(id_of(key_of(number)), [record_of(number)], False, SENDER, 0.0)
        kept.offer(KEY, [record_of(number)], False, SENDER, 0.0)
    assert len(kept) == 3
    assert len(kept._halves) == 3
    assert subjects(kept, id_of(key_of(5)))
    assert not subjects(kept, id_of(key_of(0)))


def test_bundles_are_made_of_the_newest_records() -> None:
    made = assemble([*owned("a", 1), *owned("a", 2), owned("b")[0]])
    assert made == [Bundle(owned("a", 2)[1], owned("a", 2)[0])]


def test_the_index_follows_certificates() -> None:
    index, (a, b) = KeyIndex(), sorted(id_of(key_of(name)) for name in "ab")
    index.put(b, (KEY, OTHER))
    index.put(a, (KEY,))
    assert index.owners(KEY) == [a, b]
    index.put(b, (OTHER,))
    assert (index.owners(KEY), index.owners(OTHER)) == ([a], [b])
    index.drop(a)
    index.drop(a)
    assert index.owners(KEY) == []
    assert KEY not in index._owners


def test_a_key_that_an_authority_names_twice_counts_once() -> None:
    certificate = record_of("a", kind=RecordKind.CERTIFICATE, body=KEY + OTHER + KEY)
    keys, index = keys_of(FakeAuthority(key_of("b")), certificate), KeyIndex()
    assert keys == (KEY, OTHER)
    index.put(certificate.subject, keys)
    index.drop(certificate.subject)
    assert index.owners(KEY) == []


def test_who_stores_very_many_pushes_out_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_KEYS", 6)
    kept = a_directory()
    honest = [id_of(key_of(name)) for name in ("a", "b", "c")]
    for name, node in zip(("a", "b", "c"), honest, strict=True):
        assert kept.offer(node, [record_of(name)], False, node, 0.0)
    for number in range(20):
        invented = id_of(key_of(number))
        assert kept.offer(invented, [record_of(number)], False, SENDER, 0.0)
    assert len(kept) == 6
    assert all(subjects(kept, node) == [node] for node in honest)
    assert subjects(kept, id_of(key_of(19)))
