"""Whole nodes on an underlay in memory, under virtual time: what the tests of `Node` stand on.

A `Host` does what the daemon does: it carries out its node's outputs in order, keeps what is to be
kept on a `Disk` that outlives the node, and calls the node when it wants to be called. Clock,
chance, latency, loss and NAT are the simulator's.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from random import Random
from typing import TypeVar

from gossip import GossipConfig, Record
from gossip.records import decode as decode_record
from meshd.node import outputs
from meshd.node.chain import TrustStore
from meshd.node.errors import RemoteError
from meshd.node.grants import Grants
from meshd.node.identity import Identity, found, join
from meshd.node.invitation import Invitation, Token, invite
from meshd.node.issuing import EnrolmentReply
from meshd.node.joining import Joiner
from meshd.node.node import Node
from meshd.node.outputs import Output
from meshd.node.peer import Peer
from meshd.node.state import NodeConfig
from meshd.node.wire import Endpoint, is_stream
from simulations.nat import Nat, NatKind
from simulations.network import Conditions, Network
from simulations.world import Event, World
from tests.node.meshes import CIDR, NOW, admit, make_key, make_reply
from tests.node.pipes import Pipes

PORT = 443
LATENCY = 0.010
QUIET = Conditions(latency_s=LATENCY, spread_s=0.0, jitter_s=0.0)
"""Every datagram arrives, in order, after `LATENCY` seconds."""

CONFIG = NodeConfig(GossipConfig.lan(), vnet_header=False)

Told = TypeVar("Told", bound=Output)

PERSIST = (
    outputs.PersistSequence,
    outputs.PersistCounter,
    outputs.PersistInvitation,
    outputs.PersistLedger,
    outputs.PersistTrust,
    outputs.PersistRevocations,
    outputs.PersistIdentity,
    outputs.PersistRecords,
)


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram as it left a host: before NAT, loss and whatever else may happen to it."""

    time: float
    host: str
    source: Endpoint
    destination: Endpoint
    payload: bytes

    @property
    def kind(self) -> int:
        """The first byte, inside a relay's prefix where there is one."""
        return self.payload[8] if self.relayed else self.payload[0]

    @property
    def relayed(self) -> bool:
        """Whether it goes through a relay."""
        return self.payload[0] == 5


Filter = Callable[[Datagram], bytes | None]
"""What becomes of a datagram: its bytes, other bytes, or None where it is lost."""


@dataclass(slots=True)
class Disk:
    """What a host keeps over a crash. While `full`, every write fails."""

    sequence: int = 0
    counter: int = 0
    records: tuple[bytes, ...] = ()
    invitations: dict[bytes, Invitation] = field(default_factory=dict)
    ledgers: int = 0
    lists: tuple[bytes, ...] = ()
    """Revocation lists."""
    full: bool = False

    def write(self, output: Output, node: Node) -> None:
        """Do a `Persist` output. Raises OSError when full."""
        if self.full:
            raise OSError("no space left on device")
        match output:
            case outputs.PersistSequence(value):
                self.sequence = value
            case outputs.PersistCounter(value):
                self.counter = value
            case outputs.PersistInvitation(invitation):
                self.invitations[invitation.locator] = invitation
            case outputs.PersistLedger():
                self.ledgers += 1
            case outputs.PersistRevocations():
                self.lists = tuple(item.der for item in node.state.identity.trust.lists)
            case outputs.PersistRecords():
                self.records = tuple(record.encode() for record in node.records())


class Host:
    """A machine on the underlay with one node, which may be stopped, killed and started again."""

    def __init__(
        self, mesh: Mesh, identity: Identity, endpoints: Sequence[Endpoint], config: NodeConfig
    ) -> None:
        self.mesh = mesh
        self.identity = identity
        self.endpoints = list(endpoints)
        self.config = config
        self.disk = Disk()
        self.skew = 0.0
        """Seconds that this host's wall clock is ahead."""
        self.running: Node | None = None
        self.events: list[Output] = []
        """Outputs that are neither datagrams nor for the disk."""
        self.packets: list[bytes] = []
        """What the TUN got."""
        self.boots = 0
        self._timer: Event | None = None

    @property
    def name(self) -> str:
        """The node's name in the mesh."""
        return self.identity.name

    @property
    def node(self) -> Node:
        """The running node."""
        assert self.running is not None, f"{self.name} is not running"
        return self.running

    @property
    def drops(self) -> Counter[str]:
        """What the node refused, by reason."""
        return self.node.state.drops

    def start(self) -> None:
        """Start the node with what is on disk."""
        assert self.running is None, f"{self.name} is running"
        self.boots += 1
        now = self.mesh.world.now
        if self.boots > 1:
            self.identity = self._read_again()
        rng = self.mesh.world.stream(f"{self.name}/{self.boots}")
        self.running = Node(
            self.identity,
            self.config,
            rng,
            rng.randbytes,
            now,
            NOW + now + self.skew,
            self.disk.sequence + 1,
            self.disk.counter,
            [decode_record(record) for record in self.disk.records],
            list(self.disk.invitations.values()),
        )
        for address in dict.fromkeys(host for host, _ in self.endpoints):
            self.mesh.network.attach(address, self._arrived)
        self.node.places.set_local(self.endpoints, now)
        self.settle()

    def _read_again(self) -> Identity:
        """What the files say: the issuers that were known, and the lists that were saved."""
        known = self.identity.trust
        issuers = [issuer.der for issuer in known.issuers]
        trust = TrustStore(known.root.der, issuers, self.disk.lists)
        return replace(self.identity, trust=trust)

    def kill(self) -> None:
        """End the node as `kill -9` does: only the disk is left."""
        for address in dict.fromkeys(host for host, _ in self.endpoints):
            self.mesh.network.detach(address)
        if self._timer is not None:
            self._timer.cancel()
        self.running = self._timer = None

    def stop(self) -> None:
        """End the node in order: it says goodbye."""
        self.node.close(self.mesh.world.now)
        self.settle()
        self.kill()

    def move(self, *addresses: str) -> None:
        """Give the host other addresses in the open, as a roaming laptop gets them."""
        for address in dict.fromkeys(host for host, _ in self.endpoints):
            self.mesh.network.detach(address)
        self.endpoints = [(address, PORT) for address in addresses]
        for address in addresses:
            self.mesh.network.place(address)
            self.mesh.network.attach(address, self._arrived)

    # Inputs

    def _arrived(self, payload: bytes, source: Endpoint) -> None:
        self.receive(payload, source)

    def receive(self, payload: bytes, source: Endpoint, segment: int = 0) -> list[Datagram]:
        """Hand a datagram (or several of `segment` bytes, joined) to the node; what it sends."""
        before = self.mesh.carried
        buffer = memoryview(bytearray(payload))
        now = self.mesh.world.now
        packets = self.node.receive(buffer, segment or len(payload), source, now)
        self.packets += [bytes(packet) for packet in packets]
        self.settle()
        return list(islice(reversed(self.mesh.sent), self.mesh.carried - before))[::-1]

    def send(self, other: Host, text: bytes) -> None:
        """Let an application send `text` in one packet to another host's overlay address."""
        source, destination = self.identity.certificate, other.identity.certificate
        self.write(packet(source.address4, destination.address4, text))

    def write(self, data: bytes) -> None:
        """Let the TUN hand this IP packet to the node."""
        node, now = self.node, self.mesh.world.now
        outbound = node.outbound
        outbound.space[: len(data)] = data
        for frame in (outbound.add(len(data), now), outbound.flush(now)):
            if frame is not None:
                self._perform(outputs.SendFrame(frame))
        if outbound.waiting is not None:
            node.connect_waiting(now)
            self.settle()

    def ping(self, other: Host, within: float = 6.0) -> outputs.Pong | None:
        """Ping another host; the answer, None where none came in time."""
        token = self.mesh.next_token()
        self.node.ping(self.peer(other), token, self.mesh.world.now)
        self.settle()
        answers = [e for e in self.events if isinstance(e, outputs.Pong) and e.token == token]

        def answered() -> bool:
            answers[:] = [
                e for e in self.events if isinstance(e, outputs.Pong) and e.token == token
            ]
            return bool(answers)

        self.mesh.world.run_until(answered, self.mesh.world.now + within)
        return answers[0] if answers and answers[0].rtt is not None else None

    # Outputs

    def settle(self) -> None:
        """Carry out what the node asks for; a failed write drops what stands behind it."""
        node, now = self.node, self.mesh.world.now
        while node.pending:
            for output in node.drain():
                try:
                    self._perform(output)
                except OSError:
                    break
        wakeup = node.next_wakeup()
        if self._timer is not None:
            self._timer.cancel()
        if wakeup is not None:
            self._timer = self.mesh.world.at(max(wakeup.at, now), self._due)

    def _due(self) -> None:
        if self.running is not None:
            self.running.handle_timer(self.mesh.world.now)
            self.settle()

    def _perform(self, output: Output) -> None:
        match output:
            case outputs.SendDatagram(payload, endpoint):
                self._send(payload, endpoint)
            case outputs.OpenNat(endpoint, _):
                self.mesh.network.send(self.endpoints[0], endpoint, b"")
            case outputs.SendFrame(frame):
                for head, piece in zip(frame.parts[::2], frame.parts[1::2], strict=True):
                    self._send(bytes(head) + bytes(piece), frame.endpoint)
            case outputs.CloseStream(endpoint):
                self.mesh.pipes.close(self, endpoint)
            case outputs.ForwardBatch(batch):
                for start in range(0, len(batch.data), batch.segment_size):
                    piece = batch.data[start : start + batch.segment_size]
                    self._send(bytes(piece), batch.endpoint)
            case _ if isinstance(output, PERSIST):
                self.disk.write(output, self.node)
                if isinstance(output, outputs.PersistIdentity):
                    self.identity = output.identity
                    self.node.credentials.adopt(output.identity, self.mesh.world.now)
            case _:
                self.events.append(output)

    def _send(self, payload: bytes, destination: Endpoint) -> None:
        if is_stream(destination):
            self.mesh.pipes.send(self, payload, destination)
            return
        wide = ":" in destination[0]
        source = next((own for own in self.endpoints if (":" in own[0]) == wide), None)
        if source is not None:
            self.mesh.carry(Datagram(self.mesh.world.now, self.name, source, destination, payload))

    # Views

    def peer(self, other: Host) -> Peer:
        """Another host's node, as this one knows it."""
        return self.node.state.peers[other.identity.id]

    def ready(self, other: Host) -> bool:
        """Whether packets can leave to another host now."""
        peer = self.node.state.peers.get(other.identity.id)
        return peer is not None and peer.ready(self.mesh.world.now)

    def way(self, other: Host) -> str:
        """How packets go to another host: direct, relay or none."""
        path = self.peer(other).path if self.ready(other) else None
        return "none" if path is None else path.kind.value

    def told(self, kind: type[Told]) -> list[Told]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]


class Candidate:
    """A host that joins by a token, as `meshd join` does."""

    def __init__(
        self, mesh: Mesh, token: Token, seed: int, name: str, address: str, ahead: float = 0.0
    ) -> None:
        self.mesh = mesh
        self.token = token
        self.key = make_key(seed)
        rng = mesh.world.stream(f"join/{seed}/{mesh.next_token()}")
        unix_time = NOW + mesh.world.now + ahead
        self.joiner = Joiner(token, self.key, name, rng.randbytes, unix_time)
        self.endpoint = (address, PORT)
        self.errors: Counter[str] = Counter()
        mesh.network.attach(address, self._arrived)
        self._turn()

    def _arrived(self, payload: bytes, source: Endpoint) -> None:
        try:
            self.joiner.receive(payload, source, self.mesh.world.now)
        except RemoteError as error:
            self.errors[error.reason] += 1
        self._drain()

    def _turn(self) -> None:
        self.joiner.handle_timer(self.mesh.world.now)
        self._drain()
        if not self.joiner.done:
            self.mesh.world.at(self.joiner.next_at, self._turn)

    def _drain(self) -> None:
        now = self.mesh.world.now
        for output in self.joiner.drain():
            if is_stream(output.endpoint):
                continue  # of TCP this candidate has none
            datagram = Datagram(now, "joiner", self.endpoint, output.endpoint, output.payload)
            self.mesh.carry(datagram)

    @property
    def reply(self) -> EnrolmentReply:
        """What the inviter answered."""
        assert self.joiner.reply is not None
        return self.joiner.reply

    def identity(self) -> Identity:
        """The identity that came of it."""
        return join(self.key, self.token.mesh_id, self.reply, NOW + self.mesh.world.now)


class Mesh:
    """The underlay, its hosts, and all that was sent."""

    def __init__(
        self, seed: int = 1, conditions: Conditions = QUIET, cipher: str = "aes256gcm"
    ) -> None:
        self.world = World(seed)
        self.network = Network(self.world, conditions)
        self.founder = found("alpha", "home", CIDR, cipher, NOW, Random(seed).randbytes)
        self.hosts: dict[str, Host] = {}
        self.sent: deque[Datagram] = deque(maxlen=200_000)
        self.carried = 0
        """How many were ever sent, those that `sent` has dropped included."""
        self.filters: list[Filter] = []
        self.pipes = Pipes(self)
        self._tokens = 0

    # Who is there

    def host(
        self,
        name: str,
        nat: NatKind = NatKind.OPEN,
        *,
        grants: Grants | None = None,
        config: NodeConfig = CONFIG,
        identity: Identity | None = None,
        addresses: Sequence[str] = (),
        behind: Nat | None = None,
        start: bool = True,
    ) -> Host:
        """A new host whose node was admitted by the founder's issuer.

        Its disk holds the records that an enrolment would have brought: those of all hosts so far.
        """
        number = len(self.hosts) + 1
        if behind is None and nat is not NatKind.OPEN:
            behind = self.translator(nat)
        inside = f"10.{number}.0.2" if behind else f"198.51.100.{number}"
        endpoints = [(address, PORT) for address in addresses or (inside,)]
        for address, _ in endpoints:
            self.network.place(address, behind)
        host = Host(self, identity or self.admit(number, name, grants), endpoints, config)
        host.disk.records = self.first_records()
        self.hosts[name] = host
        if start:
            host.start()
        return host

    def alpha(self, config: NodeConfig = CONFIG, addresses: Sequence[str] = ()) -> Host:
        """The founder, its first issuer, in the open."""
        return self.host("alpha", identity=self.founder, config=config, addresses=addresses)

    def trio(self) -> tuple[Host, Host, Host]:
        """Three hosts in the open."""
        return self.alpha(), self.host("beta"), self.host("gamma")

    def pair(self) -> tuple[Host, Host]:
        """Two hosts in the open that know each other and are connected."""
        alpha, beta = self.alpha(), self.host("beta")
        self.connect(alpha, beta)
        return alpha, beta

    def admit(self, number: int, name: str, grants: Grants | None = None) -> Identity:
        """A new member's identity, without the network."""
        certificate = admit(self.founder, number, name, grants)
        reply = make_reply(self.founder, certificate)
        return join(make_key(number), self.founder.mesh.mesh_id, reply, NOW)

    def translator(self, kind: NatKind) -> Nat:
        """A NAT of its own public address."""
        number = self.next_token()
        return Nat(kind, f"203.0.113.{number}", self.world.stream(f"nat/{number}"))

    def first_records(self) -> tuple[bytes, ...]:
        """The records that running hosts hold of themselves."""
        found: list[Record] = []
        for host in self.hosts.values():
            if host.running is not None:
                own = host.identity.id
                found += [r for r in host.running.records() if r.subject == own]
        return tuple(record.encode() for record in found)

    def invite(
        self, host: Host, grants: Grants | None = None, lifetime: float = 3600.0
    ) -> tuple[Token, Invitation]:
        """An invitation by `host`, on its disk."""
        rng = self.world.stream(f"invite/{self.next_token()}")
        identity, unix_time = host.identity, NOW + self.world.now + host.skew
        token, invitation = invite(
            identity.mesh.mesh_id,
            identity.static_public,
            grants or Grants(),
            tuple(host.endpoints),
            unix_time,
            lifetime,
            rng.randbytes,
        )
        host.disk.invitations[invitation.locator] = invitation
        host.node.add_invitation(invitation)
        return token, invitation

    def candidate(
        self, token: Token, seed: int, name: str = "joiner", ahead: float = 0.0
    ) -> Candidate:
        """Somebody with a token who begins to join now; the same `seed` means the same key."""
        address = f"192.0.2.{self.next_token() % 250 + 1}"
        self.network.place(address)
        return Candidate(self, token, seed, name, address, ahead)

    # What happens

    def carry(self, datagram: Datagram) -> None:
        """Put a datagram on the underlay, as the filters leave it."""
        self.sent.append(datagram)
        self.carried += 1
        payload: bytes | None = datagram.payload
        for each in self.filters:
            if payload is None:
                return
            payload = each(replace(datagram, payload=payload))
        if payload:
            self.network.send(datagram.source, datagram.destination, payload)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.world.run_for(seconds)

    def until(self, condition: Callable[[], bool], within: float) -> float:
        """Run until `condition`; how many seconds that took. Fails the test if it never holds."""
        began = self.world.now
        assert self.world.run_until(condition, began + within), f"not within {within} s"
        return self.world.now - began

    def connect(self, *hosts: Host, within: float = 10.0) -> float:
        """Run until all these hosts can send to each other; how many seconds that took."""
        pairs = [(one, other) for one in hosts for other in hosts if one is not other]
        return self.until(lambda: all(one.ready(other) for one, other in pairs), within)

    def kinds(self, since: float = 0.0) -> Counter[int]:
        """How many datagrams of each kind were sent since a time."""
        return Counter(datagram.kind for datagram in self.sent if datagram.time >= since)

    def next_token(self) -> int:
        """A number not used before."""
        self._tokens += 1
        return self._tokens


def lose(kind: int, count: int = 1) -> Filter:
    """A filter that loses the first `count` datagrams of a kind, and then none."""
    left = [count]

    def judge(datagram: Datagram) -> bytes | None:
        if datagram.kind != kind or not left[0]:
            return datagram.payload
        left[0] -= 1
        return None

    return judge


def packet(source: IPv4Address, destination: IPv4Address, text: bytes, protocol: int = 17) -> bytes:
    """An IPv4 packet around `text`."""
    head = bytes((0x45, 0)) + (20 + len(text)).to_bytes(2, "big") + bytes(4)
    return head + bytes((64, protocol, 0, 0)) + source.packed + destination.packed + text


def many_routes(count: int = 40) -> Grants:
    """Grants that make a certificate too large for a handshake."""
    return Grants(routes=tuple(IPv4Network((0x0A000000 + (n << 16), 24)) for n in range(count)))
