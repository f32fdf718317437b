"""A machine that runs `gossip` alone, over datagrams that name their sender truly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from random import Random

from gossip.authority import Authority
from gossip.config import GossipConfig
from gossip.errors import GossipError
from gossip.events import RecordChanged, SendMessage
from gossip.ids import NodeId
from gossip.protocol import GossipProtocol
from gossip.records import Record, RecordKind, decode
from simulations.authority import Ed25519Authority, FakeAuthority, identity_of
from simulations.cluster import Cluster, Host
from simulations.machine import Disk, Refused, Seen, Send
from simulations.nat import Endpoint
from simulations.network import Network
from simulations.overhead import gossip_overhead
from simulations.world import World

PORT = 443

BODY_SIZE = 100
"""Bytes of a MEMBER body: the endpoints of a usual node."""


class Directory:
    """Who is where: what sessions, and the endpoints in MEMBER records, tell a real node.

    Each host's keys are those of its authority. A host that has moved is another matter: each
    other finds its new place by itself (`Gossiper`).
    """

    def __init__(self, endpoints: Mapping[int, Endpoint], real_keys: bool = False) -> None:
        make = Ed25519Authority if real_keys else FakeAuthority
        self.authorities = {number: make.of(number) for number in endpoints}
        self.identities = {n: identity_of(a.key) for n, a in self.authorities.items()}
        self.endpoint_of = {self.identities[n]: endpoint for n, endpoint in endpoints.items()}
        self.node_at = {endpoint: node for node, endpoint in self.endpoint_of.items()}
        self.moved: dict[NodeId, bool] = {}
        """Those who are not where `endpoint_of` says, or have been elsewhere."""

    def move(self, node: NodeId, old: Endpoint, new: Endpoint) -> None:
        """`node` sends from `new` now; who else was there sends nothing."""
        if self.node_at.get(old) == node:
            del self.node_at[old]
        self.node_at[new] = node
        self.moved[node] = True


class Gossiper:
    """`GossipProtocol` of one host, from its disk to its outputs."""

    def __init__(
        self,
        number: int,
        directory: Directory,
        disk: Disk,
        config: GossipConfig,
        rng: Random,
        now: float,
        endpoint: Endpoint | None = None,
    ) -> None:
        authority: Authority = directory.authorities[number]
        identity = directory.identities[number]
        key = directory.authorities[number].key
        self.packet_size = config.packet_size
        self.config = config
        self.protocol = GossipProtocol(
            identity, key, config, authority, rng, now, disk.sequence + 1
        )
        """For scenarios: whatever it is asked to say comes out of `Cluster.act`."""
        self.next_deadline = self.protocol.next_deadline
        """When gossip wants to be called, infinity for never."""
        self.next_wakeup = self.protocol.next_wakeup
        """The same, and why; None for never."""
        self.handle_timer = self.protocol.handle_timer
        """Does what is due."""
        self._number = number
        self._identity = identity
        self.directory = directory
        self._disk = disk
        self._endpoint = endpoint or directory.endpoint_of[identity]
        self._found: dict[NodeId, Endpoint] = {}
        """Where those who have moved were last heard, or last said to be."""

    @property
    def is_partial(self) -> bool:
        """Whether gossip keeps some neighbours only."""
        return self.protocol.is_partial

    def start(self, seeds: Sequence[int], now: float) -> None:
        """Restore what the disk holds, publish a MEMBER record and join."""
        if self.directory.node_at.get(self._endpoint) != self._identity:
            old = self.directory.endpoint_of[self._identity]
            self.directory.move(self._identity, old, self._endpoint)  # it moved while it was down
        self.protocol.restore([decode(record) for record in self._disk.records], now)
        self.protocol.publish(RecordKind.MEMBER, self._body(), now)
        self.protocol.join([self.directory.identities[seed] for seed in seeds], now)

    def receive(self, payload: bytes, source: Endpoint, now: float) -> None:
        """A gossip message. Raises `Refused` for what gossip refuses."""
        directory = self.directory
        sender = directory.node_at.get(source)
        if sender is None:
            return  # it has left that address since: no session is there any more
        if directory.moved and sender in directory.moved:
            self._found[sender] = source
        try:
            self.protocol.receive(payload, sender, now)
        except GossipError as error:
            raise Refused(error.reason) from error

    def drain(self) -> list[Send | Seen]:
        """Gossip's outputs, its messages addressed to endpoints."""
        drained: list[Send | Seen] = []
        outputs = self.protocol.drain()
        if not outputs:
            return drained
        directory, found = self.directory, self._found
        if directory.moved:
            self._follow(outputs)
        for output in outputs:
            if isinstance(output, SendMessage):
                to, payload = output
                where = (found and found.get(to)) or directory.endpoint_of[to]
                overhead = gossip_overhead(len(payload))
                drained.append(tuple.__new__(Send, (where, payload, overhead)))
            else:
                drained.append(output)
        return drained

    def leave(self, now: float) -> None:
        """Say goodbye."""
        self.protocol.leave(now)

    def moved(self, endpoint: Endpoint, now: float) -> None:
        """Say in a new MEMBER record where this host is now."""
        self.directory.move(self._identity, self._endpoint, endpoint)
        self._endpoint = endpoint
        self.protocol.publish(RecordKind.MEMBER, self._body(), now)

    @property
    def own_record(self) -> Record:
        """Its MEMBER record."""
        record = self.protocol.record(self._identity, RecordKind.MEMBER)
        assert record is not None  # start() published it
        return record

    def learn(self, records: Iterable[Record], now: float) -> None:
        """Take the records of others who live, and whom everybody knows."""
        for record in records:
            if record.subject != self._identity:
                self.protocol.accept(record, now, spread=False)

    def states(self) -> dict[NodeId, str]:
        """The state of every other member."""
        return {member.id: member.state.value for member in self.protocol.members()}

    def sequences(self) -> dict[tuple[NodeId, int], int]:
        """The sequence of every record held."""
        return {
            (record.subject, record.kind): record.sequence for record in self.protocol.records()
        }

    def records(self) -> tuple[bytes, ...]:
        """Every record held, encoded."""
        return tuple(record.encode() for record in self.protocol.records())

    def _body(self) -> bytes:
        address, port = self._endpoint
        return f"{address} {port}".encode().ljust(BODY_SIZE)

    def _follow(self, outputs: Iterable[object]) -> None:
        """A new MEMBER record of one who has moved says where it is."""
        for output in outputs:
            if not isinstance(output, RecordChanged) or output.record.withdrawn:
                continue
            record = output.record
            if record.kind == RecordKind.MEMBER and record.subject in self.directory.moved:
                self._found[record.subject] = _endpoint(record)


def _endpoint(record: Record) -> Endpoint:
    address, port = record.body.decode().split()
    return address, int(port)


def gossip_cluster(
    world: World,
    network: Network,
    nodes: int,
    config: GossipConfig,
    real_keys: bool = False,
) -> Cluster:
    """Hosts in the open that run gossip alone; with `real_keys` they sign with Ed25519."""
    endpoints = {n: (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", PORT) for n in range(nodes)}
    directory = Directory(endpoints, real_keys)
    hosts = [Host(n, directory.identities[n], endpoint) for n, endpoint in endpoints.items()]

    def make(host: Host) -> Gossiper:
        rng = world.stream(f"gossip/{host.number}/{host.boots}")
        now = host.local(world.now)
        return Gossiper(host.number, directory, host.disk, config, rng, now, host.endpoint)

    return Cluster(world, network, hosts, make)


def start_settled(cluster: Cluster, hosts: Sequence[Host] | None = None) -> None:
    """Boot all hosts as if they had long been up: all know all, nothing is news, timers are spread.

    It spares a scenario of a thousand hosts the million records of their joining. `hosts` are those
    who start, if not all; they must run gossip alone. Raises TypeError for others. Partial views
    are settled by `settled.start_partial`.
    """
    hosts = cluster.hosts if hosts is None else hosts
    for host in hosts:
        cluster.start(host, [])
    records = [gossiper(host).own_record for host in hosts]
    for host in hosts:
        cluster.act(host, partial(gossiper(host).learn, records))


def gossiper(host: Host) -> Gossiper:
    """What runs on a running host of `gossip_cluster`. Raises TypeError for another."""
    if not isinstance(host.machine, Gossiper):
        raise TypeError(f"host {host.number} runs no gossip alone")
    return host.machine
