"""Two members with a session between them, and no network: what one seals, the test delivers."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from random import Random

from gossip import GossipConfig
from meshd.node.grants import Grants
from meshd.node.handshake import TransportKeys
from meshd.node.identity import Identity, join
from meshd.node.inbound import Inbound, Receipt
from meshd.node.noise import AES256GCM, CipherSuite
from meshd.node.outbound import Outbound
from meshd.node.path import Path
from meshd.node.peer import Key, Peer
from meshd.node.reassembly import ByteBudget
from meshd.node.segmentation import finish_checksum
from meshd.node.session import Session
from meshd.node.state import NodeConfig, NodeState, OverlayTable
from meshd.node.wire import Buffer, Endpoint, Frame
from tests.node.meshes import NOW, admit, bytes_of, make_key, make_mesh, make_reply

ALPHA_AT: Endpoint = ("192.0.2.1", 443)
BETA_AT: Endpoint = ("192.0.2.2", 443)
STRANGER_AT: Endpoint = ("192.0.2.66", 6666)
ALPHA_INDEX, BETA_INDEX = 0x0A0A0A0A, 0x0B0B0B0B
VNET = bytes(10)
"""The virtio header of a complete packet."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@cache
def founder() -> Identity:
    """`alpha`, who admits the others."""
    return make_mesh(1)


@cache
def member(name: str, seed: int, routes: tuple[Network, ...] = ()) -> Identity:
    """A member admitted by `alpha`; its certificate grants `routes`."""
    certificate = admit(founder(), seed, name, Grants(routes=routes))
    reply = make_reply(founder(), certificate)
    return join(make_key(seed), founder().mesh.mesh_id, reply, NOW)


def key_of(address: Address) -> Key:
    """An overlay address as the packet path knows it."""
    value = int(address)
    return value if address.version == 4 else (value >> 64, value & (1 << 64) - 1)


def make_state(identity: Identity, config: NodeConfig | None = None) -> NodeState:
    """A node's state at monotonic time zero."""
    config = config or NodeConfig(gossip=GossipConfig.lan())
    return NodeState(identity, config, Random(7), bytes_of(7), NOW, ByteBudget())


def make_peer(identity: Identity) -> Peer:
    """The peer that `identity` is to others: certified, without session or path."""
    peer = Peer(identity.id, Random(5))
    peer.certify(identity.certificate, identity.chain)
    return peer


@dataclass(slots=True)
class Side:
    """One member: its parts of the packet path, and the other member as its peer."""

    identity: Identity
    at: Endpoint
    state: NodeState
    table: OverlayTable
    outbound: Outbound
    inbound: Inbound
    peer: Peer

    @property
    def address4(self) -> IPv4Address:
        return self.identity.certificate.address4

    @property
    def address6(self) -> IPv6Address:
        return self.identity.certificate.address6

    @property
    def session(self) -> Session:
        assert self.peer.current is not None
        return self.peer.current

    @property
    def path(self) -> Path:
        assert self.peer.path is not None
        return self.peer.path

    @property
    def dropped(self) -> dict[str, int]:
        """What was refused, by reason."""
        return {reason: count for reason, count in self.state.drops.items() if count}

    def rebuild(self, *routes: tuple[str, Peer]) -> None:
        """The overlay table anew: all peers, and these routes."""
        self.table.rebuild(self.state.members(), list(routes))

    def send(self, *packets: bytes, now: float = 0.0) -> list[Frame]:
        """The frames that carry `packets`, read from the TUN one after another. Their bytes are
        copied, so that they outlive the next frame."""
        frames = []
        for packet in packets:
            self.outbound.space[: len(packet)] = packet
            frames.append(kept(self.outbound.add(len(packet), now)))
        frames.append(kept(self.outbound.flush(now)))
        return [frame for frame in frames if frame is not None]

    def gather(self, packets: list[bytes], now: float = 0.0) -> list[Frame]:
        """The same by the daemon's way: the frames of one turn, until no packet waits."""
        waiting = deque(packets)

        def read(view: memoryview) -> int:
            if not waiting:
                return 0
            packet = waiting.popleft()
            view[: len(packet)] = packet
            return len(packet)

        frames = []
        while not (self.outbound.drained and not waiting):
            frames.append(kept(self.outbound.gather(read, now)))
        return [frame for frame in frames if frame is not None]

    def receive(
        self, datagrams: Sequence[bytes], source: Endpoint, now: float = 0.0
    ) -> list[bytes]:
        """Packets out of one batch of datagrams, as GRO would hand it over."""
        self.inbound.begin()
        batch = memoryview(b"".join(datagrams))
        return copied(self.inbound.receive(batch, len(datagrams[0]), source, now))

    def receive_split(
        self, datagrams: Sequence[bytes], source: Endpoint, now: float = 0.0
    ) -> list[bytes] | None:
        """The same, of a batch whose headers and slices lie apart; None: refused whole."""
        self.inbound.begin()
        receipt = Receipt(source, None, now)
        headers = memoryview(b"".join(datagram[:16] for datagram in datagrams).ljust(4096, b"?"))
        body = memoryview(b"".join(datagram[16:] for datagram in datagrams).ljust(70_000, b"?"))
        size = sum(map(len, datagrams))
        if not self.inbound.receive_split(headers, body, len(datagrams[0]), size, receipt):
            return None
        return copied(receipt.packets)

    def receive_each(
        self, datagrams: Iterable[bytes], source: Endpoint, now: float = 0.0
    ) -> list[bytes]:
        """Packets out of datagrams that come one by one."""
        return [p for datagram in datagrams for p in self.receive([datagram], source, now)]


def couple(
    near: NodeConfig | None = None,
    far: NodeConfig | None = None,
    routes: tuple[Network, ...] = (),
    suite: CipherSuite = AES256GCM,
    segment: int = 1472,
) -> tuple[Side, Side]:
    """`alpha` and `beta`, whose certificate grants `routes`, with a session and a direct path
    for datagrams of `segment` bytes."""
    alpha, beta = founder(), member("beta", 2, routes)
    ours = TransportKeys(b"1" * 32, b"2" * 32, b"h" * 32, ALPHA_INDEX, BETA_INDEX, True)
    theirs = TransportKeys(b"2" * 32, b"1" * 32, b"h" * 32, BETA_INDEX, ALPHA_INDEX, False)
    sides = (
        _side(alpha, ALPHA_AT, near, suite, ours, beta, BETA_AT),
        _side(beta, BETA_AT, far, suite, theirs, alpha, ALPHA_AT),
    )
    for side in sides:
        side.path.segment, side.path.parity = segment, None
    return sides


def _side(
    identity: Identity,
    at: Endpoint,
    config: NodeConfig | None,
    suite: CipherSuite,
    keys: TransportKeys,
    other: Identity,
    other_at: Endpoint,
) -> Side:
    state = make_state(identity, config)
    peer = make_peer(other)
    session = Session(suite, keys, other.id, state.budget, 0.0)
    session.confirmed, session.endpoint = True, other_at
    peer.current = session
    peer.paths.learn(other_at, 0.0).prove(0.0)
    peer.paths.choose(0.0)
    state.peers[other.id] = peer
    state.sessions[session.local_index] = session
    table = OverlayTable()
    table.rebuild(state.members(), [])
    own = frozenset(key_of(address) for address in identity.certificate.addresses)
    return Side(identity, at, state, table, Outbound(state, table), Inbound(state, own), peer)


def packet4(
    source: Address, destination: Address, payload: bytes = b"", protocol: int = 17
) -> bytes:
    """An IPv4 packet with a good header checksum."""
    head = struct.pack(
        ">BBHHHBBH4s4s",
        0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, source.packed, destination.packed,
    )  # fmt: skip
    return finish_checksum(head, 0, 10) + payload


def packet6(
    source: Address, destination: Address, payload: bytes = b"", protocol: int = 17
) -> bytes:
    """An IPv6 packet."""
    head = struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64)
    return head + source.packed + destination.packed + payload


def plain(packet: bytes) -> bytes:
    """`packet` as a TUN with virtio headers brings it."""
    return VNET + packet


def kept(frame: Frame | None) -> Frame | None:
    """A frame whose bytes outlive the next one."""
    if frame is not None:
        frame.parts = [bytes(part) for part in frame.parts]
    return frame


def copied(packets: Iterable[Buffer]) -> list[bytes]:
    """Packets whose bytes outlive the next receive."""
    return [bytes(packet) for packet in packets]


def datagrams_of(frame: Frame) -> list[bytes]:
    """A frame as it is on the wire."""
    parts = [bytes(part) for part in frame.parts]
    return [head + piece for head, piece in zip(parts[::2], parts[1::2], strict=True)]
