"""Records: signed statements of one node about itself. Only the subject makes a newer one.

Bytes, big-endian:

    0       1      2       3      4          12         28     60            62      62+n
    +-------+------+-------+------+----------+----------+------+-------------+-------+-----------+
    | ver=1 | kind | flags | zero | sequence | subject  | key  | body size n | body  | signature |
    | u8    | u8   | u8    | u8   | u64      | 16       | 32   | u16         | n     | 64        |
    +-------+------+-------+------+----------+----------+------+-------------+-------+-----------+

flags: bit 0 withdrawn, the rest zero. The signature covers `b"gossip record\\0"`, the size of the
domain (u8), the domain (the mesh), the 62 bytes before the body, and the BLAKE2b-256 of the body:
bytes signed for one mesh, or for another use of the key, say nothing here, and what was signed can
be shown without the body.

A record replaces another of the same subject and kind if its sequence is higher. Two different
records of one sequence prove that their subject (or two machines with its key) equivocates; both
are then held to be void until one of a higher sequence comes (see `quarantine`).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from gossip.errors import DecodeError, GossipError
from gossip.ids import KEY_SIZE, MAX_SEQUENCE, NODE_ID_SIZE, SIGNATURE_SIZE, NodeId

if TYPE_CHECKING:
    from gossip.authority import Authority

_HEAD: Final = struct.Struct(">BBBxQ16s32sH")
_VERSION: Final = 1
_WITHDRAWN: Final = 1
_CONTEXT: Final = b"gossip record\x00"

OVERHEAD: Final = _HEAD.size + SIGNATURE_SIZE
"""Bytes of a record that are not its body: 126."""

MAX_MEMBER_SIZE: Final = 300
MAX_RECORD_SIZE: Final = 1100
MAX_KINDS: Final = 16
"""Kinds are 0 to 15: what one subject can make others keep is bounded."""


class RecordKind(IntEnum):
    """What a body says. Kinds that are not named here are kept and passed on, never acted on."""

    MEMBER = 0
    CERTIFICATE = 1
    ROUTES = 2
    REVOCATIONS = 3
    DEPARTURE = 4


LASTING_KINDS: Final = (int(RecordKind.REVOCATIONS), int(RecordKind.DEPARTURE))
"""Kinds that outlive their subject: a revocation holds though its issuer is long gone, and who
left for good does not come back by being forgotten."""

LOCAL_KINDS: Final = (int(RecordKind.MEMBER), int(RecordKind.CERTIFICATE))
"""Kinds that a partial node keeps of itself and its neighbours alone; all others are everyone's."""


def max_size(kind: int) -> int:
    """The most bytes that an encoded record of `kind` may have."""
    return MAX_MEMBER_SIZE if kind == RecordKind.MEMBER else MAX_RECORD_SIZE


@dataclass(frozen=True, slots=True)
class Statement:
    """What differs between two records of one subject, kind and sequence; the body by its hash."""

    flags: int
    size: int
    body_hash: bytes
    signature: bytes

    def signed_bytes(
        self, domain: bytes, kind: int, sequence: int, subject: NodeId, key: bytes
    ) -> bytes:
        """What the record's signature covers, in the mesh that `domain` names."""
        head = _HEAD.pack(_VERSION, kind, self.flags, sequence, subject, key, self.size)
        return b"".join((_CONTEXT, bytes((len(domain),)), domain, head, self.body_hash))


class _Referable:
    __slots__ = ("__weakref__",)


@dataclass(frozen=True, slots=True)
class Record(_Referable):
    """One signed statement. `body` is opaque to gossip, and empty when `withdrawn`."""

    kind: int
    key: bytes
    subject: NodeId
    sequence: int
    withdrawn: bool
    body: bytes
    signature: bytes
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)
    _proved: tuple[type[Authority], bytes] | None = field(
        default=None, init=False, repr=False, compare=False
    )
    """Whose judgement, and in which mesh, it was found to be its subject's word."""

    def encode(self) -> bytes:
        """The bytes drawn above. Raises `GossipError` for a field that does not fit them."""
        if self._encoded is not None:
            return self._encoded
        _check(self)
        head = _HEAD.pack(
            _VERSION,
            self.kind,
            self.flags,
            self.sequence,
            self.subject,
            self.key,
            len(self.body),
        )
        data = head + self.body + self.signature
        _remember(self, data)
        return data

    def signed_bytes(self, domain: bytes) -> bytes:
        """What the signature covers, in the mesh that `domain` names."""
        return self.statement().signed_bytes(
            domain, self.kind, self.sequence, self.subject, self.key
        )

    def statement(self) -> Statement:
        """What an equivocation shows of this record."""
        return Statement(self.flags, len(self.body), _hash(self.body), self.signature)

    @property
    def size(self) -> int:
        """Bytes of the encoded record."""
        return OVERHEAD + len(self.body)

    @property
    def flags(self) -> int:
        """The flags byte."""
        return _WITHDRAWN if self.withdrawn else 0

    def supersedes(self, other: Record) -> bool:
        """Whether this record replaces `other`, of the same subject and kind."""
        return (self.sequence, self.signature) > (other.sequence, other.signature)

    def digest(self, quarantined: bool = False) -> int:
        """64 bits that stand for this very record when two nodes compare what they hold.

        Of a quarantined one they stand for its sequence, and for that.
        """
        data = b"%c%b%b%b" % (
            self.kind,
            self.subject,
            self.sequence.to_bytes(8, "big"),
            b"quarantined" if quarantined else self.signature,
        )
        return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


_known: Final[WeakValueDictionary[bytes, Record]] = WeakValueDictionary()
"""Records that somebody holds, by their bytes: the same one comes again and again, from many."""


def decode(data: bytes) -> Record:
    """The record in `data`. Raises `DecodeError`; judges no signature (see `verified`)."""
    known = _known.get(data)
    if known is not None:
        return known
    if not OVERHEAD <= len(data) <= MAX_RECORD_SIZE:
        raise DecodeError("a record of an impossible size")
    version, kind, flags, sequence, subject, key, size = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise DecodeError(f"a record of version {version}", "record-version")
    if flags & ~_WITHDRAWN or data[3] or len(data) != OVERHEAD + size:
        raise DecodeError("a record's fields contradict each other")
    body = data[_HEAD.size : _HEAD.size + size]
    record = Record(
        kind,
        key,
        NodeId(subject),
        sequence,
        bool(flags & _WITHDRAWN),
        body,
        data[_HEAD.size + size :],
    )
    try:
        _check(record)
    except GossipError as error:
        raise DecodeError(str(error)) from error
    _remember(record, data)
    return record


def signed(
    authority: Authority,
    kind: int,
    key: bytes,
    subject: NodeId,
    sequence: int,
    body: bytes,
    withdrawn: bool = False,
) -> Record:
    """A new record under `authority`'s signature. Raises `GossipError` if it cannot be encoded."""
    blank = bytes(SIGNATURE_SIZE)
    record = Record(kind, key, subject, sequence, withdrawn, body, blank)
    _check(record)
    return replace(record, signature=authority.sign(record.signed_bytes(authority.domain)))


def verified(authority: Authority, record: Record) -> bool:
    """Whether `record` is its subject's own word, in this mesh; asked once of each that is."""
    judge = (type(authority), authority.domain)
    if record._proved == judge:
        return True
    message = record.signed_bytes(authority.domain)
    if not authority.verify(record.key, record.subject, message, record.signature):
        return False
    object.__setattr__(record, "_proved", judge)
    return True


def _remember(record: Record, data: bytes) -> None:
    object.__setattr__(record, "_encoded", data)
    _known.setdefault(data, record)


def _hash(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=32).digest()


def _check(record: Record) -> None:
    if not 0 <= record.kind < MAX_KINDS or not 0 <= record.sequence <= MAX_SEQUENCE:
        raise GossipError("record-malformed", "a kind or a sequence that is out of range")
    if (len(record.key), len(record.subject), len(record.signature)) != (
        KEY_SIZE,
        NODE_ID_SIZE,
        SIGNATURE_SIZE,
    ):
        raise GossipError("record-malformed", "a key, a subject or a signature of a wrong size")
    if record.withdrawn and record.body:
        raise GossipError("record-malformed", "a withdrawn record with a body")
    if OVERHEAD + len(record.body) > max_size(record.kind):
        room = max_size(record.kind) - OVERHEAD
        raise GossipError("record-oversized", f"a body of {len(record.body)} bytes, at most {room}")
