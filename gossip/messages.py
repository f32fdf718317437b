"""The bytes of a message between two nodes. Pure: nothing here knows what a message does.

Every message begins with the same 10 bytes, big-endian, and most end with items of news:

    0       1      2                        10
    +-------+------+------------------------+------ - - ------+---------- - - -
    | ver=1 | type | sequence u64           | body by type    | items
    +-------+------+------------------------+------ - - ------+---------- - - -

`sequence` is that of the sender's own MEMBER record (0 before it has one), so that each side sees
at once when the other holds an older record of it than it should.

    type            body                                                          items
    1 PING          nonce u32                                                     yes
    2 ACK           nonce u32, digest u64 (over all records the sender holds)     yes
    3 PING_REQUEST  nonce u32, target 16                                          yes
    4 NACK          nonce u32                                                     yes
    5 GOSSIP        -                                                             yes
    6 BUCKETS       bitmap 16, a hash u64 for each bit that is set                no
    7 ENTRIES       low 16, high 16, entries of 29 bytes:                         no
                    kind u8, subject 16, sequence u64, first 4 of the signature
    8 WANT          keys of 17 bytes: kind u8, subject 16                         no
    9 RECORDS       -                                                             yes

An item:

    0      1          3
    +------+----------+----------- - -
    | type | size u16 | body
    +------+----------+----------- - -

    type            body
    0 record        state u8 (the subject's, as the sender sees it: 0 alive, 1 suspect, 2 dead,
                    3 left), then the record (see `records`)
    1 accusation    subject 16, sequence u64, accuser 16, signature 64

An accusation says: "this subject, of this sequence, does not answer me". Its signature, by the
accuser's key, covers `b"gossip accusation\\0"`, the size of the domain (u8), the domain, and the
40 bytes before it.

Exchanges (RTT at each arrow):

    A -- PING n --> B          A -- PING_REQUEST n, C --> B -- PING m --> C
    A <-- ACK n --- B          A <-- ACK n (or NACK n) -- B <-- ACK m --- C

    A -- BUCKETS --> B         its hashes, by the first 7 bits of the subject
    A <-- ENTRIES -- B         what B holds in the buckets that differ (a range of subjects); and
    A <-- RECORDS -- B         all of it, where A's bucket is empty
    A -- WANT -----> B         what A lacks of it
    A -- RECORDS --> B         what B lacks
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

from gossip import records
from gossip.errors import DecodeError
from gossip.ids import MAX_SEQUENCE, NODE_ID_SIZE, SIGNATURE_SIZE, NodeId
from gossip.members import MemberState
from gossip.records import MAX_KINDS, Record

if TYPE_CHECKING:
    from gossip.authority import Authority

VERSION: Final = 1
BUCKETS: Final = 128
MAX_ITEMS: Final = 16
MAX_MESSAGE_SIZE: Final = 65535
ITEM_OVERHEAD: Final = 3

_HEADER: Final = struct.Struct(">BBQ")
_NONCE: Final = struct.Struct(">I")
_ACK: Final = struct.Struct(">IQ")
_PING_REQUEST: Final = struct.Struct(">I16s")
_ITEM: Final = struct.Struct(">BH")
_ENTRY: Final = struct.Struct(">B16sQ4s")
_KEY: Final = struct.Struct(">B16s")
_ACCUSATION: Final = struct.Struct(">16sQ16s64s")
_ACCUSATION_CONTEXT: Final = b"gossip accusation\x00"
_STATES: Final = tuple(MemberState)

HEADER_SIZE: Final = _HEADER.size
ENTRY_SIZE: Final = _ENTRY.size
KEY_SIZE: Final = _KEY.size
RANGE_SIZE: Final = 2 * NODE_ID_SIZE


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? A nonce of 0 awaits no particular answer."""

    nonce: int


@dataclass(frozen=True, slots=True)
class Ack:
    """I am (or: it is). `digest` stands for all records that the sender holds."""

    nonce: int
    digest: int


@dataclass(frozen=True, slots=True)
class PingRequest:
    """Try `target` for me."""

    nonce: int
    target: NodeId


@dataclass(frozen=True, slots=True)
class Nack:
    """I tried, and it did not answer me in time either: you and I are well connected."""

    nonce: int


@dataclass(frozen=True, slots=True)
class Gossip:
    """Nothing but news."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """One hash for each of `BUCKETS` parts of the subjects; 0 is an empty part."""

    hashes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """That the sender holds this record; `tag` is the first 4 bytes of its signature."""

    kind: int
    subject: NodeId
    sequence: int
    tag: bytes


@dataclass(frozen=True, slots=True)
class Entries:
    """Everything that the sender holds of subjects from `low` to `high`, both included."""

    low: bytes
    high: bytes
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Want:
    """Send me these records: (kind, subject)."""

    keys: tuple[tuple[int, NodeId], ...]


@dataclass(frozen=True, slots=True)
class Records:
    """What a comparison showed to be missing."""


Body: TypeAlias = Ping | Ack | PingRequest | Nack | Gossip | Buckets | Entries | Want | Records


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


Item: TypeAlias = RecordItem | Accusation


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message, decoded. `sequence` is that of its sender's MEMBER record."""

    sequence: int
    body: Body
    items: tuple[Item, ...]


def accuse(authority: Authority, accuser: NodeId, subject: NodeId, sequence: int) -> Accusation:
    """A new accusation under `authority`'s signature."""
    blank = Accusation(subject, sequence, accuser, b"")
    signature = authority.sign(blank.signed_bytes(authority.domain))
    return Accusation(subject, sequence, accuser, signature)


def encode_item(item: Item) -> bytes:
    """An item with its head, ready to be put into a message."""
    if isinstance(item, RecordItem):
        data = item.record.encode()
        return _ITEM.pack(0, len(data) + 1) + bytes((_STATES.index(item.state),)) + data
    data = _ACCUSATION.pack(item.subject, item.sequence, item.accuser, item.signature)
    return _ITEM.pack(1, len(data)) + data


def body_size(body: Body) -> int:
    """How many bytes a message has before its items."""
    return HEADER_SIZE + len(_encode_body(body)[1])


def encode(sequence: int, body: Body, items: Sequence[bytes] = ()) -> bytes:
    """A message; `items` as `encode_item` gives them."""
    kind, data = _encode_body(body)
    return b"".join((_HEADER.pack(VERSION, kind, sequence), data, *items))


def decode(message: bytes) -> Envelope:
    """Take a message apart. Raises `DecodeError`; judges no signature."""
    if not HEADER_SIZE <= len(message) <= MAX_MESSAGE_SIZE:
        raise DecodeError(f"a message of {len(message)} bytes")
    version, kind, sequence = _HEADER.unpack_from(message)
    if version != VERSION:
        raise DecodeError(f"a message of version {version}", "version")
    if sequence > MAX_SEQUENCE:
        raise DecodeError("a sequence out of range")
    try:
        body, end = _decode_body(kind, message)
    except struct.error as error:
        raise DecodeError("a message that ends early") from error
    return Envelope(sequence, body, _decode_items(message, end))


def _encode_body(body: Body) -> tuple[int, bytes]:
    match body:
        case Ping(nonce):
            return 1, _NONCE.pack(nonce)
        case Ack(nonce, digest):
            return 2, _ACK.pack(nonce, digest)
        case PingRequest(nonce, target):
            return 3, _PING_REQUEST.pack(nonce, target)
        case Nack(nonce):
            return 4, _NONCE.pack(nonce)
        case Gossip():
            return 5, b""
        case Buckets(hashes):
            bitmap = sum(1 << index for index, value in enumerate(hashes) if value)
            present = [value for value in hashes if value]
            return 6, bitmap.to_bytes(BUCKETS // 8, "little") + struct.pack(
                f">{len(present)}Q", *present
            )
        case Entries(low, high, entries):
            packed = [_ENTRY.pack(e.kind, e.subject, e.sequence, e.tag) for e in entries]
            return 7, b"".join((low, high, *packed))
        case Want(keys):
            return 8, b"".join(_KEY.pack(kind, subject) for kind, subject in keys)
        case Records():
            return 9, b""


def _decode_body(kind: int, message: bytes) -> tuple[Body, int]:
    """The body, and where the items begin."""
    at = HEADER_SIZE
    if kind == 1:
        return Ping(*_NONCE.unpack_from(message, at)), at + _NONCE.size
    if kind == 2:
        return Ack(*_ACK.unpack_from(message, at)), at + _ACK.size
    if kind == 3:
        nonce, target = _PING_REQUEST.unpack_from(message, at)
        return PingRequest(nonce, NodeId(target)), at + _PING_REQUEST.size
    if kind == 4:
        return Nack(*_NONCE.unpack_from(message, at)), at + _NONCE.size
    if kind == 5:
        return Gossip(), at
    if kind == 6:
        return _decode_buckets(message[at:]), len(message)
    if kind == 7:
        return _decode_entries(message[at:]), len(message)
    if kind == 8:
        return _decode_want(message[at:]), len(message)
    if kind == 9:
        return Records(), at
    raise DecodeError(f"a message of type {kind}", "message-type")


def _decode_buckets(data: bytes) -> Buckets:
    size = BUCKETS // 8
    bitmap = int.from_bytes(data[:size], "little")
    present = [index for index in range(BUCKETS) if bitmap >> index & 1]
    if len(data) != size + 8 * len(present):
        raise DecodeError("buckets of a wrong size")
    hashes = [0] * BUCKETS
    for index, value in zip(
        present, struct.unpack_from(f">{len(present)}Q", data, size), strict=True
    ):
        if not value:
            raise DecodeError("an empty bucket that is marked as full")
        hashes[index] = value
    return Buckets(tuple(hashes))


def _decode_entries(data: bytes) -> Entries:
    low, high = data[:NODE_ID_SIZE], data[NODE_ID_SIZE:RANGE_SIZE]
    rest = data[RANGE_SIZE:]
    if len(data) < RANGE_SIZE or low > high or len(rest) % ENTRY_SIZE:
        raise DecodeError("entries of a wrong size or range")
    entries = tuple(
        Entry(kind, NodeId(subject), sequence, tag)
        for kind, subject, sequence, tag in _ENTRY.iter_unpack(rest)
    )
    keys = [(entry.subject, entry.kind) for entry in entries]
    if any(not low <= subject <= high or kind >= MAX_KINDS for subject, kind in keys) or any(
        first >= second for first, second in pairwise(keys)
    ):
        raise DecodeError("entries out of range or out of order")
    return Entries(low, high, entries)


def _decode_want(data: bytes) -> Want:
    if not data or len(data) % KEY_SIZE:
        raise DecodeError("keys of a wrong size")
    return Want(tuple((kind, NodeId(subject)) for kind, subject in _KEY.iter_unpack(data)))


def _decode_items(message: bytes, at: int) -> tuple[Item, ...]:
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
    raise DecodeError(f"an item of type {kind}", "item-type")
