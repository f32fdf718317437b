"""Who holds an address or a name that several certificates have: the lowest node id, everywhere.

Two issuers that cannot reach each other may give out one IPv4 address, or one name, twice. Every
node settles it alike, from the certificates alone: routing, the check of a packet's source, and
what a person finds by name or address. Who loses asks an issuer for another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gossip import NodeId
from meshd.node.certificates import Certificate
from meshd.node.peer import Key, Peer

AnyKey = Key | str


@dataclass(frozen=True, slots=True)
class Lost:
    """What of our own certificate's another node holds: the id of that node, or None."""

    address4: NodeId | None = None
    name: NodeId | None = None

    def __bool__(self) -> bool:
        return self.address4 is not None or self.name is not None


def keys_of(certificate: Certificate) -> frozenset[Key]:
    """The overlay addresses of a certificate, as the packet path knows them."""
    keys: list[Key] = []
    for address in certificate.addresses:
        value = int(address)
        keys.append(value if address.version == 4 else (value >> 64, value & (1 << 64) - 1))
    return frozenset(keys)


def settle(own: Certificate, holders: Iterable[Peer], others: Iterable[Peer]) -> Lost:
    """Let every peer have the addresses that it holds, and no others; what we lost ourselves.

    `holders`: peers whose certificate stands; `others`: all peers, of whom the rest hold nothing.
    """
    owners: dict[AnyKey, NodeId] = {}
    standing = {peer.id: peer for peer in holders if peer.certificate is not None}
    claims = {node: _claims(peer.certificate) for node, peer in standing.items()}
    claims[own.node] = _claims(own)
    for node in sorted(claims, reverse=True):
        owners.update(dict.fromkeys(claims[node], node))
    for peer in others:
        held = [key for key in claims.get(peer.id, ()) if owners[key] == peer.id]
        peer.hold([key for key in held if not isinstance(key, str)])
    address4 = owners[int(own.address4)]
    return Lost(
        address4 if address4 != own.node else None,
        owners[own.name] if owners[own.name] != own.node else None,
    )


def _claims(certificate: Certificate | None) -> list[AnyKey]:
    return [] if certificate is None else [certificate.name, *keys_of(certificate)]
