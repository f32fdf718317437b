"""Records: their bytes, their bounds, and which of two wins."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from gossip import records
from gossip.errors import DecodeError, GossipError
from gossip.ids import MAX_SEQUENCE, NodeId
from gossip.records import MAX_MEMBER_SIZE, MAX_RECORD_SIZE, OVERHEAD, Record, RecordKind

from .cluster import FakeAuthority, id_of, key_of, record_of


def test_the_bytes_are_those_that_are_drawn() -> None:
    record = Record(2, b"K" * 32, NodeId(b"S" * 16), 258, False, b"body", b"G" * 64)
    drawn = b"\x01\x02\x00\x00" + bytes(6) + b"\x01\x02" + b"S" * 16 + b"K" * 32 + b"\x00\x04body"
    assert record.encode() == drawn + b"G" * 64
    assert records.decode(record.encode()) == record
    body_hash = hashlib.blake2b(b"body", digest_size=32).digest()
    assert record.signed_bytes(b"mesh") == b"gossip record\x00\x04mesh" + drawn[:62] + body_hash


def test_a_withdrawn_record_comes_through() -> None:
    record = record_of("a", withdrawn=True)
    assert records.decode(record.encode()) == record


@pytest.mark.parametrize(("kind", "size"), [(0, MAX_MEMBER_SIZE), (2, MAX_RECORD_SIZE)])
def test_sizes_are_capped_by_kind(kind: int, size: int) -> None:
    fitting = record_of("a", kind=kind, body=bytes(size - OVERHEAD))
    assert len(fitting.encode()) == size
    with pytest.raises(GossipError) as caught:
        record_of("a", kind=kind, body=bytes(size - OVERHEAD + 1))
    assert caught.value.reason == "record-oversized"
    oversized = fitting.encode()[:60] + (size - OVERHEAD + 1).to_bytes(2, "big") + bytes(size)
    with pytest.raises(DecodeError):
        records.decode(oversized[: size + 1])


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 16},
        {"sequence": MAX_SEQUENCE + 1},
        {"sequence": -1},
        {"key": b"short"},
        {"signature": b"short"},
        {"withdrawn": True},
    ],
)
def test_fields_that_do_not_fit_are_not_encoded(change: dict[str, object]) -> None:
    with pytest.raises(GossipError):
        replace(record_of("a"), **change).encode()  # type: ignore[arg-type]


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 60])
def test_a_bent_head_is_refused(at: int) -> None:
    data = bytearray(record_of("a").encode())
    data[at] ^= 0xF0
    with pytest.raises(DecodeError):
        records.decode(bytes(data))


@pytest.mark.parametrize("at", range(4, OVERHEAD, 7))
def test_a_changed_byte_breaks_the_signature(at: int) -> None:
    record = record_of("a")
    data = bytearray(record.encode())
    data[at] ^= 1
    try:
        changed = records.decode(bytes(data))
    except DecodeError:
        return
    assert not records.verified(FakeAuthority(key_of("b")), changed)


def test_the_higher_sequence_wins_and_then_the_higher_signature() -> None:
    old, new = record_of("a", 1), record_of("a", 2)
    assert new.supersedes(old)
    assert not old.supersedes(new)
    first, second = sorted(
        (record_of("a", 3, body=b"x"), record_of("a", 3, body=b"y")), key=lambda r: r.signature
    )
    assert second.supersedes(first)
    assert not first.supersedes(second)
    assert not first.supersedes(first)


def test_a_key_that_is_not_the_subjects_does_not_verify() -> None:
    thief = FakeAuthority(key_of("thief"))
    forged = records.signed(
        thief, RecordKind.MEMBER, key_of("thief"), id_of(key_of("victim")), 9, b""
    )
    assert not records.verified(thief, forged)


class Counting(FakeAuthority):
    """Counts how often it is asked."""

    asked = 0

    def verify(self, key: bytes, subject: NodeId, message: bytes, signature: bytes) -> bool:
        self.asked += 1
        return super().verify(key, subject, message, signature)


def test_a_record_that_somebody_holds_is_not_made_twice() -> None:
    record = record_of("a", 7001)
    data = record.encode()
    assert records.decode(bytes(bytearray(data))) is record
    assert record.encode() is data
    del record
    again = records.decode(data)
    assert again is records.decode(bytes(bytearray(data)))


def test_what_was_proved_is_not_asked_again_but_in_another_mesh() -> None:
    record = record_of("a", 7002)
    authority, other = Counting(key_of("b")), Counting(key_of("b"), b"elsewhere")
    assert [records.verified(authority, record) for _ in range(3)] == [True] * 3
    assert authority.asked == 1
    assert not records.verified(other, record)
    assert other.asked == 1


def test_what_was_not_proved_is_asked_every_time_however_like_a_good_one() -> None:
    good = record_of("a", 7003)
    authority = Counting(key_of("b"))
    assert records.verified(authority, good)
    forged = replace(good, body=b"other")
    assert [records.verified(authority, forged) for _ in range(3)] == [False] * 3
    assert not records.verified(authority, records.decode(forged.encode()))
    assert authority.asked == 5
