"""What the parts of a node share: who we are, who the others are, what is to be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from random import Random

from gossip import GossipConfig, NodeId
from meshd.node.holding import Lost
from meshd.node.identity import Identity
from meshd.node.outputs import Output
from meshd.node.peer import Key, Peer
from meshd.node.reassembly import ByteBudget
from meshd.node.session import Session
from meshd.node.wire import Endpoint

MAX_RESOLVED = 4096
"""Destinations whose route is remembered."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What the host tells a node about itself and its person's wishes."""

    gossip: GossipConfig
    vnet_header: bool = True
    """Whether packets to and from the TUN carry a 10-byte virtio_net_hdr."""
    segmentation: bool = True
    """Whether the TUN takes TCP super-packets (TSO4, TSO6, CSUM)."""
    udp_segmentation: bool = True
    """Whether it takes UDP super-packets (USO)."""
    endpoints: tuple[Endpoint, ...] = ()
    """Public endpoints that the person named."""
    max_peers: int = 50
    """Members to keep sessions with when nothing else asks for one."""
    relays: bool = True
    """Whether this node relays for other members."""
    routes: tuple[str, ...] = ()
    """Prefixes to offer, inside what the certificate grants."""


@dataclass(slots=True)
class NodeState:
    """Shared by a node's parts; each part's docstring says what it changes here."""

    identity: Identity
    config: NodeConfig
    rng: Random
    random_bytes: Callable[[int], bytes]
    unix_offset: float
    """Unix time less the monotonic clock, seconds."""
    budget: ByteBudget
    local_endpoints: tuple[Endpoint, ...] = ()
    bootstrap: tuple[Endpoint, ...] = ()
    """Where members may be found first, besides what gossip says."""
    reflexive: dict[Endpoint, dict[NodeId, float]] = field(default_factory=dict)
    """Our endpoints as peers saw them -> who said so, when."""
    peers: dict[NodeId, Peer] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    """Packets and datagrams refused, by reason."""
    auth_failures: Counter[str] = field(default_factory=Counter)
    counter: int = 0
    """The last handshake counter used."""
    notices: dict[str, str] = field(default_factory=dict)
    """Sentences for `meshd status`, by what they are about: the keys are literals."""
    certified: list[Peer] = field(default_factory=list)
    """Peers whose certificate came in a handshake: records and routes are to follow."""

    lost: Lost = field(default_factory=Lost)
    """What of our certificate's another node holds."""

    def unix_time(self, now: float) -> float:
        """Seconds since 1970 at monotonic time `now`."""
        return now + self.unix_offset

    def new_index(self) -> int:
        """A receiver index that no session uses."""
        while True:
            index = int.from_bytes(self.random_bytes(4), "big")
            if index not in self.sessions:
                return index

    def members(self) -> Iterator[Peer]:
        """Peers whose certificate is known."""
        return (peer for peer in self.peers.values() if peer.certificate is not None)

    def holders(self) -> Iterator[Peer]:
        """Members whose certificate stands, so that its name and addresses are theirs."""
        void = self.identity.trust.is_void
        return (
            peer
            for peer in self.peers.values()
            if peer.certificate is not None and not void(peer.certificate)
        )


class OverlayTable:
    """Overlay destination -> peer: addresses of certificates first, then the longest prefix."""

    def __init__(self) -> None:
        self._hosts: dict[Key, Peer] = {}
        self._routes: list[tuple[int, int, int, Peer]] = []
        self._resolved: dict[Key, Peer | None] = {}

    def rebuild(self, peers: Iterator[Peer], routes: list[tuple[str, Peer]]) -> None:
        """Replace everything. Where two certificates hold one address, or two nodes offer one
        prefix, the lower id wins, so that all nodes agree; but who is taken to be dead carries
        packets to a prefix only where no other offers it."""
        self._hosts = {}
        for peer in sorted(peers, key=lambda peer: peer.id, reverse=True):
            self._hosts.update(dict.fromkeys(peer.keys4, peer))
            self._hosts.update(dict.fromkeys(peer.keys6, peer))
        self._routes = []
        for prefix, peer in routes:
            network = ip_network(prefix)
            shift = network.max_prefixlen - network.prefixlen
            bits = int(network.network_address) >> shift
            self._routes.append((network.version, shift, bits, peer))
        self._routes.sort(key=lambda r: (r[1], r[3].state == "dead", r[3].id))
        self._resolved = {}

    def carrier(self, prefix: str) -> Peer | None:
        """Who carries packets to `prefix` where no longer prefix matches."""
        network = ip_network(prefix)
        shift = network.max_prefixlen - network.prefixlen
        bits = int(network.network_address) >> shift
        chosen = [r[3] for r in self._routes if r[:3] == (network.version, shift, bits)]
        return chosen[0] if chosen else None

    def find(self, key: Key) -> Peer | None:
        """The peer that carries packets to `key`."""
        peer = self._hosts.get(key)
        if peer is not None or not self._routes:
            return peer
        if key in self._resolved:
            return self._resolved[key]
        version, value = (4, key) if isinstance(key, int) else (6, key[0] << 64 | key[1])
        for family, shift, bits, origin in self._routes:
            if family == version and value >> shift == bits:
                peer = origin
                break
        if len(self._resolved) >= MAX_RESOLVED:
            self._resolved.clear()
        self._resolved[key] = peer
        return peer
