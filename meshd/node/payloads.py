"""What the two sides of a handshake tell each other inside it.

Integers are big-endian; zeros follow to the message's end::

    member      counter u64 | features u32 | signature 64 | form u8 | chain
                form 0: n u8, then n times (size u16, DER), the leaf first and then its issuers
                form 1: SHA-256 of the leaf; the chain follows inside the session
    enrolment   counter u64 | features u32 | invitation id 16

A member's is also every response's payload. The signature is Ed25519 by the certificate's key over
`aegisray static\\0 | mesh id 16 | static key 32`. The counter is in initiations, zero in responses;
one initiator's counters only grow, which is how the responder knows a replay.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from meshd.node.errors import RemoteError

PAYLOAD_SIZE: Final = 1064
"""Bytes of an initiation's payload with its padding; a response's has 44 more."""
MAX_CHAIN: Final = 4
"""Certificates in one payload: a leaf and its issuers."""
INVITATION_ID_SIZE: Final = 16
SIGNATURE_SIZE: Final = 64

_PREFIX: Final = struct.Struct(">QI")
_MEMBER: Final = struct.Struct(f">QI{SIGNATURE_SIZE}sB")
_INLINE, _HASHED = 0, 1
_HASH_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class MemberPayload:
    """Who a member is: either `chain` (DER, leaf first) or, when that is too large, `leaf_hash`."""

    counter: int
    features: int
    signature: bytes
    chain: tuple[bytes, ...] = ()
    leaf_hash: bytes | None = None

    @classmethod
    def of(
        cls, counter: int, features: int, signature: bytes, chain: tuple[bytes, ...]
    ) -> MemberPayload:
        """A payload with `chain` inside where that fits, with its leaf's hash where it does not."""
        size = _MEMBER.size + 1 + sum(2 + len(der) for der in chain)
        if len(chain) <= MAX_CHAIN and size <= PAYLOAD_SIZE:
            return cls(counter, features, signature, chain)
        return cls(counter, features, signature, (), hashlib.sha256(chain[0]).digest())

    def encode(self) -> bytes:
        """Without the padding. Raises ValueError or struct.error for what has no encoding."""
        if len(self.signature) != SIGNATURE_SIZE or (self.leaf_hash is None) == (not self.chain):
            raise ValueError("a payload has one 64-byte signature, and a chain or a leaf's hash")
        form = _INLINE if self.leaf_hash is None else _HASHED
        head = _MEMBER.pack(self.counter, self.features, self.signature, form)
        if self.leaf_hash is not None:
            return head + self.leaf_hash
        parts = [len(der).to_bytes(2, "big") + der for der in self.chain]
        return head + bytes((len(parts),)) + b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> MemberPayload:
        """The inverse of `encode`, padding allowed. Raises RemoteError `handshake-payload`."""
        if len(data) <= _MEMBER.size:
            raise RemoteError("handshake-payload")
        counter, features, signature, form = _MEMBER.unpack_from(data)
        rest = data[_MEMBER.size :]
        if form == _INLINE:
            chain, rest = _decode_chain(rest)
            payload = cls(counter, features, signature, chain)
        elif form == _HASHED and len(rest) >= _HASH_SIZE:
            payload = cls(counter, features, signature, (), rest[:_HASH_SIZE])
            rest = rest[_HASH_SIZE:]
        else:
            raise RemoteError("handshake-payload")
        _check_padding(rest)
        return payload

    def verify(self, mesh_id: bytes, static: bytes, node_key: Ed25519PublicKey) -> None:
        """That the certificate's key signed this static key. Raises RemoteError
        `handshake-signature`."""
        try:
            node_key.verify(self.signature, static_statement(mesh_id, static))
        except InvalidSignature:
            raise RemoteError("handshake-signature") from None


@dataclass(frozen=True, slots=True)
class EnrolPayload:
    """What a joiner says first: which invitation it holds."""

    counter: int
    features: int
    invitation_id: bytes = field(repr=False)
    """Opens the psk that the inviter keeps."""

    def encode(self) -> bytes:
        """Without the padding. Raises ValueError or struct.error for what has no encoding."""
        if len(self.invitation_id) != INVITATION_ID_SIZE:
            raise ValueError("an invitation's id has 16 bytes")
        return _PREFIX.pack(self.counter, self.features) + self.invitation_id

    @classmethod
    def decode(cls, data: bytes) -> EnrolPayload:
        """The inverse of `encode`, padding allowed. Raises RemoteError `handshake-payload`."""
        end = _PREFIX.size + INVITATION_ID_SIZE
        if len(data) < end:
            raise RemoteError("handshake-payload")
        counter, features = _PREFIX.unpack_from(data)
        _check_padding(data[end:])
        return cls(counter, features, data[_PREFIX.size : end])


Payload = MemberPayload | EnrolPayload


def static_statement(mesh_id: bytes, static: bytes) -> bytes:
    """What a node's Ed25519 key signs about its X25519 key (32 bytes)."""
    return b"aegisray static\0" + mesh_id + static


def _check_padding(rest: bytes) -> None:
    if rest.count(0) != len(rest):
        raise RemoteError("handshake-payload")


def _decode_chain(data: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """The certificates (one at least), and what follows them."""
    count, offset = data[0], 1
    if not 1 <= count <= MAX_CHAIN:
        raise RemoteError("handshake-payload")
    chain = []
    for _ in range(count):
        start = offset + 2
        offset = start + int.from_bytes(data[offset:start], "big")
        if offset == start or offset > len(data):
            raise RemoteError("handshake-payload")
        chain.append(data[start:offset])
    return tuple(chain), data[offset:]
