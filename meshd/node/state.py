"""What the parts of a node share: who we are, who the others are, what is to be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from random import Random

from gossip import GossipConfig, NodeId
from meshd.node.allowance import Allowance, ProbeBudget
from meshd.node.clocks import Clocks
from meshd.node.coalescing import Coalesced
from meshd.node.holding import Lost
from meshd.node.identity import Identity
from meshd.node.mapping import Mappings
from meshd.node.outputs import Output
from meshd.node.path import PathKind
from meshd.node.peer import Key, Peer
from meshd.node.reassembly import ByteBudget
from meshd.node.session import Session
from meshd.node.wire import Endpoint

MAX_RESOLVED = 4096
"""Destinations whose route is remembered."""

QUICKER, QUICKER_BY = 0.67, 0.010
"""Another node takes a prefix over when its round trip is at most this part of the carrier's, and
so many seconds less."""


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
    relay_capacity: float = 125e6
    """Bytes per second that it relays for all of them."""
    accepts_streams: bool = False
    """Whether the host listens for streams, so that others may dial us."""
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
    mapped_endpoints: tuple[Endpoint, ...] = ()
    """Ours, as gateways say that they forward them."""
    told_endpoints: tuple[Endpoint, ...] | None = None
    """Ours, as our last node record tells them."""
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
    coalesced: list[Coalesced] = field(default_factory=list)
    """Packets out of the last receive that are several as one."""
    counter: int = 0
    """The last handshake counter used."""
    mappings: Mappings = field(default_factory=Mappings)
    """What the NAT before us does with our port."""
    probes: ProbeBudget = field(default_factory=ProbeBudget)
    allowance: Allowance = field(default_factory=Allowance)
    """What may be sent to addresses that are not proven."""
    clocks: Clocks = field(default_factory=Clocks)
    """What those who call say about the time."""
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


_Prefix = tuple[int, int, int]
"""IP version, host bits, network as an integer without those."""


class OverlayTable:
    """Overlay destination -> peer: addresses of certificates first, then the longest prefix.

    Where several nodes offer one prefix, the one with the best way to it carries its packets:
    direct, relayed, none yet, taken to be dead; of those the lowest id. Whoever carries them goes
    on until another one is of a better class, or, where both ways are direct, clearly quicker: so
    nothing flaps, and packets of one connection keep to one way.
    """

    def __init__(self) -> None:
        self._hosts: dict[Key, Peer] = {}
        self._offers: dict[_Prefix, list[Peer]] = {}
        """The longest prefix first; the lowest id first."""
        self._carriers: dict[_Prefix, Peer] = {}
        self._resolved: dict[Key, Peer | None] = {}

    def rebuild(self, peers: Iterator[Peer], routes: list[tuple[str, Peer]]) -> None:
        """Replace everything but who carries what. Where two certificates hold one address, the
        lower id wins, so that all nodes agree."""
        self._hosts = {}
        for peer in sorted(peers, key=lambda peer: peer.id, reverse=True):
            self._hosts.update(dict.fromkeys(peer.keys4, peer))
            self._hosts.update(dict.fromkeys(peer.keys6, peer))
        parsed = [(_parse(prefix), peer) for prefix, peer in routes]
        self._offers = {}
        for prefix, peer in sorted(parsed, key=lambda offer: (offer[0][1], offer[1].id)):
            self._offers.setdefault(prefix, []).append(peer)
        self._resolved = {}
        self.choose()

    def choose(self) -> None:
        """Who carries packets to each prefix: call it when ways have changed."""
        before, self._carriers = self._carriers, {}
        for prefix, offers in self._offers.items():
            known = before.get(prefix)
            same = [peer for peer in offers if known is not None and peer.id == known.id]
            best = same[0] if same else min(offers, key=_class)
            for peer in offers:
                best = peer if _is_better(peer, best) else best
            self._carriers[prefix] = best
        if self._carriers != before:
            self._resolved = {}

    def carrier(self, prefix: str) -> Peer | None:
        """Who carries packets to `prefix` where no longer prefix matches."""
        return self._carriers.get(_parse(prefix))

    def find(self, key: Key) -> Peer | None:
        """The peer that carries packets to `key`."""
        peer = self._hosts.get(key)
        if peer is not None or not self._carriers:
            return peer
        if key in self._resolved:
            return self._resolved[key]
        version, value = (4, key) if isinstance(key, int) else (6, key[0] << 64 | key[1])
        for (family, shift, bits), carrier in self._carriers.items():
            if family == version and value >> shift == bits:
                peer = carrier
                break
        if len(self._resolved) >= MAX_RESOLVED:
            self._resolved.clear()
        self._resolved[key] = peer
        return peer


def _parse(prefix: str) -> _Prefix:
    network = ip_network(prefix)
    shift = network.max_prefixlen - network.prefixlen
    return network.version, shift, int(network.network_address) >> shift


def _class(peer: Peer) -> int:
    """How good the way to it is, 0 best."""
    if peer.state == "dead":
        return 3
    if peer.path is None:
        return 2
    return 0 if peer.path.kind is PathKind.DIRECT else 1


def _is_better(new: Peer, old: Peer) -> bool:
    """Whether `new` is to carry what `old` carries."""
    if _class(new) != _class(old) or _class(new) != 0:
        return _class(new) < _class(old)
    before = old.path.srtt if old.path is not None else None
    after = new.path.srtt if new.path is not None else None
    if before is None or after is None:
        return False
    return after <= QUICKER * before and after <= before - QUICKER_BY
