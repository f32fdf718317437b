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
    2 ACK           nonce u32, digest u64 (over the records the sender holds),    yes
                    flags u8 (1 partial, 2 linked, 4 only global),
                    coordinate 22 (the sender's, see `coordinates`)
    3 PING_REQUEST  nonce u32, target 16                                          yes
    4 NACK          nonce u32                                                     yes
    5 GOSSIP        -                                                             yes
    6 BUCKETS       flags u8 (4 only global), bitmap 16, a hash u64 for each      no
                    bit that is set
    7 ENTRIES       flags u8 (4 only global), low 16, high 16, entries of 29:     no
                    kind u8 (+ 128: quarantined), subject 16, sequence u64, first 4
                    of the signature (zeros if quarantined)
    8 WANT          keys of 17 bytes: kind u8, subject 16                         no
    9 RECORDS       -                                                             yes

    10 to 15        links and lookups: see `queries`                              yes

Items are drawn in `items`.

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
from typing import Final, NamedTuple, TypeAlias

from gossip import coordinates
from gossip.coordinates import ORIGIN, Coordinate
from gossip.errors import DecodeError
from gossip.ids import MAX_SEQUENCE, NODE_ID_SIZE, NodeId
from gossip.items import Item, decode_items
from gossip.queries import Query, decode_query, encode_query
from gossip.records import MAX_KINDS

VERSION: Final = 1
BUCKETS: Final = 128
MAX_MESSAGE_SIZE: Final = 65535

_HEADER: Final = struct.Struct(">BBQ")
_NONCE: Final = struct.Struct(">I")
_ACK: Final = struct.Struct(">IQB")
_WHOLE_PING: Final = struct.Struct(">BBQI")
_WHOLE_ACK: Final = struct.Struct(">BBQIQB")
"""Header and body together, but for the coordinate: for what every probe sends."""
_PARTIAL: Final = 1
_LINKED: Final = 2
_ONLY_GLOBAL: Final = 4
_PING_REQUEST: Final = struct.Struct(">I16s")
_ENTRY: Final = struct.Struct(">B16sQ4s")
_QUARANTINED: Final = 128
_KEY: Final = struct.Struct(">B16s")

HEADER_SIZE: Final = _HEADER.size
ENTRY_SIZE: Final = _ENTRY.size
KEY_SIZE: Final = _KEY.size
_PING_END: Final = HEADER_SIZE + _NONCE.size
_PLACE_AT: Final = HEADER_SIZE + _ACK.size
_ACK_END: Final = _PLACE_AT + coordinates.PACKED_SIZE
"""Where the items of a PING begin; the coordinate of an ACK, and its items."""
RANGE_SIZE: Final = 2 * NODE_ID_SIZE + 1
"""Bytes of ENTRIES before the first one."""


# Those that every probe makes are tuples: a frozen dataclass takes three times as long. Where every
# probe makes them, `_new(Ping, (nonce,))` spares the call of Python that is behind `Ping(nonce)`.

_new: Final = tuple.__new__


class Ping(NamedTuple):
    """Are you there? A nonce of 0 awaits no particular answer."""

    nonce: int


class Ack(NamedTuple):
    """I am (or: it is). `digest` stands for all records that the sender holds.

    `coordinate` is the sender's own; a helper that answers for another gives its own too.
    """

    nonce: int
    digest: int
    coordinate: Coordinate = ORIGIN
    partial: bool = False
    """The sender keeps a few neighbours only."""
    linked: bool = False
    """It takes whom it answers for one of them."""
    only_global: bool = False
    """The digest is over the kinds that everyone keeps."""


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
    only_global: bool = False
    """They are over the kinds that everyone keeps."""


@dataclass(frozen=True, slots=True)
class Entry:
    """That the sender holds this record; `tag` is the first 4 bytes of its signature.

    Of a quarantined one the tag is zero: which of the two is held makes no difference.
    """

    kind: int
    subject: NodeId
    sequence: int
    tag: bytes
    quarantined: bool = False

    @property
    def rank(self) -> tuple[int, bool, bytes]:
        """What decides which of two records is the newer: see `RecordStore.rank`."""
        return self.sequence, self.quarantined, self.tag


@dataclass(frozen=True, slots=True)
class Entries:
    """Everything that the sender holds of subjects from `low` to `high`, both included."""

    low: bytes
    high: bytes
    entries: tuple[Entry, ...]
    only_global: bool = False
    """Of the kinds that everyone keeps."""


@dataclass(frozen=True, slots=True)
class Want:
    """Send me these records: (kind, subject)."""

    keys: tuple[tuple[int, NodeId], ...]


@dataclass(frozen=True, slots=True)
class Records:
    """What a comparison showed to be missing."""


_Other: TypeAlias = PingRequest | Nack | Gossip | Buckets | Entries | Want | Records | Query
Body: TypeAlias = Ping | Ack | _Other


class Envelope(NamedTuple):
    """One message, decoded. `sequence` is that of its sender's MEMBER record."""

    sequence: int
    body: Body
    items: tuple[Item, ...]


def body_size(body: Body) -> int:
    """How many bytes a message has before its items."""
    return len(encode(0, body))


def encode(sequence: int, body: Body, items: Sequence[bytes] = ()) -> bytes:
    """A message; `items` as `items.encode_item` gives them."""
    if isinstance(body, Ping):
        head = _WHOLE_PING.pack(VERSION, 1, sequence, body[0])
    elif isinstance(body, Ack):
        nonce, digest, coordinate, partial, linked, only_global = body
        flags = _PARTIAL * partial | _LINKED * linked | _ONLY_GLOBAL * only_global
        head = _WHOLE_ACK.pack(VERSION, 2, sequence, nonce, digest, flags) + coordinate.pack()
    else:
        kind, data = _encode_body(body)
        head = _HEADER.pack(VERSION, kind, sequence) + data
    return b"".join((head, *items)) if items else head


def decode(message: bytes) -> Envelope:
    """Take a message apart. Raises `DecodeError`; judges no signature."""
    if not HEADER_SIZE <= len(message) <= MAX_MESSAGE_SIZE:
        raise DecodeError(f"a message of {len(message)} bytes")
    version, kind, sequence = _HEADER.unpack_from(message)
    if version != VERSION:
        raise DecodeError(f"a message of version {version}", "version")
    if sequence > MAX_SEQUENCE:
        raise DecodeError("a sequence out of range")
    body: Body
    try:
        if kind == 1:
            body, end = _new(Ping, _NONCE.unpack_from(message, HEADER_SIZE)), _PING_END
        elif kind == 2:
            body, end = _decode_ack(message), _ACK_END
        else:
            body, end = _decode_body(kind, message)
    except struct.error as error:
        raise DecodeError("a message that ends early") from error
    items = decode_items(message, end) if end < len(message) else ()
    return _new(Envelope, (sequence, body, items))


def _encode_body(body: _Other) -> tuple[int, bytes]:
    """The type and the bytes of any body but PING's and ACK's."""
    match body:
        case PingRequest(nonce, target):
            return 3, _PING_REQUEST.pack(nonce, target)
        case Nack(nonce):
            return 4, _NONCE.pack(nonce)
        case Gossip():
            return 5, b""
        case Buckets(hashes):
            bitmap = sum(1 << index for index, value in enumerate(hashes) if value)
            present = [value for value in hashes if value]
            scope = bytes((_ONLY_GLOBAL * body.only_global,))
            packed = struct.pack(f">{len(present)}Q", *present)
            return 6, scope + bitmap.to_bytes(BUCKETS // 8, "little") + packed
        case Entries(low, high, entries):
            listed = [
                _ENTRY.pack(e.kind | e.quarantined * _QUARANTINED, e.subject, e.sequence, e.tag)
                for e in entries
            ]
            return 7, b"".join((bytes((_ONLY_GLOBAL * body.only_global,)), low, high, *listed))
        case Want(keys):
            return 8, b"".join(_KEY.pack(kind, subject) for kind, subject in keys)
        case Records():
            return 9, b""
        case _:
            return encode_query(body)


def _decode_body(kind: int, message: bytes) -> tuple[_Other, int]:
    """Any body but PING's and ACK's, and where the items begin."""
    at = HEADER_SIZE
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
    return decode_query(kind, message, at)


def _decode_ack(message: bytes) -> Ack:
    nonce, digest, flags = _ACK.unpack_from(message, HEADER_SIZE)
    coordinate = coordinates.unpack(message[_PLACE_AT:_ACK_END])
    if not flags:
        return _new(Ack, (nonce, digest, coordinate, False, False, False))
    if flags & ~(_PARTIAL | _LINKED | _ONLY_GLOBAL):
        raise DecodeError("flags that are not spoken here")
    said = (flags & _PARTIAL != 0, flags & _LINKED != 0, flags & _ONLY_GLOBAL != 0)
    return _new(Ack, (nonce, digest, coordinate, *said))


def _decode_scope(data: bytes) -> bool:
    """The first byte: whether only the kinds that everyone keeps are meant."""
    if data[:1] not in (b"\x00", bytes((_ONLY_GLOBAL,))):
        raise DecodeError("flags that are not spoken here")
    return data[0] == _ONLY_GLOBAL


def _decode_buckets(data: bytes) -> Buckets:
    only_global = _decode_scope(data)
    size = 1 + BUCKETS // 8
    bitmap = int.from_bytes(data[1:size], "little")
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
    return Buckets(tuple(hashes), only_global)


def _decode_entries(data: bytes) -> Entries:
    only_global = _decode_scope(data)
    low, high = data[1 : NODE_ID_SIZE + 1], data[NODE_ID_SIZE + 1 : RANGE_SIZE]
    rest = data[RANGE_SIZE:]
    if len(data) < RANGE_SIZE or low > high or len(rest) % ENTRY_SIZE:
        raise DecodeError("entries of a wrong size or range")
    entries = tuple(
        Entry(kind & ~_QUARANTINED, NodeId(subject), sequence, tag, bool(kind & _QUARANTINED))
        for kind, subject, sequence, tag in _ENTRY.iter_unpack(rest)
    )
    keys = [(entry.subject, entry.kind) for entry in entries]
    if any(not low <= subject <= high or kind >= MAX_KINDS for subject, kind in keys) or any(
        first >= second for first, second in pairwise(keys)
    ):
        raise DecodeError("entries out of range or out of order")
    if any(entry.quarantined and entry.tag != bytes(4) for entry in entries):
        raise DecodeError("a quarantined entry with a tag")
    return Entries(low, high, entries, only_global)


def _decode_want(data: bytes) -> Want:
    if not data or len(data) % KEY_SIZE:
        raise DecodeError("keys of a wrong size")
    return Want(tuple((kind, NodeId(subject)) for kind, subject in _KEY.iter_unpack(data)))
