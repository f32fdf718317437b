"""Whom one can send to: members, the table, hints."""

from __future__ import annotations

from random import Random

import pytest

from gossip import contacts as module
from gossip.contacts import Contacts
from gossip.kademlia import distance
from gossip.members import MemberState, MemberTable, Peer
from gossip.records import Record
from gossip.store import RecordStore

from .cluster import id_of, key_of, record_of

OWN = id_of(key_of("own"))


def known(live: list[str] | None = None) -> tuple[Contacts, MemberTable, RecordStore]:
    """Contacts of a node whose live members have these names."""
    members, store = MemberTable(), RecordStore(100)
    for name in live or []:
        record = record_of(name)
        store.put(record)
        members.add(Peer(record.subject, record.key, 1, MemberState.ALIVE, 0.0))
    return Contacts(OWN, 16, members, store), members, store


def names(found: list[Record]) -> set[bytes]:
    return {record.subject for record in found}


def test_a_hint_can_be_asked_and_is_a_contact_only_once_it_was_heard() -> None:
    contacts, _, _ = known()
    hint = record_of("a")
    contacts.hint(hint)
    assert contacts.record(hint.subject) == hint
    assert contacts.closest(OWN, 9) == []
    assert len(contacts.table) == 0
    contacts.heard(hint.subject, 1.0)
    assert contacts.closest(OWN, 9) == [hint]
    assert contacts.record(hint.subject) == hint


def test_who_is_heard_without_a_record_is_no_contact() -> None:
    contacts, _, _ = known()
    contacts.heard(id_of(key_of("a")), 1.0)
    assert len(contacts.table) == 0


def test_a_newer_hint_replaces_an_older_one_only() -> None:
    contacts, _, _ = known()
    for sequence in (2, 5, 3):
        contacts.hint(record_of("a", sequence))
    found = contacts.record(id_of(key_of("a")))
    assert found is not None
    assert found.sequence == 5


def test_neither_oneself_nor_those_who_left_are_hints() -> None:
    contacts, _, _ = known()
    contacts.hint(record_of("own"))
    contacts.hint(record_of("a", withdrawn=True))
    assert contacts.record(OWN) is None
    assert contacts.record(id_of(key_of("a"))) is None


def test_hints_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HINTS", 3)
    contacts, _, _ = known()
    for number in range(5):
        contacts.hint(record_of(number))
    held = [contacts.record(id_of(key_of(number))) is not None for number in range(5)]
    assert held == [False, False, True, True, True]


def test_live_members_and_contacts_are_close_together() -> None:
    contacts, members, _ = known(["a", "b", "c"])
    contacts.hint(record_of("d"))
    contacts.heard(id_of(key_of("d")), 0.0)
    target = id_of(key_of("target"))
    everyone = sorted((id_of(key_of(n)) for n in "abcd"), key=lambda node: distance(node, target))
    assert [record.subject for record in contacts.closest(target, 3)] == everyone[:3]
    peer = members.get(id_of(key_of("a")))
    assert peer is not None
    members.move(peer, MemberState.DEAD, 0.0)
    assert id_of(key_of("a")) not in names(contacts.closest(target, 9))


def test_a_sample_prefers_those_who_were_heard() -> None:
    contacts, _, _ = known()
    for name in "abcd":
        contacts.hint(record_of(name))
    for name in "ab":
        contacts.heard(id_of(key_of(name)), 0.0)
    heard = {id_of(key_of("a")), id_of(key_of("b"))}
    assert names(contacts.sample(2, Random(1), [])) == heard
    drawn = names(contacts.sample(3, Random(1), [id_of(key_of("c"))]))
    assert drawn == heard | {id_of(key_of("d"))}
    assert len(contacts.sample(9, Random(1), [])) == 4


def test_no_fewer_nodes_are_told_than_are_known() -> None:
    contacts, _, _ = known(["a", "b", "c"])
    assert contacts.estimate() == 4
