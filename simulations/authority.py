"""A cheap stand-in for signatures, of the sizes and the interface of Ed25519; and Ed25519 itself.

The stand-in is a keyed hash. It catches honest mistakes (a changed byte, a wrong signer), not an
adversary: whoever knows the key verifies and could sign. One hash costs a fiftieth of an Ed25519
signature. `python -m simulations` plays one scenario with real keys, to show that they are alike.
"""

from __future__ import annotations

from hashlib import blake2b, blake2s

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gossip.ids import NodeId
from gossip.records import Record

MESH = b"simulated mesh"


def key_of(number: int) -> bytes:
    """The 32-byte key of the host with this number."""
    return blake2s(f"simulated key {number}".encode()).digest()


def identity_of(key: bytes) -> NodeId:
    """The node id that belongs to `key`."""
    return NodeId(blake2s(key, digest_size=16).digest())


class FakeAuthority:
    """Signs for one host; grants any prefix to anyone."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    @classmethod
    def of(cls, number: int) -> FakeAuthority:
        """That of the host with this number."""
        return cls(key_of(number))

    @property
    def domain(self) -> bytes:
        """The one simulated mesh."""
        return MESH

    def sign(self, message: bytes) -> bytes:
        """64 bytes that only this host's key makes of `message`."""
        return _signature(self.key, message)

    def verify(self, key: bytes, subject: NodeId, message: bytes, signature: bytes) -> bool:
        """Whether `key` is the subject's and made `signature`."""
        return identity_of(key) == subject and _signature(key, message) == signature

    def admits(self, record: Record) -> bool:
        """Every signed record is good."""
        return True

    def keys(self, record: Record) -> tuple[bytes, ...]:
        """The body of a CERTIFICATE record is a list of 16-byte keys."""
        body = record.body
        return tuple(body[at : at + 16] for at in range(0, len(body) - 15, 16))

    def grants(self, node: NodeId, prefix: str) -> bool:
        """Every route is granted."""
        return True


class Ed25519Authority(FakeAuthority):
    """The same with real signatures (RFC 8032), by a key that follows from the host's number."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        super().__init__(private.public_key().public_bytes_raw())
        self._private = private

    @classmethod
    def of(cls, number: int) -> Ed25519Authority:
        """That of the host with this number."""
        return cls(Ed25519PrivateKey.from_private_bytes(key_of(number)))

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature."""
        return self._private.sign(message)

    def verify(self, key: bytes, subject: NodeId, message: bytes, signature: bytes) -> bool:
        """Whether `key` is the subject's and made `signature`."""
        if identity_of(key) != subject:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def _signature(key: bytes, message: bytes) -> bytes:
    return blake2b(message, key=key, digest_size=64).digest()
