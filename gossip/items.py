"""What news is made of: the items at the end of a message, each verified on its own.

    0      1          3
    +------+----------+----------- - -
    | type | size u16 | body
    +------+----------+----------- - -

    type            body
    0 record        state u8 (the subject's, as the sender sees it: 0 alive, 1 suspect, 2 dead,
                    3 left), then the record (see `records`)
    1 accusation    subject 16, sequence u64, accuser 16, signature 64
    2 equivocation  kind u8, sequence u64, subject 16, key 32, and for each of two records:
                    flags u8, size of the body u16, BLAKE2b-256 of the body 32, signature 64

An accusation says: "this subject, of this sequence, does not answer me". Its signature, by the
accuser's key, covers `b"gossip accusation\\0"`, the size of the domain (u8), the domain, and the
40 bytes before it.

An equivocation proves that `key` signed two different records of one kind and sequence: what a
record's signature covers can be made from the item alone. The lower of the two comes first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from gossip import records
from gossip.errors import DecodeError
from gossip.ids import MAX_SEQUENCE, NODE_ID_SIZE, SIGNATURE_SIZE, NodeId
from gossip.members import MemberState
from gossip.records import MAX_KINDS, Record, Statement

if TYPE_CHECKING:
    from gossip.authority import Authority

MAX_ITEMS: Final = 16
ITEM_OVERHEAD: Final = 3

_ITEM: Final = struct.Struct(">BH")
_ACCUSATION: Final = struct.Struct(">16sQ16s64s")
_ACCUSATION_CONTEXT: Final = b"gossip accusation\x00"
_PROOF: Final = struct.Struct(">BQ16s32s")
_HALF: Final = struct.Struct(">BH32s64s")
_RECORD: Final = struct.Struct(">BHB")
_STATES: Final = tuple(MemberState)
_STATE_NUMBERS: Final = {state: number for number, state in enumerate(_STATES)}


@dataclass(frozen=True, slots=True)
class RecordItem:
    """A record, and how its sender sees the subject."""

    record: Record
    state: MemberState


@dataclass(frozen=True, slots=True)
class Accusation:
    """`accuser`'s word that `subject` does not answer it."""

    subject: NodeId
    sequence: int
    accuser: NodeId
    signature: bytes

    def signed_bytes(self, domain: bytes) -> bytes:
        """What the signature covers, in the mesh that `domain` names."""
        claim = self.subject + self.sequence.to_bytes(8, "big") + self.accuser
        return _ACCUSATION_CONTEXT + bytes((len(domain),)) + domain + claim


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Proof that `subject`, or two machines with its key, said two things under one sequence."""

    kind: int
    sequence: int
    subject: NodeId
    key: bytes
    statements: tuple[Statement, Statement]
    """What the two records say, without their bodies; the lower one first, never equal."""

    def verified(self, authority: Authority) -> bool:
        """Whether both are the subject's own words, in this mesh."""
        return all(
            authority.verify(
                self.key,
                self.subject,
                statement.signed_bytes(
                    authority.domain, self.kind, self.sequence, self.subject, self.key
                ),
                statement.signature,
            )
            for statement in self.statements
        )


Item: TypeAlias = RecordItem | Accusation | Equivocation


def accuse(authority: Authority, accuser: NodeId, subject: NodeId, sequence: int) -> Accusation:
    """A new accusation under `authority`'s signature."""
    blank = Accusation(subject, sequence, accuser, b"")
    signature = authority.sign(blank.signed_bytes(authority.domain))
    return Accusation(subject, sequence, accuser, signature)


def equivocation(one: Record, other: Record) -> Equivocation | None:
    """What two verified records of one subject, kind and sequence prove; None if they agree.

    Two signatures under the same words prove nothing: whoever holds a key can make many.
    """
    low, high = sorted((one.statement(), other.statement()), key=_words)
    if _words(low) == _words(high):
        return None
    return Equivocation(one.kind, one.sequence, one.subject, one.key, (low, high))


def encode_item(item: Item) -> bytes:
    """An item with its head, ready to be put into a message."""
    if isinstance(item, RecordItem):
        return encode_record(item.record, item.state)
    if isinstance(item, Accusation):
        data = _ACCUSATION.pack(item.subject, item.sequence, item.accuser, item.signature)
        return _ITEM.pack(1, len(data)) + data
    halves = [_HALF.pack(s.flags, s.size, s.body_hash, s.signature) for s in item.statements]
    head = _PROOF.pack(item.kind, item.sequence, item.subject, item.key)
    data = b"".join((head, *halves))
    return _ITEM.pack(2, len(data)) + data


def encode_record(record: Record, state: MemberState) -> bytes:
    """The item that carries `record` and its subject's `state`, with its head."""
    data = record.encode()
    return _RECORD.pack(0, len(data) + 1, _STATE_NUMBERS[state]) + data


def decode_items(message: bytes, at: int) -> tuple[Item, ...]:
    """The items from `at` to the end. Raises `DecodeError`; judges no signature."""
    items: list[Item] = []
    while at < len(message):
        if len(message) - at < ITEM_OVERHEAD or len(items) == MAX_ITEMS:
            raise DecodeError("too many items, or part of one")
        kind, size = _ITEM.unpack_from(message, at)
        at += ITEM_OVERHEAD
        data = message[at : at + size]
        at += size
        if at > len(message):
            raise DecodeError("an item that ends early")
        items.append(_decode_item(kind, data))
    return tuple(items)


def _decode_item(kind: int, data: bytes) -> Item:
    if kind == 0:
        if not data or data[0] >= len(_STATES):
            raise DecodeError("a record without the subject's state")
        return RecordItem(records.decode(data[1:]), _STATES[data[0]])
    if kind == 1:
        if len(data) != NODE_ID_SIZE * 2 + 8 + SIGNATURE_SIZE:
            raise DecodeError("an accusation of a wrong size")
        subject, sequence, accuser, signature = _ACCUSATION.unpack(data)
        if sequence > MAX_SEQUENCE:
            raise DecodeError("a sequence out of range")
        return Accusation(NodeId(subject), sequence, NodeId(accuser), signature)
    if kind == 2:
        return _decode_equivocation(data)
    raise DecodeError(f"an item of type {kind}", "item-type")


def _decode_equivocation(data: bytes) -> Equivocation:
    if len(data) != _PROOF.size + 2 * _HALF.size:
        raise DecodeError("an equivocation of a wrong size")
    kind, sequence, subject, key = _PROOF.unpack_from(data)
    low, high = (
        Statement(*_HALF.unpack_from(data, at)) for at in (_PROOF.size, _PROOF.size + _HALF.size)
    )
    if sequence > MAX_SEQUENCE or kind >= MAX_KINDS:
        raise DecodeError("an equivocation out of range")
    if not _words(low) < _words(high) or high.flags > 1:
        raise DecodeError("an equivocation that is none")
    return Equivocation(kind, sequence, NodeId(subject), key, (low, high))


def _words(statement: Statement) -> tuple[int, int, bytes]:
    return statement.flags, statement.size, statement.body_hash


def paged(items: Iterable[bytes], room: int, limit: int) -> list[list[bytes]]:
    """Encoded items by message: as many to each as fit into `room` bytes, in at most `limit`
    messages; the rest is left out."""
    pages: list[list[bytes]] = []
    left = 0
    for item in items:
        if len(item) > left or len(pages[-1]) == MAX_ITEMS:
            if len(pages) == limit:
                break
            pages.append([])
            left = room
        pages[-1].append(item)
        left -= len(item)
    return pages
