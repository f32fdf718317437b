"""Items: their bytes, what they prove, and what is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from gossip import messages
from gossip.errors import DecodeError
from gossip.ids import NodeId
from gossip.items import (
    MAX_ITEMS,
    Equivocation,
    Item,
    RecordItem,
    accuse,
    decode_items,
    encode_item,
    equivocation,
    paged,
)
from gossip.members import MemberState
from gossip.messages import Gossip

from .cluster import FakeAuthority, id_of, key_of, record_of

NODE = NodeId(bytes(range(16)))


def proof_of(name: int | str, sequence: int = 7, kind: int = 2) -> Equivocation:
    one, other = (record_of(name, sequence, kind, body) for body in (b"x", b"y"))
    proof = equivocation(one, other)
    assert proof is not None
    return proof


def test_items_come_through() -> None:
    record = RecordItem(record_of("a"), MemberState.SUSPECT)
    accusation = accuse(FakeAuthority(key_of("b")), id_of(key_of("b")), NODE, 9)
    found: list[Item] = [record, accusation, proof_of("a")]
    message = messages.encode(1, Gossip(), [encode_item(item) for item in found])
    assert list(messages.decode(message).items) == found


def test_an_accusation_is_signed_for_one_mesh() -> None:
    key = key_of("b")
    authority = FakeAuthority(key, b"here")
    accusation = accuse(authority, id_of(key), NODE, 9)
    good = accusation.signed_bytes(b"here")
    assert authority.verify(key, id_of(key), good, accusation.signature)
    other = accusation.signed_bytes(b"there")
    assert not authority.verify(key, id_of(key), other, accusation.signature)


def test_an_equivocation_has_the_bytes_that_are_drawn() -> None:
    one, other = (record_of("a", 7, 2, body) for body in (b"x", b"yy"))
    drawn = b"\x02\x01\x01" + b"\x02" + (7).to_bytes(8, "big") + one.subject + one.key
    for size, record in ((1, one), (2, other)):
        body_hash = hashlib.blake2b(record.body, digest_size=32).digest()
        drawn += b"\x00" + size.to_bytes(2, "big") + body_hash + record.signature
    proof = equivocation(other, one)
    assert proof is not None
    assert encode_item(proof) == drawn.replace(b"\x02\x01\x01", b"\x02\x00\xff", 1)
    assert proof == equivocation(one, other)


def test_an_equivocation_verifies_by_what_it_holds_alone() -> None:
    stranger = FakeAuthority(key_of("stranger"))
    proof = proof_of("a")
    assert proof.verified(stranger)
    assert not proof.verified(FakeAuthority(key_of("stranger"), b"another mesh"))
    low, high = proof.statements
    forged = [
        replace(proof, sequence=8),
        replace(proof, kind=3),
        replace(proof, subject=NODE),
        replace(proof, key=key_of("b")),
        replace(proof, statements=(low, replace(high, signature=low.signature))),
        replace(proof, statements=(replace(low, body_hash=bytes(32)), high)),
        replace(proof, statements=(replace(low, size=0), high)),
    ]
    assert not any(item.verified(stranger) for item in forged)


def test_one_statement_under_two_signatures_proves_nothing() -> None:
    record = record_of("a")
    assert equivocation(record, replace(record, signature=bytes(64))) is None
    assert equivocation(record_of("a", withdrawn=True), record_of("a", body=b"")) is not None


HEAD, LOW, HIGH = (encode_item(proof_of("a"))[at:to] for at, to in ((3, 60), (60, 159), (159, 258)))


@pytest.mark.parametrize(
    ("item", "what"),
    [
        (b"\x00", "part of an item"),
        (b"\x00\xff\xff", "an item that ends early"),
        (b"\x09\x00\x00", "an unknown item"),
        (b"\x00\x00\x00", "a record without a state"),
        (b"\x00\x00\x01\x00", "a record of no bytes"),
        (b"\x00\x00\x01\x04", "a state that is none"),
        (b"\x01\x00\x02ab", "an accusation too short"),
        (b"\x01\x00\x68" + NODE + b"\xff" * 8 + NODE + bytes(64), "a sequence out of range"),
        (b"\x02\x00\xff" + HEAD + HIGH + LOW, "an equivocation the wrong way round"),
        (b"\x02\x00\xff" + HEAD + LOW + LOW, "an equivocation of one statement"),
        (b"\x02\x00\xff" + b"\x10" + HEAD[1:] + LOW + HIGH, "an equivocation of no kind"),
        (b"\x02\x00\xff" + HEAD[:1] + b"\xff" + HEAD[2:] + LOW + HIGH, "a sequence too high"),
        (b"\x02\x00\xff" + HEAD + LOW + b"\x02" + HIGH[1:], "an equivocation of strange flags"),
        (b"\x02\x00\xfe" + HEAD + LOW + HIGH[:-1], "an equivocation too short"),
    ],
)
def test_malformed_items_are_refused(item: bytes, what: str) -> None:
    with pytest.raises(DecodeError):
        decode_items(item, 0)


def test_the_number_of_items_is_bounded() -> None:
    item = encode_item(accuse(FakeAuthority(key_of("b")), NODE, NODE, 9))
    assert len(decode_items(item * MAX_ITEMS, 0)) == MAX_ITEMS
    with pytest.raises(DecodeError):
        decode_items(item * (MAX_ITEMS + 1), 0)


def test_pages_hold_as_many_items_as_fit_and_what_is_beyond_the_last_is_left_out() -> None:
    items = [bytes(size) for size in (60, 40, 1, 100, 30)]
    pages = [items[:2], items[2:3], items[3:4], items[4:]]
    assert paged(items, 100, 9) == pages
    assert paged(items, 100, 3) == pages[:3]
    assert paged([], 100, 3) == []
    assert [len(page) for page in paged([b"x"] * 40, 100, 9)] == [MAX_ITEMS, MAX_ITEMS, 8]
