"""A cheap stand-in for signatures: a keyed hash, of the sizes and the interface of Ed25519.

It catches honest mistakes (a changed byte, a wrong signer), not an adversary: whoever knows the
key verifies and could sign. One hash costs a fiftieth of an Ed25519 signature.
"""

from __future__ import annotations

from hashlib import blake2b, blake2s

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
        self._key = key

    @property
    def domain(self) -> bytes:
        """The one simulated mesh."""
        return MESH

    def sign(self, message: bytes) -> bytes:
        """64 bytes that only this host's key makes of `message`."""
        return _signature(self._key, message)

    def verify(self, key: bytes, subject: NodeId, message: bytes, signature: bytes) -> bool:
        """Whether `key` is the subject's and made `signature`."""
        return identity_of(key) == subject and _signature(key, message) == signature

    def admits(self, record: Record) -> bool:
        """Every signed record is good."""
        return True

    def grants(self, node: NodeId, prefix: str) -> bool:
        """Every route is granted."""
        return True


def _signature(key: bytes, message: bytes) -> bytes:
    return blake2b(message, key=key, digest_size=64).digest()
