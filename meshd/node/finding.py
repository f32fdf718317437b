"""Which peer a person means by a name, an id or an overlay address; who carries packets there."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from meshd.node.chain import TrustStore
from meshd.node.peer import Key, Peer
from meshd.node.state import OverlayTable


def canonical(text: str) -> str:
    """A name, id or address as it is kept: in small letters, IPv6 in its shortest form."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text.lower()


def find(text: str, peers: Iterable[Peer], trust: TrustStore) -> Peer | None:
    """The peer with this id, or that holds this name or address.

    Where several certificates have one name or address, it is the lower id's, as everywhere; a
    certificate that is void (its node left) counts only where no other has what is asked for.
    """
    wanted = canonical(text)
    found: list[tuple[bool, Peer]] = []
    for peer in peers:
        certificate = peer.certificate
        if peer.id.hex() == wanted:
            return peer
        if certificate is not None and (
            wanted == certificate.name or wanted in map(str, certificate.addresses)
        ):
            found.append((trust.is_void(certificate), peer))
    return min(found, key=lambda item: (item[0], item[1].id))[1] if found else None


def route(
    address: IPv4Address | IPv6Address, table: OverlayTable, routes: list[tuple[str, Peer, bool]]
) -> tuple[Peer | None, str | None]:
    """Who carries packets to `address`, and by which prefix of `routes` when it is not its own."""
    value = int(address)
    key: Key = value if address.version == 4 else (value >> 64, value & (1 << 64) - 1)
    peer = table.find(key)
    prefixes = [
        prefix
        for prefix, origin, selected in routes
        if selected and origin is peer and address in ip_network(prefix)
    ]
    return peer, max(prefixes, key=lambda prefix: ip_network(prefix).prefixlen, default=None)
