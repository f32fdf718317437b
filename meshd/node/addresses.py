"""Who a node is and which overlay addresses it has, all derived from public keys.

Node id and mesh id are BLAKE2s-128 (RFC 7693) of a raw Ed25519 public key: the node's own, and
the root CA's. Overlay addresses::

    IPv6   fd | 56 bits of the mesh id | 64 bits of the node id      RFC 4193 with a /64 of its own
    IPv4   the prefix's base + hash of the node id, next free        written into the certificate
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2s
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from gossip import NodeId
from meshd.node.errors import LocalError

ID_SIZE = 16
"""Bytes of a node id and of a mesh id."""

LARGEST_PREFIX4 = 30
"""Longest IPv4 prefix a mesh can live in: two host addresses beside network and broadcast."""


def node_id(public_key: bytes) -> NodeId:
    """The id of the node with this raw 32-byte Ed25519 public key."""
    return NodeId(_digest(public_key))


def mesh_id(root_public_key: bytes) -> bytes:
    """The 16-byte id of the mesh whose root CA has this raw Ed25519 public key."""
    return _digest(root_public_key)


def mesh_prefix6(mesh: bytes) -> IPv6Network:
    """The mesh's /64: a unique local prefix (RFC 4193), 56 of its bits from the mesh id."""
    return IPv6Network((b"\xfd" + mesh[:7] + bytes(8), 64))


def overlay6(mesh: bytes, node: NodeId) -> IPv6Address:
    """The node's overlay IPv6 address: the mesh's /64 and the first 64 bits of the node id."""
    return IPv6Address(b"\xfd" + mesh[:7] + node[:8])


def assign4(node: NodeId, prefix: IPv4Network, taken: Collection[IPv4Address]) -> IPv4Address:
    """The address in `prefix` for `node`: by hash of its id, the next free one on collision.

    Network and broadcast addresses are never given out. Pass `taken` as a set when it is large.
    Raises LocalError when the prefix is full or longer than /30.
    """
    if prefix.prefixlen > LARGEST_PREFIX4:
        raise LocalError(f"{prefix} has no room for nodes: use a prefix of /30 or shorter")
    usable = prefix.num_addresses - 2
    first = int(prefix.network_address) + 1
    start = int.from_bytes(blake2s(b"aegisray ipv4\x00" + node, digest_size=8).digest(), "big")
    for step in range(min(usable, len(taken) + 1)):
        address = IPv4Address(first + (start + step) % usable)
        if address not in taken:
            return address
    raise LocalError(f"every address of {prefix} is taken: the mesh needs a larger prefix")


def lookup_key(text: str | IPv4Address | IPv6Address) -> bytes:
    """The 16-byte key by which lookups find who has this name or overlay address."""
    kind = b"name:" if isinstance(text, str) else b"address:"
    return blake2s(b"aegisray key" + kind + str(text).encode(), digest_size=ID_SIZE).digest()


def _digest(public_key: bytes) -> bytes:
    if len(public_key) != 32:
        raise ValueError(f"an Ed25519 public key has 32 bytes, not {len(public_key)}")
    return blake2s(public_key, digest_size=ID_SIZE).digest()
