"""What meshd puts into gossip records: where a node is, and its certificate chain.

Node record (kind MEMBER), a CBOR array of at most 168 bytes::

    [lowest version, highest version, flags, static public key (32), [endpoint, ...]]

endpoints packed as in `wire`. Certificate record (kind CERTIFICATE): a CBOR array of DER
certificates, the leaf first, then its issuer where both fit. Routes record (kind ROUTES): an array
of prefixes. Revocations record (kind REVOCATIONS): an array of
`[authority, number, digest, list or null, proof]`, one of each list: its DER, and the CA's
certificate; the proof is the CA's signature that the record's subject holds it, or empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gossip import DecodeError, NodeId
from gossip.codec import decode, encode
from gossip.records import MAX_RECORD_SIZE, OVERHEAD
from meshd.node.errors import RemoteError
from meshd.node.revocation import split_shown
from meshd.node.wire import VERSION, Endpoint, pack_endpoint, unpack_endpoint

MAX_BODY = 168
"""Bytes of a node record's body, so that the signed record stays within 300."""
MAX_ENDPOINTS = 12
MAX_ROUTES = 64
MAX_RECORD_BODY = MAX_RECORD_SIZE - OVERHEAD
"""Bytes of a certificate or routes record's body: about 50 routes of IPv4, or 40 of IPv6."""

MAX_NOTES = 4
"""Revocation lists that one record tells of."""
NO_LIST = bytes(16)
"""The digest of number 0: the publisher is that CA, and has revoked nothing yet."""

PROOF_SIZE = 64
"""Bytes of an Ed25519 signature."""

RELAYS = 1
"""Flag: this node relays for members of its mesh."""
STREAMS = 2
"""Flag: this node takes streams, at the TCP ports of the same numbers as its endpoints'."""
CAPACITY_SHIFT, CAPACITY_MAX = 2, 3
"""Flags 4 and 8: how much it relays, 1 (little) to 3; 0: it does not say, which counts as 1."""
NATED = 16
"""Flag: a NAT stands before this node's IPv4 address; ask it to open that (see `punching`)."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """How to reach a node: its Noise static key and where it may be found, best first."""

    static_public: bytes
    endpoints: tuple[Endpoint, ...]
    flags: int = RELAYS
    versions: tuple[int, int] = (VERSION, VERSION)

    @property
    def accepts_streams(self) -> bool:
        """Whether the node takes streams at its endpoints' addresses, TCP, the same ports."""
        return bool(self.flags & STREAMS)

    @property
    def relays(self) -> bool:
        """Whether the node is willing to relay."""
        return bool(self.flags & RELAYS)

    @property
    def capacity(self) -> int:
        """How much the node relays, 1 to 3."""
        return max(1, self.flags >> CAPACITY_SHIFT & CAPACITY_MAX)

    @property
    def is_nated(self) -> bool:
        """Whether a NAT stands before the node that lets in nobody whom it did not call."""
        return bool(self.flags & NATED)

    def encode(self) -> bytes:
        """At most MAX_BODY bytes: endpoints that do not fit are left out, the last first."""
        packed = [pack_endpoint(endpoint) for endpoint in self.endpoints[:MAX_ENDPOINTS]]
        while True:
            body = encode([*self.versions, self.flags, self.static_public, packed])
            if len(body) <= MAX_BODY:
                return body
            packed.pop()


def decode_node_record(body: bytes) -> NodeRecord:
    """Raises RemoteError("record"). Endpoints nobody can send to are left out."""
    match _decode(body):
        case [int(low), int(high), int(flags), bytes(static), [*packed]] if (
            len(static) == 32 and len(packed) <= MAX_ENDPOINTS and 0 < low <= high
        ):
            endpoints = tuple(
                endpoint for item in packed if (endpoint := _endpoint(item)) is not None
            )
            return NodeRecord(static, endpoints, flags, (low, high))
        case _:
            raise RemoteError("record")


def encode_chain(chain: Sequence[bytes]) -> bytes | None:
    """A certificate record's body: the leaf alone where its issuers do not fit beside it, and None
    where not even that does. What is left out is told in handshakes."""
    for part in (chain, chain[:1]):
        body = encode(list(part))
        if len(body) <= MAX_RECORD_BODY:
            return body
    return None


def decode_chain(body: bytes) -> tuple[bytes, ...]:
    """DER certificates, leaf first. Raises RemoteError("record")."""
    fields = _decode(body)
    if not isinstance(fields, list) or not 1 <= len(fields) <= 4:
        raise RemoteError("record")
    if not all(isinstance(item, bytes) for item in fields):
        raise RemoteError("record")
    return tuple(fields)


def encode_routes(prefixes: Sequence[str]) -> bytes:
    """A routes record's body; prefixes that do not fit are left out, the last first."""
    listed = list(prefixes[:MAX_ROUTES])
    while len(body := encode(listed)) > MAX_RECORD_BODY:
        listed.pop()
    return body


def decode_routes(body: bytes) -> tuple[str, ...]:
    """Prefixes as text. Raises RemoteError("record")."""
    fields = _decode(body)
    if not isinstance(fields, list) or len(fields) > MAX_ROUTES:
        raise RemoteError("record")
    if not all(isinstance(item, str) and len(item) <= 43 for item in fields):
        raise RemoteError("record")
    return tuple(fields)


@dataclass(frozen=True, slots=True)
class ListNote:
    """What a revocations record tells of one CA's list, and the list itself where it fits."""

    authority: bytes
    """The CA's key identifier."""
    number: int
    digest: bytes
    """BLAKE2s-128 of the list's DER."""
    shown: bytes | None = None
    """The DER, and the CA's certificate behind it where there is room for that, too."""
    proof: bytes = b""
    """The CA's signature of `holder_statement`, where the record's subject holds that CA."""


def holder_statement(mesh_id: bytes, node: NodeId) -> bytes:
    """What a CA's key signs to say that `node` speaks for it. No certificate and no list begins
    like this."""
    return b"aegisray holder\0" + mesh_id + node


def encode_revocations(notes: Sequence[ListNote]) -> bytes:
    """A revocations record's body; of the largest lists, the CA's certificate and then the list
    itself are left out until it fits."""
    kept = list(notes[:MAX_NOTES])
    while True:
        body = encode([[n.authority, n.number, n.digest, n.shown, n.proof] for n in kept])
        if len(body) <= MAX_RECORD_BODY:
            return body
        largest = max(kept, key=lambda note: len(note.shown or b""))
        kept[kept.index(largest)] = replace(largest, shown=_shorter(largest.shown or b""))


def _shorter(shown: bytes) -> bytes | None:
    """A list without its CA's certificate; None where that is not there to be left out."""
    try:
        alone, authority = split_shown(shown)
    except RemoteError:
        return None
    return alone if authority else None


def decode_revocations(body: bytes) -> tuple[ListNote, ...]:
    """Raises RemoteError("record"). Judges no signature."""
    fields = _decode(body)
    if not isinstance(fields, list) or not 1 <= len(fields) <= MAX_NOTES:
        raise RemoteError("record")
    return tuple(_note(item) for item in fields)


def _note(item: object) -> ListNote:
    match item:
        case [bytes(authority), int(number), bytes(digest), shown, bytes(proof)] if (
            len(authority) == 16
            and 0 <= number < 1 << 63
            and not isinstance(number, bool)
            and len(digest) == 16
            and (shown is None or isinstance(shown, bytes))
            and len(proof) in (0, PROOF_SIZE)
        ):
            return ListNote(authority, number, digest, shown, proof)
        case _:
            raise RemoteError("record")


def _decode(body: bytes) -> object:
    try:
        return decode(body)
    except DecodeError as error:
        raise RemoteError("record", str(error)) from None


def _endpoint(item: object) -> Endpoint | None:
    if not isinstance(item, bytes):
        raise RemoteError("record")
    try:
        return unpack_endpoint(item)
    except ValueError:
        return None
