"""The handshake's messages: Noise IKpsk2 in padded datagrams.

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

What the payloads say is in `payloads`; both are padded with zeros to their message's end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

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
from meshd.node.payloads import PAYLOAD_SIZE, Payload
from meshd.node.payloads import EnrolPayload as EnrolPayload
from meshd.node.payloads import MemberPayload as MemberPayload
from meshd.node.wire import INITIATION, RESPONSE, VERSION

HANDSHAKE_SIZE: Final = 1200
"""Bytes of an initiation, and a response's most."""

_INITIATION: Final = struct.Struct(">BBBBI")
_RESPONSE: Final = struct.Struct(">BBHII")
_MIN_RESPONSE: Final = _RESPONSE.size + KEY_SIZE + TAG_SIZE + MACS_SIZE

_RESPONSE_PAYLOAD_SIZE: Final = HANDSHAKE_SIZE - _MIN_RESPONSE


class Purpose(IntEnum):
    """Why the initiator calls; part of the prologue, so both must mean the same."""

    MEMBER = 0
    ENROL = 1


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
        "_indexes",
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
        self._indexes = {index}
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

    def message(
        self, payload: Payload, cookie: bytes | None = None, index: int | None = None
    ) -> bytes:
        """The initiation, 1200 bytes. Called again, only the index and the macs differ.

        `index`: another than the usual one, by which to know later which copy was answered.

        Raises ValueError for another payload than the first call's, or one that does not fit;
        RemoteError `handshake-key` when the peer's static key is no good.
        """
        if self._payload is None:
            padded = _pad(payload.encode(), PAYLOAD_SIZE)
            self._message = self._state.write_message(padded, self._ephemeral)
            self._payload = payload
        elif payload != self._payload:
            raise ValueError("one ephemeral key seals one payload: make a new Initiator")
        index = self._index if index is None else index
        self._indexes.add(index)
        return append_macs(self._mac1_key, self._headed(index), cookie)

    def _headed(self, index: int) -> bytes:
        return _INITIATION.pack(INITIATION, VERSION, self._purpose, 0, index) + self._message

    def read_response(self, datagram: bytes) -> tuple[MemberPayload, TransportKeys]:
        """The peer's payload and the session's keys.

        Raises RemoteError: `handshake-length`, `handshake-kind`, `handshake-version`,
        `handshake-mac1`, `handshake-mac2`, `handshake-index`, `handshake-key`,
        `handshake-decrypt` or `handshake-payload`; the handshake then still waits for the right
        response.
        """
        if not _MIN_RESPONSE <= len(datagram) <= HANDSHAKE_SIZE:
            raise RemoteError("handshake-length")
        kind, version, zero, sender, receiver = _RESPONSE.unpack_from(datagram)
        _check_header(kind, RESPONSE, version, zero)
        if not check_mac1(self._own_mac1_key, datagram):
            raise RemoteError("handshake-mac1")
        if datagram[-MAC_SIZE:] != NO_MAC:
            raise RemoteError("handshake-mac2")
        if receiver not in self._indexes:
            raise RemoteError("handshake-index")
        state = self._state.copy()
        padded = state.read_message(datagram[_RESPONSE.size : -MACS_SIZE])
        payload = MemberPayload.decode(padded)
        if payload.counter != 0:
            raise RemoteError("handshake-payload")
        send, receive = state.split()
        keys = TransportKeys(send, receive, state.handshake_hash, receiver, sender, True)
        return payload, keys

    def read_cookie(self, datagram: bytes) -> bytes:
        """The cookie (16 bytes, good for `cookies.COOKIE_LIFETIME`) to call `message` with. It is
        bound to the copy that it answers.

        Raises RemoteError: `cookie-length`, `cookie-header` or `cookie-decrypt`.
        """
        index = int.from_bytes(datagram[4:8], "big")
        if index not in self._indexes:
            raise RemoteError("cookie-header")
        sent = append_macs(self._mac1_key, self._headed(index), None)
        mac1 = sent[-MACS_SIZE:-MAC_SIZE]
        return open_cookie_reply(datagram, self._remote_static, mac1, index)


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
