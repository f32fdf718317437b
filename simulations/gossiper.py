"""A machine that runs `gossip` alone, over datagrams that name their sender truly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from gossip.config import GossipConfig
from gossip.errors import GossipError
from gossip.events import SendMessage, Wakeup
from gossip.ids import NodeId
from gossip.protocol import GossipProtocol
from gossip.records import RecordKind, decode
from simulations.authority import FakeAuthority, identity_of, key_of
from simulations.cluster import Cluster, Host
from simulations.machine import Disk, Refused, Seen, Send
from simulations.nat import Endpoint
from simulations.network import Network
from simulations.world import World

PORT = 443

BODY_SIZE = 100
"""Bytes of a MEMBER body: the endpoints of a usual node."""


class Directory:
    """Who is where: what sessions tell a real node."""

    def __init__(self, endpoints: Mapping[int, Endpoint]) -> None:
        self.identities = {number: identity_of(key_of(number)) for number in endpoints}
        self.endpoint_of = {self.identities[n]: endpoint for n, endpoint in endpoints.items()}
        self.node_at = {endpoint: node for node, endpoint in self.endpoint_of.items()}


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
    ) -> None:
        key = key_of(number)
        self.packet_size = config.packet_size
        self._number = number
        self._directory = directory
        self._disk = disk
        self._protocol = GossipProtocol(
            directory.identities[number],
            key,
            config,
            FakeAuthority(key),
            rng,
            now,
            disk.sequence + 1,
        )

    def start(self, seeds: Sequence[int], now: float) -> None:
        """Restore what the disk holds, publish a MEMBER record and join."""
        self._protocol.restore([decode(record) for record in self._disk.records], now)
        body = f"host {self._number}".encode().ljust(BODY_SIZE)
        self._protocol.publish(RecordKind.MEMBER, body, now)
        self._protocol.join([self._directory.identities[seed] for seed in seeds], now)

    def receive(self, payload: bytes, source: Endpoint, now: float) -> None:
        """A gossip message. Raises `Refused` for what gossip refuses."""
        try:
            self._protocol.receive(payload, self._directory.node_at[source], now)
        except GossipError as error:
            raise Refused(error.reason) from error

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self._protocol.handle_timer(now)

    def next_wakeup(self) -> Wakeup | None:
        """When gossip wants to be called."""
        return self._protocol.next_wakeup()

    def drain(self) -> list[Send | Seen]:
        """Gossip's outputs, its messages addressed to endpoints."""
        return [
            Send(self._directory.endpoint_of[output.to], output.payload)
            if isinstance(output, SendMessage)
            else output
            for output in self._protocol.drain()
        ]

    def leave(self, now: float) -> None:
        """Say goodbye."""
        self._protocol.leave(now)

    def states(self) -> dict[NodeId, str]:
        """The state of every other member."""
        return {member.id: member.state.value for member in self._protocol.members()}

    def sequences(self) -> dict[tuple[NodeId, int], int]:
        """The sequence of every record held."""
        return {
            (record.subject, record.kind): record.sequence for record in self._protocol.records()
        }

    def records(self) -> tuple[bytes, ...]:
        """Every record held, encoded."""
        return tuple(record.encode() for record in self._protocol.records())


def gossip_cluster(world: World, network: Network, nodes: int, config: GossipConfig) -> Cluster:
    """Hosts in the open that run gossip alone."""
    endpoints = {n: (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", PORT) for n in range(nodes)}
    directory = Directory(endpoints)
    hosts = [Host(n, directory.identities[n], endpoint) for n, endpoint in endpoints.items()]

    def make(host: Host) -> Gossiper:
        rng = world.stream(f"gossip/{host.number}/{host.boots}")
        return Gossiper(host.number, directory, host.disk, config, rng, world.now)

    return Cluster(world, network, hosts, make)
