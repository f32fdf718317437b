"""Who takes part in a benchmark: numbers, keys, node ids and addresses that all can work out."""

from __future__ import annotations

from hashlib import blake2s

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gossip import NodeId, Record
from meshd.node.addresses import node_id

Endpoint = tuple[str, int]

PORT = 7946
GROUP_PREFIXES = ("127.11", "127.12")
"""The first halves of the addresses of the two groups that a split divides."""


def group_of(number: int, count: int) -> int:
    """0 or 1: in which half of `count` agents `number` is."""
    return int(number >= count // 2)


def address_of(number: int, count: int) -> str:
    """The loopback address of an agent; up to 62,500 in each group."""
    group = group_of(number, count)
    place = number - group * (count // 2)
    return f"{GROUP_PREFIXES[group]}.{place // 250}.{place % 250 + 1}"


def key_of(number: int) -> Ed25519PrivateKey:
    """The signing key of an agent."""
    return Ed25519PrivateKey.from_private_bytes(blake2s(f"benchmark {number}".encode()).digest())


class Directory:
    """All `count` agents; `endpoints` are their loopback addresses unless others are given."""

    def __init__(self, count: int, endpoints: list[Endpoint] | None = None) -> None:
        self.count = count
        self.endpoints = endpoints or [(address_of(n, count), PORT) for n in range(count)]
        self.public = [key_of(n).public_key().public_bytes_raw() for n in range(count)]
        self.identities = [node_id(key) for key in self.public]
        self.number_of = {identity: n for n, identity in enumerate(self.identities)}


class Keys:
    """`gossip.Authority` by real Ed25519, in a mesh that believes every good signature."""

    domain = b"benchmark"

    def __init__(self, number: int) -> None:
        self._key = key_of(number)

    def sign(self, message: bytes) -> bytes:
        """64 bytes by this agent's key."""
        return self._key.sign(message)

    def verify(self, key: bytes, subject: NodeId, message: bytes, signature: bytes) -> bool:
        """Whether `key` is the subject's, and made `signature`."""
        if node_id(key) != subject:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def admits(self, record: Record) -> bool:
        """Everyone is a member."""
        return True

    def grants(self, node: NodeId, prefix: str) -> bool:
        """No route is published here."""
        return False

    def keys(self, record: Record) -> tuple[bytes, ...]:
        """No record proves a name or an address here."""
        return ()
