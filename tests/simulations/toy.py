"""A machine simple enough to see through: it greets its seeds, and believes every greeting."""

from __future__ import annotations

from collections.abc import Sequence

from gossip.events import MemberLeft, MemberUp, SequenceChanged, Wakeup
from gossip.ids import NodeId
from simulations.authority import identity_of, key_of
from simulations.cluster import Cluster, Host
from simulations.machine import Refused, Seen, Send
from simulations.nat import Endpoint
from simulations.network import Conditions, Network
from simulations.world import World

HELLO_EVERY_S = 1.0


def endpoint_of(number: int) -> Endpoint:
    return (f"10.0.0.{number}", 443)


class Toy:
    """Sends a greeting to its seeds every second; knows whoever greeted it."""

    packet_size = 100

    def __init__(self, host: Host) -> None:
        self.host = host
        self.outputs: list[Send | Seen] = [SequenceChanged(host.disk.sequence + 1)]
        self.seeds: list[int] = []
        self.due: float | None = None
        self.known: dict[NodeId, str] = {}
        self.stuck = False
        self.is_partial = False
        self.places: list[Endpoint] = []
        """Where it was told that its host has moved."""
        self.times: list[float] = []
        """When its timers came, by its host's clock."""

    def start(self, seeds: Sequence[int], now: float) -> None:
        self.seeds, self.due = list(seeds), now

    def receive(self, payload: bytes, source: Endpoint, now: float) -> None:
        sender = identity_of(key_of(int(source[0].rsplit(".", 1)[1])))
        if payload == b"nonsense":
            raise Refused("nonsense")
        if payload == b"bye":
            self.known[sender] = "left"
            self.outputs.append(MemberLeft(sender))
        elif self.known.get(sender) != "alive":
            self.known[sender] = "alive"
            self.outputs += [MemberUp(sender), Send(source, b"hello")]

    def moved(self, endpoint: Endpoint, now: float) -> None:
        self.places.append(endpoint)

    def handle_timer(self, now: float) -> None:
        self.times.append(now)
        if not self.stuck:
            self.due = now + HELLO_EVERY_S
        self.outputs += [Send(endpoint_of(seed), b"hello") for seed in self.seeds]

    def next_wakeup(self) -> Wakeup | None:
        return None if self.due is None else Wakeup(self.due, "greet")

    def next_deadline(self) -> float:
        return float("inf") if self.due is None else self.due

    def drain(self) -> list[Send | Seen]:
        outputs, self.outputs = self.outputs, []
        return outputs

    def leave(self, now: float) -> None:
        self.outputs += [Send(endpoint_of(seed), b"bye") for seed in self.seeds]

    def states(self) -> dict[NodeId, str]:
        return dict(self.known)

    def sequences(self) -> dict[tuple[NodeId, int], int]:
        return {(self.host.identity, 0): self.host.disk.sequence}

    def records(self) -> tuple[bytes, ...]:
        return (b"a record",)


def toy_cluster(count: int, conditions: Conditions | None = None) -> Cluster:
    """`count` hosts with toys, none started."""
    world = World(1)
    network = Network(world, conditions or Conditions())
    hosts = [Host(n, identity_of(key_of(n)), endpoint_of(n)) for n in range(count)]
    return Cluster(world, network, hosts, Toy)


def toy(host: Host) -> Toy:
    """The machine of a running host."""
    assert isinstance(host.machine, Toy)
    return host.machine
