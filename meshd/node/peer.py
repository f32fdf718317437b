"""One other node, as far as this one knows it: certificate, sessions, paths, what waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from random import Random

from gossip import NodeId
from meshd.node.certificates import Certificate
from meshd.node.doubling import Double
from meshd.node.handshake import Initiator
from meshd.node.metering import Meter
from meshd.node.path import Path
from meshd.node.paths import PathSet
from meshd.node.payloads import MemberPayload
from meshd.node.records import NodeRecord
from meshd.node.session import Session
from meshd.node.wire import Endpoint

MAX_WAITING_PACKETS = 128
MAX_WAITING_BYTES = 512 * 1024
MAX_WAITING_MESSAGES = 32
MAX_TRIED = 64
"""Relays remembered that were tried for one peer."""
HANDSHAKE_RETRY_FIRST, HANDSHAKE_RETRY_MAX = 1.0, 20.0
"""Seconds between initiations: doubles from one to the other, then for ever."""
STREAM_RETRY_FIRST, STREAM_RETRY_MAX = 1.0, 60.0
"""The same between two dials for a stream, each times 0.5 to 1."""


@dataclass(slots=True)
class Attempt:
    """A handshake that we began."""

    initiator: Initiator
    payload: MemberPayload
    index: int
    """Our receiver index: what the response names."""
    started_at: float
    next_at: float
    sent: int = 0
    """Times that the initiation was sent, each by all ways."""
    copies: dict[Endpoint, int] = field(default_factory=dict)
    """The same of the copies that went to UDP endpoints, see `attempts`."""


@dataclass(slots=True)
class Fallback:
    """Streams to a peer that UDP does not reach: see `streams`. Times in seconds."""

    endpoints: tuple[Endpoint, ...] = ()
    """Dialled, or to be dialled with the next initiation."""
    since: float | None = None
    """Since when UDP has not reached it, though it is wanted."""
    settled: float | None = None
    """Since when UDP reaches it."""
    next_at: float = float("-inf")
    """When to dial again."""
    retry: float = STREAM_RETRY_FIRST


@dataclass(slots=True)
class Punch:
    """What was done to open both ends' NATs: see `punching`. Times in seconds."""

    places: tuple[Endpoint, ...] = ()
    """The public addresses of both that it was done for; the port is 0 where it does not count."""
    rounds: int = 0
    since: float = float("-inf")
    next_at: float = float("-inf")
    """When to begin another round."""
    asked_at: float = float("-inf")
    answered_at: float = float("-inf")


Key = int | tuple[int, int]
"""An overlay or inner address: IPv4 as one integer, IPv6 as two halves of 64 bits."""


def covered(address: Key, routes: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether one of `routes` holds `address`."""
    if isinstance(address, tuple):
        version, value = 6, address[0] << 64 | address[1]
    else:
        version, value = 4, address
    for route in routes:
        shift = route.max_prefixlen - route.prefixlen
        if route.version == version and int(route.network_address) >> shift == value >> shift:
            return True
    return False


class Peer:
    """State only: `Node`'s parts act on it."""

    __slots__ = (
        "attempt",
        "certificate",
        "chain",
        "current",
        "double",
        "doubled_at",
        "doubted_at",
        "fallback",
        "hints",
        "id",
        "keys4",
        "keys6",
        "last_counter",
        "last_data_at",
        "last_error",
        "last_heard_told",
        "last_relay",
        "last_seen",
        "look_at",
        "meter",
        "next_session",
        "packets",
        "packets_size",
        "paths",
        "previous",
        "punch",
        "record",
        "relay_asked_at",
        "relay_sought_at",
        "retry",
        "rx_bytes",
        "settled",
        "state",
        "tried",
        "tx_bytes",
        "used_at",
        "waiting",
    )

    def __init__(self, node: NodeId, rng: Random) -> None:
        self.id = node
        self.certificate: Certificate | None = None
        self.chain: tuple[bytes, ...] = ()
        """The certificate and its issuers, DER."""
        self.record: NodeRecord | None = None
        self.state = "alive"
        """alive, suspect, dead or left, as gossip sees it."""
        self.keys4: frozenset[int] = frozenset()
        self.keys6: frozenset[tuple[int, int]] = frozenset()
        self.hints: tuple[Endpoint, ...] = ()
        """Where our neighbourhood says that it is."""
        self.paths = PathSet(rng)
        self.fallback = Fallback()
        self.punch = Punch()
        self.double: Double | None = None
        """Where copies of its frames go, while the path in use is in doubt."""
        self.meter = Meter()
        """What it received of what we sent by the path in use."""
        self.settled: tuple[Session, int, float] | None = None
        """The session of its last probe, the highest counter then seen in it, and when."""
        self.current: Session | None = None
        """The session we send in."""
        self.previous: Session | None = None
        self.next_session: Session | None = None
        """Answered by us, not yet confirmed by a frame of the peer."""
        self.attempt: Attempt | None = None
        self.retry = HANDSHAKE_RETRY_FIRST
        """Seconds that the next attempt waits for an answer."""
        self.last_counter = 0
        """The highest handshake counter seen from it."""
        self.waiting: deque[bytes] = deque(maxlen=MAX_WAITING_MESSAGES)
        """Control entries for the session to come; the oldest goes first."""
        self.packets: deque[bytes] = deque()
        """Packet entries for the session to come."""
        self.packets_size = 0
        self.tx_bytes = 0
        self.rx_bytes = 0
        self.last_seen: float | None = None
        self.last_heard_told = 0.0
        self.look_at = float("-inf")
        """When something is to be done for it, if nothing comes from it before: see `upkeep`."""
        self.doubled_at = float("-inf")
        """When `double` was last begun."""
        self.doubted_at = float("-inf")
        """When the log was last told that it says two things at once."""
        self.last_data_at = -1e9
        self.used_at = -1e9
        """When somebody last wanted to reach it, who did not know it as a member."""
        self.last_error: str | None = None
        self.relay_asked_at = -1e9
        self.relay_sought_at = float("-inf")
        """When to look for better relays, while one is in use."""
        self.tried: dict[NodeId, tuple[float, float]] = {}
        """Relays that were asked -> when, and the seconds that the way by them promised to take."""
        self.last_relay: NodeId | None = None
        """Through whom it was last reached."""

    def note_tried(self, relay: NodeId, promise: float, now: float) -> None:
        """A relay is being asked, whose way promises to take so many seconds."""
        self.tried.pop(relay, None)
        if len(self.tried) >= MAX_TRIED:
            del self.tried[next(iter(self.tried))]
        self.tried[relay] = now, promise

    @property
    def name(self) -> str:
        """The certificate's name, or the id where none is known yet."""
        return self.certificate.name if self.certificate is not None else self.id.hex()

    @property
    def path(self) -> Path | None:
        """The path in use."""
        return self.paths.current

    def certify(self, certificate: Certificate, chain: tuple[bytes, ...]) -> None:
        """Take a verified certificate: what the peer may send from follows from it."""
        self.certificate, self.chain = certificate, chain
        for session in self.sessions():
            session.forget_usual()
        self.keys4 = frozenset(int(a) for a in certificate.addresses if a.version == 4)
        self.keys6 = frozenset(
            (int(a) >> 64, int(a) & (1 << 64) - 1) for a in certificate.addresses if a.version == 6
        )

    def hold(self, keys: Iterable[Key]) -> None:
        """Of its certificate's addresses it has these, see `holding`: with none of them it has
        nothing, and may send nothing."""
        keys4 = frozenset(key for key in keys if isinstance(key, int))
        keys6 = frozenset(key for key in keys if not isinstance(key, int))
        if (keys4, keys6) != (self.keys4, self.keys6):
            self.keys4, self.keys6 = keys4, keys6
            for session in self.sessions():
                session.forget_usual()

    def may_send_from(self, source: Key) -> bool:
        """Whether the certificate grants a route that holds `source`, and a host can have it."""
        if self.certificate is None or not self.keys6 or _martian(source):
            return False
        return covered(source, self.certificate.routes)

    def sessions(self) -> list[Session]:
        """All sessions, the current one first."""
        slots = (self.current, self.previous, self.next_session)
        return [session for session in slots if session is not None]

    def ready(self, now: float) -> bool:
        """Whether frames can leave now."""
        session, path = self.current, self.paths.current
        return session is not None and path is not None and not session.expired(now)

    def hold_packet(self, entry: bytes) -> int:
        """Keep a packet entry until there is a session; how many old ones it pushed out."""
        dropped = 0
        self.packets.append(entry)
        self.packets_size += len(entry)
        while len(self.packets) > MAX_WAITING_PACKETS or self.packets_size > MAX_WAITING_BYTES:
            self.packets_size -= len(self.packets.popleft())
            dropped += 1
        return dropped

    def take_packets(self) -> list[bytes]:
        """The packet entries that waited; none are left."""
        packets, self.packets_size = list(self.packets), 0
        self.packets.clear()
        return packets

    def active(self, now: float) -> bool:
        """Whether packets flowed within the last ten seconds."""
        return now - self.last_data_at < 10.0

    def wanted(self, now: float) -> bool:
        """Whether packets for it wait or flow."""
        return bool(self.packets) or self.active(now)

    def candidates(self, extra: tuple[Endpoint, ...] = ()) -> tuple[Endpoint, ...]:
        """Where its own record says it may be, and what else is known."""
        known = self.record.endpoints if self.record is not None else ()
        return tuple(dict.fromkeys((*known, *self.hints, *extra)))


def _martian(source: int | tuple[int, int]) -> bool:
    """Whether `source` is no host's address: this network, loopback, multicast and above; of IPv6
    also link-local ones, and all of ::/64, where the IPv4-mapped ones are (RFC 6890)."""
    if isinstance(source, int):
        return source >> 24 in (0, 127) or source >> 28 >= 0xE
    return source[0] == 0 or source[0] >> 56 == 0xFF or source[0] >> 54 == 0xFE80 >> 6
