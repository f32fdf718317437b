"""Two sides that can shake hands, for the tests of handshakes."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from meshd.node.cookies import MACS_SIZE, append_macs, mac1_key
from meshd.node.handshake import (
    EnrolPayload,
    Initiator,
    MemberPayload,
    Purpose,
    Responder,
    TransportKeys,
)
from meshd.node.noise import AES256GCM, CipherSuite

MESH = b"m" * 16
PSK = b"p" * 32
CALLER = X25519PrivateKey.from_private_bytes(b"a" * 32)
CALLER_PUBLIC = CALLER.public_key().public_bytes_raw()
CALLED = X25519PrivateKey.from_private_bytes(b"b" * 32)
CALLED_PUBLIC = CALLED.public_key().public_bytes_raw()
CALLER_INDEX, CALLED_INDEX = 0x01020304, 0xA1A2A3A4

MEMBER = MemberPayload(77, 5, b"s" * 64, (b"leaf" * 120, b"issuer" * 60))
ENROL = EnrolPayload(78, 6, b"i" * 16)
ANSWER = MemberPayload(0, 9, b"t" * 64, (b"Leaf" * 120, b"Issuer" * 60))


def initiator(
    suite: CipherSuite = AES256GCM, purpose: Purpose = Purpose.MEMBER, psk: bytes = PSK
) -> Initiator:
    return Initiator(suite, MESH, purpose, CALLER, CALLED_PUBLIC, psk, b"e" * 32, CALLER_INDEX)


def responder(suite: CipherSuite = AES256GCM) -> Responder:
    return Responder(suite, MESH, CALLED)


def respond(initiation: bytes, suite: CipherSuite = AES256GCM) -> tuple[bytes, TransportKeys]:
    side = responder(suite)
    return side.respond(side.read(initiation), PSK, b"f" * 32, CALLED_INDEX, ANSWER)


def resealed(message: bytes, receiver_public: bytes) -> bytes:
    """`message` with its last 32 bytes replaced by macs that are right: what a liar sends who
    knows the receiver's static key, as every member does."""
    return append_macs(mac1_key(receiver_public), message[:-MACS_SIZE], None)
