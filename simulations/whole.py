"""A machine that runs a whole node of `meshd`: handshakes, sessions, paths, relays and gossip.

Hosts stand as in the field: of every seven, two are in the open, two share a LAN behind one cone
NAT, one is behind a cone NAT of its own, and two behind symmetric ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from random import Random

from gossip.config import GossipConfig
from gossip.events import (
    MemberDown,
    MemberLeft,
    MemberSuspected,
    MemberUp,
    SequenceChanged,
    Wakeup,
)
from gossip.ids import NodeId
from gossip.members import MemberState
from gossip.records import decode
from meshd.node.certificates import parse_certificate
from meshd.node.chain import TrustStore
from meshd.node.identity import Identity
from meshd.node.node import Node
from meshd.node.outputs import (
    ForwardBatch,
    OpenNat,
    Output,
    PersistCounter,
    PersistIdentity,
    PersistRevocations,
    PersistSequence,
    PersistTrust,
    Pong,
    SendDatagram,
    SendFrame,
)
from meshd.node.state import NodeConfig
from meshd.node.wire import Frame
from simulations.cluster import Cluster, Host
from simulations.enrolment import UNIX_TIME, enrol
from simulations.machine import Carried, Disk, Seen, Send
from simulations.nat import Endpoint, Nat, NatKind
from simulations.network import MTU, UDP_HEADERS, Network
from simulations.world import World

PORT = 443
NODES_MAX = 7 * 64
SITES = (
    (0, NatKind.OPEN),
    (1, NatKind.OPEN),
    (2, NatKind.PORT_RESTRICTED),
    (2, NatKind.PORT_RESTRICTED),
    (3, NatKind.PORT_RESTRICTED),
    (4, NatKind.SYMMETRIC),
    (5, NatKind.SYMMETRIC),
)
"""Site and kind of every host in a group of seven."""

_MEMBER_EVENTS: dict[str, type[MemberUp | MemberSuspected | MemberDown | MemberLeft]] = {
    "alive": MemberUp,
    "suspect": MemberSuspected,
    "dead": MemberDown,
    "left": MemberLeft,
}

Relaying = Callable[[bytes], list[bytes]]
"""What becomes of a datagram that a node relays: an honest one sends it on, once and unchanged."""
FirstRecords = Callable[[Sequence[int]], tuple[bytes, ...]]
"""What an enrolment hands to a joiner: the records that these hosts hold."""


class WholeNode:
    """`meshd.node.Node` of one host, from its disk to its outputs. It exists from `start` on."""

    packet_size = MTU - UDP_HEADERS

    def __init__(
        self,
        identity: Identity,
        endpoint: Endpoint,
        disk: Disk,
        config: NodeConfig,
        rng: Random,
        first_records: FirstRecords,
    ) -> None:
        self.pongs: dict[int, Pong] = {}
        self.packets: list[bytes] = []
        """What the TUN got; whoever writes packets takes them."""
        self.relaying: Relaying = lambda datagram: [datagram]
        self.config = config
        self._written: list[Send] = []
        self._identity = identity
        self._endpoint = endpoint
        self._disk = disk
        self._rng = rng
        self._first_records = first_records
        self._node: Node | None = None
        self._now = 0.0
        self._told: dict[NodeId, MemberState] = {}

    @property
    def node(self) -> Node:
        """The node, once started."""
        if self._node is None:
            raise ValueError("the machine has not been started")
        return self._node

    def start(self, seeds: Sequence[int], now: float) -> None:
        """Begin with what is on disk, or else with what an enrolment by the seeds tells."""
        disk, self._now = self._disk, now
        self._node = Node(
            _read(self._identity, disk),
            self.config,
            self._rng,
            self._rng.randbytes,
            now,
            UNIX_TIME + now,
            disk.sequence + 1,
            disk.counter,
            [decode(record) for record in disk.records or self._first_records(seeds)],
        )
        self._node.places.set_local([self._endpoint], now)

    def receive(self, payload: bytes, source: Endpoint, now: float) -> None:
        """A datagram. The node counts what it drops, so nothing is refused here."""
        self._now = now
        packets = self.node.receive(memoryview(bytearray(payload)), len(payload), source, now)
        self.packets += map(bytes, packets)

    def write(self, packet: bytes, now: float) -> None:
        """Let the TUN hand this IP packet to the node."""
        self._now, outbound = now, self.node.outbound
        outbound.space[: len(packet)] = packet
        for frame in (outbound.add(len(packet), now), outbound.flush(now)):
            if frame is not None:
                self._written += _sends(frame)
        if outbound.waiting is not None:
            self.node.connect_waiting(now)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self._now = now
        self.node.handle_timer(now)

    def next_wakeup(self) -> Wakeup | None:
        """When the node wants to be called."""
        return self.node.next_wakeup()

    def next_deadline(self) -> float:
        """The same, without the reason."""
        wakeup = self.node.next_wakeup()
        return inf if wakeup is None else wakeup.at

    def drain(self) -> list[Send | Seen]:
        """The node's datagrams, and what it noticed of others."""
        drained: list[Send | Seen] = list(self._written)
        self._written.clear()
        while self.node.pending:  # to write a certificate has consequences
            for output in self.node.drain():
                drained += self._perform(output)
        return drained + self._member_events()

    def _member_events(self) -> list[Seen]:
        """What changed among the members since the last time, as gossip would have told it."""
        states = self.node.gossip.states()
        if states == self._told:
            return []
        changed = [node for node, state in states.items() if self._told.get(node) != state]
        self._told = states
        return [_MEMBER_EVENTS[states[node].value](node) for node in changed]

    def _perform(self, output: Output) -> list[Send | Seen]:
        match output:
            case SendDatagram(payload, endpoint):
                return [Send(endpoint, payload)]
            case OpenNat(endpoint, _):
                return [Send(endpoint, b"")]
            case SendFrame(frame):
                return list(_sends(frame))
            case ForwardBatch(batch):
                starts = range(0, len(batch.data), batch.segment_size)
                slices = (batch.data[start : start + batch.segment_size] for start in starts)
                carried = (each for data in slices for each in self.relaying(bytes(data)))
                return [Carried(batch.endpoint, data) for data in carried]
            case PersistSequence(value):
                return [SequenceChanged(value)]
            case PersistCounter(value):
                self._disk.counter = value
            case PersistRevocations():
                lists = self.node.state.identity.trust.lists
                self._disk.lists = tuple(item.der for item in lists)
            case PersistTrust():
                issuers = self.node.state.identity.trust.issuers
                self._disk.issuers = tuple(item.der for item in issuers)
            case PersistIdentity(identity):
                self._disk.chain = identity.chain
                if identity.issuer is not None:
                    self._disk.authority = identity.issuer.certificate.der
                self.node.credentials.adopt(identity, self._now)
            case Pong(token):
                self.pongs[token] = output
        return []

    @property
    def is_partial(self) -> bool:
        """Whether gossip keeps some neighbours only."""
        return False

    def leave(self, now: float) -> None:
        """Say goodbye to all peers."""
        self.node.close(now)

    def moved(self, endpoint: Endpoint, now: float) -> None:
        """Tell the node its host's new address."""
        self._endpoint = endpoint
        self.node.places.set_local([endpoint], now)

    def ping(self, peer: NodeId, token: int, now: float) -> None:
        """Ping a known peer; the answer comes to `pongs`."""
        found = self.node.find(peer.hex())
        if found is not None:
            self.node.ping(found, token, now)

    def path_kind(self, peer: NodeId) -> str:
        """How packets to a peer go: direct, relay, or none."""
        found = self.node.find(peer.hex())
        return "none" if found is None or found.path is None else found.path.kind.value

    def states(self) -> dict[NodeId, str]:
        """The state of every other member."""
        return {member.id: member.state.value for member in self.node.gossip.members()}

    def sequences(self) -> dict[tuple[NodeId, int], int]:
        """The sequence of every record held."""
        return {(record.subject, record.kind): record.sequence for record in self.node.records()}

    def records(self) -> tuple[bytes, ...]:
        """Every record held, encoded."""
        return tuple(record.encode() for record in self.node.records())


def _sends(frame: Frame) -> list[Send]:
    pairs = zip(frame.parts[::2], frame.parts[1::2], strict=True)
    return [Send(frame.endpoint, b"".join(pair)) for pair in pairs]


def _read(enrolled: Identity, disk: Disk) -> Identity:
    """The identity that a host starts with: as it was enrolled, and what its disk has since then.

    What it trusts is its own: nobody learns anything but by a message.
    """
    known = enrolled.trust
    issuers = [*(item.der for item in known.issuers), *disk.issuers]
    trust = TrustStore(known.root.der, issuers, disk.lists)
    identity = replace(enrolled, trust=trust)
    if disk.chain:
        leaf = parse_certificate(disk.chain[0])
        identity = replace(identity, certificate=leaf, issuer_certificates=disk.chain[1:])
    if disk.authority and identity.issuer is not None:
        issuer = replace(identity.issuer, certificate=parse_certificate(disk.authority))
        identity = replace(identity, issuer=issuer)
    return identity


def node_cluster(world: World, network: Network, nodes: int, config: GossipConfig) -> Cluster:
    """Hosts that run whole nodes. Raises ValueError above `NODES_MAX`."""
    if nodes > NODES_MAX:
        raise ValueError(f"at most {NODES_MAX} whole nodes, not {nodes}")
    identities = enrol(nodes, world.stream("keys").randbytes)
    nats: dict[int, Nat] = {}
    hosts = [_host(world, number, identities[number].id, nats) for number in range(nodes)]
    node_config = NodeConfig(
        gossip=config,
        vnet_header=False,
        segmentation=False,
        udp_segmentation=False,
        max_peers=nodes,
    )

    def first_records(seeds: Sequence[int]) -> tuple[bytes, ...]:
        machines = (hosts[seed].machine for seed in seeds)
        return tuple(dict.fromkeys(r for machine in machines if machine for r in machine.records()))

    def make(host: Host) -> WholeNode:
        rng = world.stream(f"node/{host.number}/{host.boots}")
        identity = identities[host.number]
        return WholeNode(identity, host.endpoint, host.disk, node_config, rng, first_records)

    return Cluster(world, network, hosts, make)


def _host(world: World, number: int, identity: NodeId, nats: dict[int, Nat]) -> Host:
    """A host at its place in the group of seven. Sites have addresses of their own."""
    group, place = divmod(number, len(SITES))
    within, kind = SITES[place]
    site = group * len(SITES) + within
    if kind is NatKind.OPEN:
        return Host(number, identity, (f"198.18.{site >> 8}.{site & 255}", PORT))
    if site not in nats:
        public = f"198.19.{site >> 8}.{site & 255}"
        nats[site] = Nat(kind, public, world.stream(f"nat/{site}"))
    inside = (f"10.{site >> 8}.{site & 255}.{place + 2}", PORT)
    return Host(number, identity, inside, nat=nats[site])
