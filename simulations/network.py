"""Carries datagrams between hosts, under the `Conditions` that a scenario names.

A site is what one public address stands for: a host in the open, or everything behind one NAT.
Hosts of a site reach each other by their own addresses; nobody else does. Delays are computed for
each datagram from the two sites, and no state is kept by pair: ten thousand hosts need no matrix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp
from zlib import crc32

from simulations.conditions import MTU as MTU
from simulations.conditions import UDP_HEADERS as UDP_HEADERS
from simulations.conditions import Bursts
from simulations.conditions import Conditions as Conditions
from simulations.geography import Geography, Place, pair_bits
from simulations.nat import Endpoint, Nat
from simulations.world import World

Receiver = Callable[[bytes, Endpoint], None]

LAN_LATENCY_S = 0.0003


@dataclass(slots=True, eq=False)
class _Site:
    address: str
    number: int
    position: tuple[float, float]
    place: Place | None
    nat: Nat | None
    group: int = 0
    unplugged: bool = False
    side: int = 0
    """Two sites reach each other only where this is the same."""
    loss: float = 0.0
    free_at: float = 0.0
    """When the last byte that waits for the uplink will have left."""
    bad: bool = False
    bad_at: float = 0.0
    """The state of the link (see `Bursts`), and when it was drawn."""


class Network:
    """Carries datagrams between attached hosts, by the clock and the chance of a `World`.

    Its conditions may be replaced at any time.
    """

    def __init__(self, world: World, conditions: Conditions) -> None:
        self._delivered = 0
        self._dropped: Counter[str] = Counter()
        self._world = world
        self._draw = world.stream("network").random
        self._places = world.stream("network/places")
        self._sites: dict[str, _Site] = {}  # by public address
        self._homes: dict[str, _Site] = {}  # by a host's own address
        self._receivers: dict[str, Receiver] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._geography: Geography | None = None
        self._conditions = Conditions()
        self._plain = True
        """Whether nothing happens to datagrams but that they take time."""
        self.conditions = conditions

    @property
    def counters(self) -> Counter[str]:
        """What became of every datagram so far: `delivered`, and the reasons for drops."""
        return +Counter({**self._dropped, "delivered": self._delivered})

    @property
    def conditions(self) -> Conditions:
        """What happens to datagrams from now on; sites keep their places."""
        return self._conditions

    @conditions.setter
    def conditions(self, conditions: Conditions) -> None:
        old, self._conditions = self._conditions, conditions
        chances = (conditions.loss, conditions.duplicate, conditions.reorder)
        self._plain = not (any(chances) or conditions.bursts or conditions.uplink_bps)
        world = (conditions.rtt_p50_s, conditions.jitter_s, conditions.detours)
        if world == (old.rtt_p50_s, old.jitter_s, old.detours):
            return
        self._geography = None
        if conditions.rtt_p50_s is not None:
            streams = (self._world.stream("geography"), self._world.stream("geography/sample"))
            one_way = (conditions.rtt_p50_s - conditions.jitter_s) / 2
            self._geography = Geography(*streams, one_way, conditions.detours)
        for site in self._sites.values():
            site.place = self._geography.place() if self._geography else None

    def place(self, address: str, nat: Nat | None = None) -> None:
        """Give a host the address `address`, in the open or behind `nat`. Once per host."""
        public = nat.address if nat else address
        if public not in self._sites:
            place = self._geography.place() if self._geography else None
            number = len(self._sites)
            self._sites[public] = _Site(public, number, self._position(), place, nat)
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
                site = self._homes[address]
                site.group = number
                self._take_side(site)

    def heal(self) -> None:
        """Undo `split` and `block`."""
        for site in self._sites.values():
            site.group = 0
            self._take_side(site)
        self._blocked.clear()

    def block(self, source: str, destination: str) -> None:
        """Drop everything from host `source` to host `destination`, in this direction only."""
        self._blocked.add((self._homes[source].address, self._homes[destination].address))

    def plug(self, address: str, plugged: bool) -> None:
        """Pull or put back the cable of a host's site: without it nothing leaves or arrives."""
        site = self._homes[address]
        site.unplugged = not plugged
        self._take_side(site)

    def impair(self, address: str, loss: float) -> None:
        """Lose this part of what a host's site sends, and of what it is sent."""
        self._homes[address].loss = loss

    def side(self, address: str) -> int:
        """A number that two hosts share if no split, and no pulled cable, stands between them."""
        return self._homes[address].side

    def reachable(self, one: str, other: str) -> bool:
        """Whether no split or block stands between two hosts, in both directions."""
        here, there = self._homes[one], self._homes[other]
        return here is there or not (self._cut(here, there) or self._cut(there, here))

    def rtt(self, one: str, other: str) -> float:
        """Seconds of the round trip between two hosts' sites, with the mean jitter."""
        here, there = self._homes[one], self._homes[other]
        if here is there:
            return 2 * LAN_LATENCY_S
        return 2 * self._delay(here, there) + self._conditions.jitter_s

    def send(
        self, source: Endpoint, destination: Endpoint, payload: bytes, overhead: int = UDP_HEADERS
    ) -> None:
        """Send a datagram; it arrives later, more than once, or never.

        On the path it has `overhead` bytes more than its payload: headers, and seals that a
        simulated machine leaves out. An empty one is to open the sender's NAT, and goes no further.
        """
        home = self._homes[source[0]]
        site = self._sites.get(destination[0])
        size = len(payload) + overhead
        if size > self._conditions.mtu:
            self._drop("too-big", source, destination)
        elif self._homes.get(destination[0]) is home:
            world = self._world
            world.post(world.now + LAN_LATENCY_S, self._deliver, source, destination, payload)
        elif site is None or site is home:
            self._drop("unroutable", source, destination)
        elif home.side != site.side or (self._blocked and self._cut(home, site)):
            self._drop("partitioned", source, destination)
        elif self._conditions.narrow and size > self._mtu(home, site):
            self._drop("too-big", source, destination)
        else:
            world = self._world
            if home.nat is not None:
                source = home.nat.outbound(source, destination, world.now)
            if not payload:
                return
            if self._plain and site.nat is None and not (home.loss or site.loss):
                delay = self._delay(home, site) + self._draw() * self._conditions.jitter_s
                world.post(world.now + delay, self._deliver, source, destination, payload)
            else:
                self._cross(home, site, source, destination, payload, size)

    def _cross(
        self,
        home: _Site,
        site: _Site,
        source: Endpoint,
        destination: Endpoint,
        payload: bytes,
        size: int,
    ) -> None:
        """Carry a datagram to which more than its delay may happen."""
        conditions, draw, world = self._conditions, self._draw, self._world
        queued = self._queued(home, size) if conditions.uplink_bps else 0.0
        if queued is None:
            self._drop("queue-full", source, destination)
            return
        loss = conditions.loss
        if home.loss or site.loss:
            loss = 1 - (1 - loss) * (1 - home.loss) * (1 - site.loss)
        if loss and draw() < loss:
            self._drop("lost", source, destination)
            return
        if conditions.bursts is not None and self._burst(home, conditions.bursts):
            self._drop("lost", source, destination)
            return
        distance = queued + self._delay(home, site)
        copies = 2 if conditions.duplicate and draw() < conditions.duplicate else 1
        for _ in range(copies):
            delay = distance + draw() * conditions.jitter_s
            if conditions.reorder and draw() < conditions.reorder:
                delay += draw() * conditions.reorder_s
            if site.nat is None:
                world.post(world.now + delay, self._deliver, source, destination, payload)
            else:
                nat = site.nat
                world.post(world.now + delay, self._translate, nat, source, destination, payload)

    def _translate(self, nat: Nat, source: Endpoint, destination: Endpoint, payload: bytes) -> None:
        inside = nat.inbound(source, destination[1], self._world.now)
        if inside is None:
            self._drop("nat", source, destination)
        else:
            self._deliver(source, inside, payload)

    def _deliver(self, source: Endpoint, inside: Endpoint, payload: bytes) -> None:
        receiver = self._receivers.get(inside[0])
        if receiver is None:
            self._drop("nobody", source, inside)
            return
        self._delivered += 1
        world = self._world
        address, port = source
        size, check = len(payload), crc32(payload)
        world.trace.event(world.now, "deliver", address, port, inside[0], inside[1], size, check)
        receiver(payload, source)

    def _drop(self, reason: str, source: Endpoint, destination: Endpoint) -> None:
        self._dropped[reason] += 1
        self._world.trace.record(self._world.now, "drop", reason, *source, *destination)

    def _cut(self, source: _Site, destination: _Site) -> bool:
        if source.side != destination.side:
            return True
        return (source.address, destination.address) in self._blocked

    def _take_side(self, site: _Site) -> None:
        site.side = -1 - site.number if site.unplugged else site.group

    def _mtu(self, one: _Site, other: _Site) -> int:
        conditions = self._conditions
        narrow = (pair_bits(one.number, other.number) & 0xFFFF) < conditions.narrow * 65536
        return conditions.narrow_mtu if narrow else conditions.mtu

    def _queued(self, home: _Site, size: int) -> float | None:
        """Seconds until a datagram has left its site; None if the queue is full."""
        now, rate = self._world.now, self._conditions.uplink_bps / 8
        begins = max(now, home.free_at)
        if (begins - now) * rate + size > self._conditions.queue_bytes:
            return None
        home.free_at = begins + size / rate
        return home.free_at - now

    def _burst(self, home: _Site, bursts: Bursts) -> bool:
        """Whether the link is bad and loses this datagram.

        With rates r to bad and q to good, P(bad after t) = s + (bad now - s) * exp(-(r + q) t),
        where s = r / (r + q) is the share of bad time and q = 1 / mean_s.
        """
        now, draw = self._world.now, self._draw
        fading = exp((home.bad_at - now) / (bursts.mean_s * (1 - bursts.share)))
        home.bad = draw() < bursts.share + (home.bad - bursts.share) * fading
        home.bad_at = now
        return home.bad and draw() < bursts.loss

    def _delay(self, one: _Site, other: _Site) -> float:
        geography = self._geography
        if geography is not None and one.place is not None and other.place is not None:
            return geography.delay(one.place, other.place)
        across = one.position[0] - other.position[0]
        down = one.position[1] - other.position[1]
        return float(self._conditions.latency_s + (across * across + down * down) ** 0.5)

    def _position(self) -> tuple[float, float]:
        spread = self._conditions.spread_s
        return self._places.random() * spread, self._places.random() * spread
