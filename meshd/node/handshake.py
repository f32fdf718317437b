"""The handshake's messages: Noise IKpsk2 in padded datagrams, and what their payloads say.

Integers are big-endian. An initiation has 1200 bytes always, so that no answer is larger::

     0   1         2         3      4            8      40             88             1168   1184
    +---+---------+---------+------+------------+------+--------------+--------------+------+------+
    | 1 | version | purpose | zero | sender u32 | e 32 | static 32+16 | payload +16  | mac1 | mac2 |
    +---+---------+---------+------+------------+------+--------------+--------------+------+------+

A response has at most 1200 (ours: always), and its mac2 is zero::

     0   1         2      4            8              12     44
    +---+---------+------+------------+--------------+------+---------------+------+------+
    | 2 | version | zero | sender u32 | receiver u32 | e 32 | payload +16   | mac1 | mac2 |
    +---+---------+------+------------+--------------+------+---------------+------+------+

mac1 is keyed by the static key of whoever receives the message (`cookies` has both macs and the
cookie reply). The purpose is in the prologue, `aegisray/1 | purpose u8 | mesh id 16`, and the psk
is the mesh secret for a member, the invitation's for who enrols.

Payloads, all padded with zeros to the message's end::

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
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from meshd.node.cookies import (
    MAC_SIZE,
    MACS_SIZE,
    NO_MAC,
    append_macs,
    check_mac1,
    mac1_key,
    open_cookie_reply,
)
from meshd.node.errors import RemoteError
from meshd.node.noise import KEY_SIZE, TAG_SIZE, CipherSuite, HandshakeState
from meshd.node.wire import INITIATION, RESPONSE, VERSION

HANDSHAKE_SIZE: Final = 1200
"""Bytes of an initiation, and a response's most."""

_INITIATION: Final = struct.Struct(">BBBBI")
_RESPONSE: Final = struct.Struct(">BBHII")
_MIN_RESPONSE: Final = _RESPONSE.size + KEY_SIZE + TAG_SIZE + MACS_SIZE

PAYLOAD_SIZE: Final = (
    HANDSHAKE_SIZE - _INITIATION.size - KEY_SIZE - (KEY_SIZE + TAG_SIZE) - TAG_SIZE - MACS_SIZE
)
"""Bytes that an initiation's payload may have; a response would hold 44 more."""
_RESPONSE_PAYLOAD_SIZE: Final = HANDSHAKE_SIZE - _MIN_RESPONSE

MAX_CHAIN: Final = 4
"""Certificates in one payload: a leaf and its issuers."""
INVITATION_ID_SIZE: Final = 16
SIGNATURE_SIZE: Final = 64

_PREFIX: Final = struct.Struct(">QI")
_MEMBER: Final = struct.Struct(f">QI{SIGNATURE_SIZE}sB")
_INLINE, _HASHED = 0, 1


class Purpose(IntEnum):
    """Why the initiator calls; part of the prologue, so both must mean the same."""

    MEMBER = 0
    ENROL = 1


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
        payload = cls(counter, features, signature, chain)
        if len(chain) <= MAX_CHAIN and len(payload.encode()) <= PAYLOAD_SIZE:
            return payload
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
        elif form == _HASHED and len(rest) >= 32:
            payload = cls(counter, features, signature, (), rest[:32])
            rest = rest[32:]
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
    invitation_id: bytes

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


@dataclass(frozen=True, slots=True)
class TransportKeys:
    """What a finished handshake leaves: a 32-byte key for each direction, and both indexes."""

    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)
    handshake_hash: bytes
    local_index: int
    remote_index: int
    is_initiator: bool


@dataclass(frozen=True, slots=True)
class Initiation:
    """An initiation that was read: `remote_static` is proven to be its maker's, who may not be
    its sender: compare `payload.counter` with the last one of that key before anything else."""

    sender_index: int
    remote_static: bytes
    purpose: Purpose
    payload: Payload
    _state: HandshakeState = field(repr=False, compare=False)


class Initiator:
    """One attempt to reach one peer. A new attempt needs a new ephemeral key and counter."""

    __slots__ = (
        "_ephemeral",
        "_index",
        "_mac1_key",
        "_message",
        "_own_mac1_key",
        "_payload",
        "_psk",
        "_purpose",
        "_remote_static",
        "_state",
    )

    def __init__(
        self,
        suite: CipherSuite,
        mesh_id: bytes,
        purpose: Purpose,
        static: X25519PrivateKey,
        remote_static: bytes,
        psk: bytes,
        ephemeral: bytes,
        index: int,
    ) -> None:
        """`ephemeral` is 32 fresh random bytes, `index` (u32) what the peer shall address us by.

        Raises ValueError for keys that have not 32 bytes.
        """
        self._purpose = Purpose(purpose)
        self._index = index
        self._remote_static = remote_static
        self._mac1_key = mac1_key(remote_static)
        self._own_mac1_key = mac1_key(static.public_key().public_bytes_raw())
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        self._state = HandshakeState(
            suite,
            initiator=True,
            prologue=prologue(mesh_id, self._purpose),
            static=static,
            remote_static=remote_static,
        )
        self._state.set_psk(psk)
        self._payload: Payload | None = None
        self._message = b""

    def message(self, payload: Payload, cookie: bytes | None = None) -> bytes:
        """The initiation, 1200 bytes. Called again, with a cookie, only mac2 differs.

        Raises ValueError for another payload than the first call's, or one that does not fit;
        RemoteError `handshake-key` when the peer's static key is no good.
        """
        if self._payload is None:
            padded = _pad(payload.encode(), PAYLOAD_SIZE)
            header = _INITIATION.pack(INITIATION, VERSION, self._purpose, 0, self._index)
            self._message = header + self._state.write_message(padded, self._ephemeral)
            self._payload = payload
        elif payload != self._payload:
            raise ValueError("one ephemeral key seals one payload: make a new Initiator")
        return append_macs(self._mac1_key, self._message, cookie)

    def read_response(self, datagram: bytes) -> tuple[MemberPayload, TransportKeys]:
        """The peer's payload and the session's keys.

        Raises RemoteError: `handshake-length`, `handshake-kind`, `handshake-version`,
        `handshake-mac1`, `handshake-index`, `handshake-key`, `handshake-decrypt` or
        `handshake-payload`; the handshake then still waits for the right response.
        """
        if not _MIN_RESPONSE <= len(datagram) <= HANDSHAKE_SIZE:
            raise RemoteError("handshake-length")
        kind, version, zero, sender, receiver = _RESPONSE.unpack_from(datagram)
        _check_header(kind, RESPONSE, version, zero)
        if not check_mac1(self._own_mac1_key, datagram):
            raise RemoteError("handshake-mac1")
        if receiver != self._index or datagram[-MAC_SIZE:] != NO_MAC:
            raise RemoteError("handshake-index")
        state = self._state.copy()
        padded = state.read_message(datagram[_RESPONSE.size : -MACS_SIZE])
        payload = MemberPayload.decode(padded)
        if payload.counter != 0:
            raise RemoteError("handshake-payload")
        send, receive = state.split()
        keys = TransportKeys(send, receive, state.handshake_hash, self._index, sender, True)
        return payload, keys

    def read_cookie(self, datagram: bytes) -> bytes:
        """The cookie (16 bytes, good for `cookies.COOKIE_LIFETIME`) to call `message` with.

        Raises RemoteError: `cookie-length`, `cookie-header` or `cookie-decrypt`.
        """
        sent = append_macs(self._mac1_key, self._message, None)
        mac1 = sent[-MACS_SIZE:-MAC_SIZE]
        return open_cookie_reply(datagram, self._remote_static, mac1, self._index)


class Responder:
    """Reads initiations to one static key. Keeps nothing between them."""

    __slots__ = ("_mac1_key", "_mesh_id", "_static", "_suite")

    def __init__(self, suite: CipherSuite, mesh_id: bytes, static: X25519PrivateKey) -> None:
        self._suite = suite
        self._mesh_id = mesh_id
        self._static = static
        self._mac1_key = mac1_key(static.public_key().public_bytes_raw())

    def check_mac1(self, datagram: bytes) -> bool:
        """Whether this has an initiation's size and the right mac1: the cheap test before cookies
        and rates. Raises nothing."""
        return len(datagram) == HANDSHAKE_SIZE and check_mac1(self._mac1_key, datagram)

    def read(self, datagram: bytes) -> Initiation:
        """Read an initiation, mac1 included, mac2 ignored (`cookies.CookieJar` has that).

        Raises RemoteError: `handshake-length`, `handshake-kind`, `handshake-version`,
        `handshake-mac1`, `handshake-key`, `handshake-decrypt` or `handshake-payload`.
        """
        purpose, sender = self._check(datagram)
        state = HandshakeState(
            self._suite,
            initiator=False,
            prologue=prologue(self._mesh_id, purpose),
            static=self._static,
        )
        padded = state.read_message(datagram[_INITIATION.size : -MACS_SIZE])
        decode = MemberPayload.decode if purpose is Purpose.MEMBER else EnrolPayload.decode
        payload: Payload = decode(padded)
        remote_static = state.remote_static
        assert remote_static is not None, "the first message holds it"
        return Initiation(sender, remote_static, purpose, payload, state)

    def respond(
        self,
        initiation: Initiation,
        psk: bytes,
        ephemeral: bytes,
        index: int,
        payload: MemberPayload,
    ) -> tuple[bytes, TransportKeys]:
        """The response (1200 bytes) and the session's keys, to be used for sending only once the
        peer's first frame has proved that it holds them too.

        `psk` is the mesh's or the invitation's, `ephemeral` 32 fresh random bytes, `index` (u32)
        what the peer shall address us by. `payload` has counter 0.

        Raises ValueError for a payload that does not fit; RemoteError `handshake-key`.
        """
        if payload.counter != 0:
            raise ValueError("a response has no counter")
        state = initiation._state.copy()
        state.set_psk(psk)
        padded = _pad(payload.encode(), _RESPONSE_PAYLOAD_SIZE)
        key = X25519PrivateKey.from_private_bytes(ephemeral)
        header = _RESPONSE.pack(RESPONSE, VERSION, 0, index, initiation.sender_index)
        message = header + state.write_message(padded, key)
        receive, send = state.split()
        keys = TransportKeys(
            send, receive, state.handshake_hash, index, initiation.sender_index, False
        )
        return append_macs(mac1_key(initiation.remote_static), message, None), keys

    def _check(self, datagram: bytes) -> tuple[Purpose, int]:
        if len(datagram) != HANDSHAKE_SIZE:
            raise RemoteError("handshake-length")
        kind, version, purpose, zero, sender = _INITIATION.unpack_from(datagram)
        _check_header(kind, INITIATION, version, zero)
        if purpose not in (Purpose.MEMBER, Purpose.ENROL):
            raise RemoteError("handshake-kind")
        if not check_mac1(self._mac1_key, datagram):
            raise RemoteError("handshake-mac1")
        return Purpose(purpose), sender


def prologue(mesh_id: bytes, purpose: Purpose) -> bytes:
    """What both sides must agree on before the first message (Noise, 6)."""
    return b"aegisray/1" + bytes((purpose,)) + mesh_id


def static_statement(mesh_id: bytes, static: bytes) -> bytes:
    """What a node's Ed25519 key signs about its X25519 key (32 bytes)."""
    return b"aegisray static\0" + mesh_id + static


def _check_header(kind: int, expected: int, version: int, zero: int) -> None:
    if kind != expected:
        raise RemoteError("handshake-kind")
    if version != VERSION:
        raise RemoteError(
            "handshake-version", f"the peer speaks version {version}, this node {VERSION}"
        )
    if zero:
        raise RemoteError("handshake-kind")


def _pad(payload: bytes, size: int) -> bytes:
    if len(payload) > size:
        raise ValueError(f"a payload of {len(payload)} bytes does not fit in {size}")
    return payload.ljust(size, b"\0")


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
