"""Members that misuse what others trust them with: datagrams to relay, endpoints to try.

Also relays that are honest but slow under load: two of them, of which a pair may take either.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from random import Random

from gossip.config import GossipConfig
from gossip.ids import NodeId
from meshd.node.allowance import CROWD, UNPROVEN_BURST, UNPROVEN_LEAST, UNPROVEN_RATE
from meshd.node.choice import CALM
from simulations.checkers import Checker
from simulations.cluster import Cluster, Host
from simulations.machine import Send
from simulations.nat import Endpoint
from simulations.network import Conditions, Network
from simulations.run import Run, Scenario
from simulations.scenarios.nodes import NODES, boot_in_turn, ping_all, whole
from simulations.whole import NODES_MAX, Relaying, WholeNode, node_cluster
from simulations.world import World

ENDS = 5, 6
"""Two hosts behind symmetric NATs, which only the hosts 0 and 1 join."""
EVERY_S, SIZES = 0.1, (64, 1000)
"""A packet of either size in turn leaves each end so often."""
MISCHIEF_S, CALM_S = 40.0, 10.0
NOTICED_S = 30.0
"""Seconds in which a better relay is to be taken."""
SILENCE_MAX_S = 1.0
DELIVERED_MIN = 0.97
BULK = 600
REPLAYED = 64

VICTIM = "192.0.2.200"
CLAIMED: tuple[Endpoint, ...] = (
    *((VICTIM, port) for port in range(1000, 1008)),
    ("224.0.0.251", 5353),
    ("255.255.255.255", 443),
    ("127.0.0.1", 443),
    ("100.64.0.1", 443),
)
LIARS_EVERY = 7
LYING_S = 120.0

DIAMOND = Conditions(uplink_bps=0.5e6, queue_bytes=16_384)
DIAMOND_S, DIAMOND_EVERY_S, DIAMOND_SIZE = 120.0, 0.032, 1200
"""Both ends send 0.3 Mbit/s through a relay that sends 0.5 at most."""


def dropping(share: float, rng: Random, least: int = 0) -> Relaying:
    """Loses this share of what has `least` bytes."""
    return lambda data: [] if len(data) >= least and rng.random() < share else [data]


def corrupting(rng: Random) -> Relaying:
    """Changes a bit of every tenth datagram behind the relay's prefix."""

    def carry(data: bytes) -> list[bytes]:
        if rng.random() >= 0.1:
            return [data]
        at = rng.randrange(8, len(data))
        return [data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]]

    return carry


def replaying(rng: Random) -> Relaying:
    """Sends everything twice, and with it something old."""
    kept: deque[bytes] = deque(maxlen=REPLAYED)

    def carry(data: bytes) -> list[bytes]:
        kept.append(data)
        return [data, data, rng.choice(kept)]

    return carry


def reordering(rng: Random) -> Relaying:
    """Holds datagrams back until a few have gathered, and sends them in another order."""
    held: list[bytes] = []

    def carry(data: bytes) -> list[bytes]:
        held.append(data)
        if len(held) < 6:
            return []
        sent = rng.sample(held, len(held))
        held.clear()
        return sent

    return carry


MISCHIEF: dict[str, Callable[[Random], Relaying]] = {
    "corrupts": corrupting,
    "replays": replaying,
    "reorders": reordering,
    "loses everything": lambda rng: dropping(1.0, rng),
}
LOSSES: dict[str, Callable[[Random], Relaying]] = {
    "loses what is long": lambda rng: dropping(1.0, rng, BULK),
}
HARMLESS = ("corrupts", "replays", "reorders")
"""What no other relay has to be taken for."""


class Traffic:
    """Numbered packets between two hosts, both ways; what came of them."""

    def __init__(self, run: Run, ends: tuple[Host, Host], every_s: float, sizes: Sequence[int]):
        self._run, self._ends, self._every_s, self._sizes = run, ends, every_s, sizes
        self._sent: dict[bytes, float] = {}
        self._came: Counter[bytes] = Counter()
        self.last_at = run.world.now
        self.silence = 0.0
        """The longest time without a packet at the second end, seconds."""

    def flow(self, seconds: float, watch: Callable[[], None] = lambda: None) -> None:
        """Send for so long."""
        world = self._run.world
        until = world.now + seconds
        while world.now < until:
            for host, other in (self._ends, self._ends[::-1]):
                packet = self._packet(host, other, self._sizes[len(self._sent) // 2 % 2])
                self._sent[packet] = world.now
                self._run.cluster.act(host, partial(whole(host).write, packet))
            world.run_for(self._every_s)
            self.take()
            watch()

    def take(self) -> None:
        """Look at what has come."""
        for host in self._ends:
            packets = whole(host).packets
            if packets and host is self._ends[1]:
                self.last_at = self._run.world.now
            self._came.update(packets)
            packets.clear()
        self.silence = max(self.silence, self._run.world.now - self.last_at)

    def delivered(self, begun: float, until: float) -> float:
        """The share of the packets sent between these times that came."""
        sent = [packet for packet, at in self._sent.items() if begun <= at < until]
        return sum(packet in self._came for packet in sent) / max(1, len(sent))

    @property
    def wrong(self) -> int:
        """Packets that came though nobody sent them, or once more."""
        return sum(count - (packet in self._sent) for packet, count in self._came.items())

    def _packet(self, host: Host, other: Host, size: int) -> bytes:
        source, destination = (
            whole(each).node.state.identity.certificate.address4.packed for each in (host, other)
        )
        length = (20 + size).to_bytes(2, "big")
        head = b"\x45\0" + length + bytes(4) + b"\x40\x11\0\0" + source + destination
        return head + len(self._sent).to_bytes(8, "big") + bytes(size - 8)


def relay_of(host: Host, other: Host) -> NodeId | None:
    """Through whom a host reaches another one now."""
    peer = whole(host).node.state.peers.get(other.identity)
    return None if peer is None or peer.path is None else peer.path.relay


def hostile_relay(run: Run) -> None:
    """The relay in use does all that a relay can do, one thing after the other, under load."""
    boot_in_turn(run)
    ping_all(run, "every pair answers a ping")
    one, other = (run.hosts[number] for number in ENDS)
    _bear(run, MISCHIEF)
    drops = whole(one).node.state.drops + whole(other).node.state.drops
    for reason in ("replay", "decrypt"):
        run.figures[f"dropped: {reason}"] = drops[reason]
        run.expect(f"{reason} is counted", drops[reason] > 0, f"{drops[reason]} datagrams")
    ping_all(run, "every pair answers again")


def lossy_relay(run: Run) -> None:
    """The relay in use loses long packets only: probes of it are answered as ever."""
    boot_in_turn(run)
    ping_all(run, "every pair answers a ping")
    _bear(run, LOSSES)


def _bear(run: Run, mischief: Mapping[str, Callable[[Random], Relaying]]) -> None:
    one, other = (run.hosts[number] for number in ENDS)
    traffic = Traffic(run, (one, other), EVERY_S, SIZES)
    traffic.flow(CALM_S)
    for name, make in mischief.items():
        _suffer(run, traffic, name, make(run.rng))
    run.world.run_for(1.0)
    traffic.take()
    run.expect("nothing comes twice or changed", not traffic.wrong, f"{traffic.wrong} packets did")


def _suffer(run: Run, traffic: Traffic, name: str, relaying: Relaying) -> None:
    one, other = (run.hosts[number] for number in ENDS)
    used = run.cluster.by_identity.get(relay_of(one, other) or one.identity, one)
    run.expect(f"a relay is used before it {name}", used is not one, f"it is {used.number}")
    sessions = list(whole(one).node.state.sessions)
    begun, traffic.silence, traffic.last_at = run.world.now, 0.0, run.world.now
    whole(used).relaying = relaying
    traffic.flow(MISCHIEF_S)
    share = traffic.delivered(begun + NOTICED_S, run.world.now - 1.0)
    run.target(f"share that comes though a relay {name}", share, DELIVERED_MIN, "", at_most=False)
    if name == "loses everything":
        run.target("silence when it loses everything", traffic.silence, SILENCE_MAX_S, "s")
    if name not in HARMLESS:
        left = relay_of(one, other) != used.identity
        run.expect(f"a relay that {name} is left", left, f"within {MISCHIEF_S:g} s")
    kept = sum(index in sessions for index in whole(one).node.state.sessions)
    run.expect(f"sessions survive that it {name}", kept > 0, f"{kept} of {len(sessions)}")
    whole(used).relaying = lambda datagram: [datagram]
    traffic.flow(CALM_S)


class SendsWhereSomebodyIs(Checker):
    """Nobody sends to where no other host can be."""

    name = "nothing is sent to where nobody can be"

    def sent(self, host: Host, send: Send) -> None:
        """Judge the destination of a datagram."""
        text, port = send.destination
        address = ip_address(text)
        nowhere = address.is_multicast or address.is_loopback or address.is_unspecified
        mesh = (
            host.machine.node.state.identity.mesh if isinstance(host.machine, WholeNode) else None
        )
        inside = mesh is not None and address.version == 4 and address in mesh.cidr
        if nowhere or inside or not port or text == "255.255.255.255":
            self.violated(f"host {host.number} sent to {text} port {port}")


def lied_to(world: World, network: Network, nodes: int, config: GossipConfig) -> Cluster:
    """Whole nodes, of which every seventh claims to be at others' endpoints."""
    cluster = node_cluster(world, network, nodes, config)
    make = cluster.make

    def lying(host: Host) -> WholeNode:
        machine = make(host)
        assert isinstance(machine, WholeNode), "it is a cluster of whole nodes"
        if host.number % LIARS_EVERY == LIARS_EVERY - 1:
            machine.config = replace(machine.config, endpoints=CLAIMED)
        return machine

    cluster.make = lying
    return cluster


def lying_endpoints(run: Run) -> None:
    """Members claim to be where a bystander is, and where nobody can be, and are talked to."""
    came: list[tuple[float, int]] = []
    run.network.place(VICTIM)
    run.network.attach(VICTIM, lambda data, source: came.append((run.world.now, len(data))))
    checker = SendsWhereSomebodyIs(run.cluster)
    run.checkers.append(checker)
    run.cluster.observers.append(checker)
    boot_in_turn(run)
    ping_all(run, "every pair answers a ping")
    liar = next(host for host in run.hosts if host.number % LIARS_EVERY == LIARS_EVERY - 1)
    traffic = Traffic(run, (run.hosts[0], liar), 1.0, SIZES)
    traffic.flow(LYING_S)
    nodes, now = len(run.hosts), run.world.now
    burst = max(UNPROVEN_LEAST, UNPROVEN_BURST * min(1.0, CROWD / nodes))
    rate = UNPROVEN_RATE * min(1.0, CROWD / nodes)
    allowed = nodes * (burst + now * rate) + UNPROVEN_BURST + now * UNPROVEN_RATE
    total = sum(size for _, size in came)
    late = sum(size for at, size in came if at >= now - LYING_S / 2) / (LYING_S / 2)
    run.target("bytes of all to a bystander", total, allowed, "B")
    run.target("of these per member and second, later", late / nodes, UNPROVEN_RATE, "B/s")
    run.expect("the claim was heard", total > 0, f"{total} bytes went there")
    ping_all(run, "every pair answers again")


def diamond(run: Run) -> None:
    """Two relays join a pair whose packets fill the queue of whichever they take."""
    boot_in_turn(run)
    ping_all(run, "every pair answers a ping")
    one, other = (run.hosts[number] for number in ENDS)
    changes: list[tuple[float, str]] = []
    used = {host.number: relay_of(host, end) for host, end in ((one, other), (other, one))}
    slowest = [0.0]

    def watch() -> None:
        for host, end in ((one, other), (other, one)):
            peer = whole(host).node.state.peers[end.identity]
            slowest[0] = max(slowest[0], (peer.path.srtt or 0.0) if peer.path else 0.0)
            if relay_of(host, end) != used[host.number]:
                used[host.number] = relay_of(host, end)
                changes.append((run.world.now, peer.paths.choice.reason))

    begun = run.world.now
    traffic = Traffic(run, (one, other), DIAMOND_EVERY_S, (DIAMOND_SIZE, DIAMOND_SIZE))
    traffic.flow(DIAMOND_S, watch)
    run.figures["round trip under load ms"] = round(1e3 * slowest[0], 1)
    run.figures["share that came"] = round(traffic.delivered(begun, run.world.now - 1.0), 3)
    run.expect("there was a queue", slowest[0] > 0.2, f"{1e3 * slowest[0]:.0f} ms")
    run.target("changes of the relay by each end", len(changes) / 2, DIAMOND_S / CALM, "")
    run.expect("both ends had a way all the time", None not in used.values(), f"{changes}"[:200])


SCENARIOS = (
    Scenario(
        "hostile-relay",
        "the relay in use loses, corrupts, replays and reorders what it carries",
        hostile_relay,
        build=node_cluster,
        nodes=NODES,
        nodes_min=NODES,
        nodes_max=NODES_MAX,
    ),
    Scenario(
        "lossy-relay",
        "the relay in use loses long packets only",
        lossy_relay,
        build=node_cluster,
        nodes=NODES,
        nodes_min=NODES,
        nodes_max=NODES_MAX,
    ),
    Scenario(
        "lying-endpoints",
        "members claim a bystander's endpoints, and some where nobody can be",
        lying_endpoints,
        build=lied_to,
        nodes=NODES,
        nodes_min=NODES,
        nodes_max=NODES_MAX,
    ),
    Scenario(
        "relay-diamond",
        "a pair fills the queue of whichever of two relays it takes",
        diamond,
        conditions=DIAMOND,
        build=node_cluster,
        nodes=NODES,
        nodes_min=NODES,
        nodes_max=NODES,
    ),
)
