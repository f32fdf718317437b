"""Datagrams between hosts: latency, jitter, loss, duplicates, reordering, NAT and partitions.

A site is what one public address stands for: a host in the open, or everything behind one NAT.
Hosts of a site reach each other by their own addresses; nobody else does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zlib import crc32

from simulations.nat import Endpoint, Nat
from simulations.world import World

Receiver = Callable[[bytes, Endpoint], None]

LAN_LATENCY_S = 0.0003
MTU = 1500
UDP_HEADERS = 28  # IPv4 20 + UDP 8


@dataclass(frozen=True, slots=True)
class Conditions:
    """What happens to a datagram between two sites. Times in seconds, the rest probabilities.

    `spread_s` places sites at random on a square plane of that side; the one-way delay of a pair
    is `latency_s` and their distance. `reorder` holds a datagram back by up to `reorder_s`.
    """

    latency_s: float = 0.010
    spread_s: float = 0.030
    jitter_s: float = 0.002
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_s: float = 0.050


@dataclass(slots=True)
class _Site:
    address: str
    position: tuple[float, float]
    nat: Nat | None
    group: int = 0


class Network:
    """Carries datagrams between attached hosts, by the clock and the chance of a `World`.

    `counters` says what became of every datagram: `delivered` and the reasons for drops.
    """

    def __init__(self, world: World, conditions: Conditions) -> None:
        self.conditions = conditions
        self.counters: Counter[str] = Counter()
        self._world = world
        self._rng = world.stream("network")
        self._places = world.stream("network/places")
        self._sites: dict[str, _Site] = {}  # by public address
        self._homes: dict[str, _Site] = {}  # by a host's own address
        self._receivers: dict[str, Receiver] = {}
        self._blocked: set[tuple[str, str]] = set()

    def place(self, address: str, nat: Nat | None = None) -> None:
        """Give a host the address `address`, in the open or behind `nat`. Once per host."""
        public = nat.address if nat else address
        if public not in self._sites:
            self._sites[public] = _Site(public, self._position(), nat)
        self._homes[address] = self._sites[public]

    def attach(self, address: str, receiver: Receiver) -> None:
        """Hand what arrives at a placed `address` to `receiver`, from now on."""
        self._receivers[address] = receiver

    def detach(self, address: str) -> None:
        """Take the host at `address` off: what is sent to it is lost."""
        self._receivers.pop(address, None)

    def split(self, groups: Sequence[Sequence[str]]) -> None:
        """Cut the network: only hosts of one group reach each other. Sites are never cut apart."""
        for number, group in enumerate(groups):
            for address in group:
                self._homes[address].group = number

    def heal(self) -> None:
        """Undo `split` and `block`."""
        for site in self._sites.values():
            site.group = 0
        self._blocked.clear()

    def block(self, source: str, destination: str) -> None:
        """Drop everything from host `source` to host `destination`, in this direction only."""
        self._blocked.add((self._homes[source].address, self._homes[destination].address))

    def reachable(self, one: str, other: str) -> bool:
        """Whether no split or block stands between two hosts, in both directions."""
        here, there = self._homes[one], self._homes[other]
        return here is there or not (self._cut(here, there) or self._cut(there, here))

    def send(self, source: Endpoint, destination: Endpoint, payload: bytes) -> None:
        """Send a datagram; it arrives later, more than once, or never."""
        home = self._homes[source[0]]
        if len(payload) > MTU - UDP_HEADERS:
            self._drop("too-big", source, destination)
        elif self._homes.get(destination[0]) is home:
            self._world.after(LAN_LATENCY_S, lambda: self._deliver(source, destination, payload))
        elif (site := self._sites.get(destination[0])) is None or site is home:
            self._drop("unroutable", source, destination)
        elif self._cut(home, site):
            self._drop("partitioned", source, destination)
        else:
            now = self._world.now
            outside = home.nat.outbound(source, destination, now) if home.nat else source
            self._cross(home, site, outside, destination, payload)

    def _cross(
        self, home: _Site, site: _Site, source: Endpoint, destination: Endpoint, payload: bytes
    ) -> None:
        conditions, rng = self.conditions, self._rng
        if rng.random() < conditions.loss:
            self._drop("lost", source, destination)
            return
        copies = 2 if rng.random() < conditions.duplicate else 1
        for _ in range(copies):
            delay = self._delay(home, site) + rng.random() * conditions.jitter_s
            if rng.random() < conditions.reorder:
                delay += rng.random() * conditions.reorder_s
            self._world.after(delay, lambda: self._arrive(site, source, destination, payload))

    def _arrive(self, site: _Site, source: Endpoint, destination: Endpoint, payload: bytes) -> None:
        if site.nat is None:
            self._deliver(source, destination, payload)
            return
        inside = site.nat.inbound(source, destination[1], self._world.now)
        if inside is None:
            self._drop("nat", source, destination)
        else:
            self._deliver(source, inside, payload)

    def _deliver(self, source: Endpoint, inside: Endpoint, payload: bytes) -> None:
        receiver = self._receivers.get(inside[0])
        if receiver is None:
            self._drop("nobody", source, inside)
            return
        self.counters["delivered"] += 1
        checksum = f"{crc32(payload):08x}"
        self._world.trace.record(
            self._world.now, "deliver", *source, *inside, len(payload), checksum
        )
        receiver(payload, source)

    def _drop(self, reason: str, source: Endpoint, destination: Endpoint) -> None:
        self.counters[reason] += 1
        self._world.trace.record(self._world.now, "drop", reason, *source, *destination)

    def _cut(self, source: _Site, destination: _Site) -> bool:
        return (
            source.group != destination.group
            or (source.address, destination.address) in self._blocked
        )

    def _delay(self, one: _Site, other: _Site) -> float:
        across = one.position[0] - other.position[0]
        down = one.position[1] - other.position[1]
        return float(self.conditions.latency_s + (across * across + down * down) ** 0.5)

    def _position(self) -> tuple[float, float]:
        spread = self.conditions.spread_s
        return self._places.random() * spread, self._places.random() * spread
