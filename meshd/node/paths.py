"""The ways to reach one peer: probed, measured, chosen.

A path is proven by a round trip of authenticated frames, never by a claim. The current path is
probed every few seconds, candidates with growing pauses for ever, so that two NATs are punched
from both sides. Each path's width is found by probes of that size (packetization layer path MTU
discovery, RFC 8899), since the sockets never fragment.

Choice: direct before relayed; among equals the quicker, with a margin (babeld's and Tailscale's
lesson) so that nothing flaps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from gossip import NodeId
from meshd.node.narrowing import WideProbes
from meshd.node.parity import MAX_SLICES, SYMBOLS
from meshd.node.redundancy import LossControl
from meshd.node.wire import (
    BASE_SEGMENT,
    ENTRY_SIZE,
    HEADER_SIZE,
    MAX_BATCH,
    MAX_SEGMENTS,
    RELAY_PREFIX,
    RELAYED,
    TAG_SIZE,
    Endpoint,
)

ACTIVE_INTERVAL = 3.0
"""Seconds between probes of the current path while packets flow."""
IDLE_INTERVAL = 10.0
"""The same while none do: below the 30 s after which NATs forget (RFC 4787, REQ-5)."""
BACKUP_INTERVAL = 15.0
"""Seconds between probes of proven paths not in use."""
MEASURE_INTERVAL, LOSSY_INTERVAL = 0.5, 0.05
"""Seconds between probes that measure loss while packets flow: while none is seen, and while some
was lately (then a round trip at least)."""
RETRY_FIRST, RETRY_MAX = 0.5, 20.0
"""Pause before an unproven candidate is tried again: doubles from one to the other."""
RETRY_SPARE = 300.0
"""The longest such pause while a direct path is in use."""
MISSES_MAX = 3
"""Unanswered probes in a row after which a path counts as lost."""
PROBE_TIMEOUT_MIN, PROBE_TIMEOUT_MAX = 0.4, 3.0
PROBE_TIMEOUT_FIRST = 2.0
"""The same before any round trip is known."""
FAR = 0.005
"""Seconds of round trip from which a stream takes long to get over the first loss."""
MAX_PATHS = 24
WIDTHS4 = (1472, 1432, 1392, 1332)
"""Datagram payloads tried over IPv4, bytes: Ethernet, then the usual tunnels."""
WIDTHS6 = (1452, 1412, 1372, 1312)
WIDTH_TRIES = 2
WIDTH_AGAIN = 600.0
RTT_GAIN = 42 / 256
"""EWMA weight of a new round-trip sample (babeld's)."""


class PathKind(Enum):
    """How a path gets there; the values are `status --json`'s words."""

    DIRECT = "direct"
    RELAY = "relay"


@dataclass(slots=True)
class Path:
    """One way to a peer. `endpoint` is the next hop's, so a relayed path's is the relay's."""

    kind: PathKind
    endpoint: Endpoint
    relay: NodeId | None = None
    channel: int = 0
    prefix: bytes = b""
    segment: int = BASE_SEGMENT
    """Datagram payload, bytes."""
    valid: bool = False
    """Whether a round trip has proven it."""
    srtt: float | None = None
    """Smoothed round trip, seconds."""
    last_received: float = 0.0
    misses: int = 0
    retry: float = RETRY_FIRST
    next_probe_at: float = 0.0
    last_error: str = ""
    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=32))
    waiting: dict[int, tuple[float, int]] = field(default_factory=dict)
    """Nonce -> (sent at, datagram size) of probes not answered yet."""
    widths: list[int] = field(default_factory=list)
    """Sizes still to try, the next one first."""
    width_tries: int = 0
    width_search_at: float = 0.0
    wide: WideProbes = field(default_factory=WideProbes)
    """Probes that measure its loss and have its full width."""
    control: LossControl = field(default_factory=LossControl)
    """What becomes of its loss: the two below, once the path is in use."""
    parity: tuple[int, ...] | None = None
    """Parity slices of a frame of k slices, at index k; None: frames carry none."""
    span: int = MAX_SEGMENTS
    """Slices of data that a frame is to have at most."""

    @property
    def chunk(self) -> int:
        """Bytes of one slice."""
        return self.segment - HEADER_SIZE - len(self.prefix)

    @property
    def batch_limit(self) -> int:
        """Plaintext bytes of the largest frame that there can be."""
        return min(MAX_SEGMENTS, MAX_BATCH // self.segment) * self.chunk - TAG_SIZE

    @property
    def frame_limit(self) -> int:
        """Plaintext bytes from which a frame is so long that its loss costs too much."""
        count = min(self.span, MAX_BATCH // self.segment)
        if self.parity is None:
            return count * self.chunk - TAG_SIZE
        return min(count, MAX_SLICES) * (self.chunk // SYMBOLS * SYMBOLS) - TAG_SIZE - ENTRY_SIZE

    @property
    def loss(self) -> float:
        """Share of the segments that was lost lately; before there were enough of them, of the
        last 32 probes without an answer. 0 to 1."""
        if self.control.known:
            return self.control.loss
        return self.outcomes.count(False) / len(self.outcomes) if self.outcomes else 0.0

    @property
    def timeout(self) -> float:
        """Seconds until a probe counts as lost."""
        if self.srtt is None:
            return PROBE_TIMEOUT_FIRST
        return min(PROBE_TIMEOUT_MAX, max(PROBE_TIMEOUT_MIN, 4 * self.srtt))

    def prove(self, now: float) -> None:
        """A round trip has shown that both directions work. A path that was lost may have become
        another one: its width is looked for again."""
        if not self.valid:
            self.segment = BASE_SEGMENT
            self.widths = list(WIDTHS6 if ":" in self.endpoint[0] else WIDTHS4)
            self.width_tries, self.width_search_at = 0, now
            self.next_probe_at = now
        self.valid, self.misses, self.retry = True, 0, RETRY_FIRST
        self.last_received = now

    def narrow(self, now: float) -> None:
        """Segments of this size are lost: back to what every path carries, look again later."""
        self.width_tries = 0
        self.segment = BASE_SEGMENT
        self.width_search_at = now + WIDTH_AGAIN
        self.widths = list(WIDTHS6 if ":" in self.endpoint[0] else WIDTHS4)
        self.wide = WideProbes()

    def sample(self, rtt: float) -> None:
        """Take one round-trip time, seconds."""
        self.srtt = rtt if self.srtt is None else self.srtt + RTT_GAIN * (rtt - self.srtt)

    def measured(self, nonce: int, now: float) -> float | None:
        """The answer to probe `nonce`: its round trip in seconds, None when nothing waits."""
        sent = self.waiting.pop(nonce, None)
        if sent is None:
            return None
        rtt, size = now - sent[0], sent[1]
        self.prove(now)
        if size > self.segment:
            self.segment, self.widths = size, []
        self.sample(rtt)
        if rtt >= FAR:
            self.control.assume()
            self.parity = self.control.parity
        self.outcomes.append(True)
        return rtt

    def lapse(self, now: float) -> bool:
        """Count the probes that were not answered in time; True when the path was just lost."""
        for nonce, (sent_at, size) in list(self.waiting.items()):
            if now - sent_at < self.timeout:
                continue
            del self.waiting[nonce]
            if size > self.segment:
                self._width_missed()
                continue
            self.outcomes.append(False)
            self.misses += 1
            if size > BASE_SEGMENT and self.misses == 2:
                self.narrow(now)
            if self.valid:
                self.next_probe_at = min(self.next_probe_at, now)
        if self.valid and self.misses >= MISSES_MAX:
            self.valid, self.last_error = False, "no answer to three probes"
            return True
        return False

    def _width_missed(self) -> None:
        self.width_tries += 1
        if self.width_tries >= WIDTH_TRIES and self.widths:
            self.widths.pop(0)
            self.width_tries = 0


@dataclass(frozen=True, slots=True)
class DueProbe:
    """A probe to send now on `path`, in a datagram of `size` bytes (0: as small as it gets)."""

    path: Path
    nonce: int
    size: int
    measures: bool = False
    """Whether it only measures loss: nothing follows when it is not answered."""


class PathSet:
    """All paths to one peer, and the one in use."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._paths: dict[tuple[object, ...], Path] = {}
        self.current: Path | None = None
        self.changed = False
        """Set when `current` became another path; the owner clears it."""
        self.measuring = False
        """Whether packets flow, so that the path in use is measured."""
        self.measure_at = 0.0
        """When `measure` has something to do next, while `measuring`."""
        self._wide = False
        """Whether the last probe that measures had full width."""

    def __iter__(self) -> Iterator[Path]:
        return iter(list(self._paths.values()))

    def has(self, path: Path) -> bool:
        """Whether this very path is one of these."""
        return any(kept is path for kept in self._paths.values())

    def direct(self, endpoint: Endpoint) -> Path | None:
        """The direct path to `endpoint`, if there is one."""
        return self._paths.get((PathKind.DIRECT, endpoint))

    def learn(self, endpoint: Endpoint, now: float) -> Path:
        """The direct path to `endpoint`, made if need be; the incumbent is probed with it."""
        path = self._paths.get((PathKind.DIRECT, endpoint))
        if path is None:
            path = Path(PathKind.DIRECT, endpoint, next_probe_at=now)
            self._add((PathKind.DIRECT, endpoint), path)
            if self.current is not None:
                self.current.next_probe_at = min(self.current.next_probe_at, now)
        return path

    def consider(self, endpoints: Iterable[Endpoint], now: float) -> None:
        """Probe these candidates beside what is known."""
        for endpoint in endpoints:
            self.learn(endpoint, now)

    def hurry(self, now: float) -> None:
        """The path in use was lost: try all candidates soon."""
        for path in self._paths.values():
            if not path.valid:
                path.retry, path.next_probe_at = RETRY_FIRST, min(path.next_probe_at, now)

    def relayed(self, relay: NodeId, channel: int, endpoint: Endpoint, now: float) -> Path:
        """The path through `relay`; a new channel replaces the old one."""
        key = (PathKind.RELAY, relay)
        path = self._paths.get(key)
        if path is None or path.channel != channel:
            if path is not None:
                self.drop(path)
            prefix = RELAY_PREFIX.pack(RELAYED, channel)
            path = Path(PathKind.RELAY, endpoint, relay, channel, prefix, next_probe_at=now)
            self._add(key, path)
        path.endpoint = endpoint
        return path

    def drop(self, path: Path) -> None:
        """Forget a path."""
        self._paths = {key: kept for key, kept in self._paths.items() if kept is not path}
        if self.current is path:
            self.current, self.changed = None, True

    def lose_all(self) -> None:
        """The peer restarted or left: nothing is proven any more."""
        for path in self._paths.values():
            path.valid = False
            path.waiting.clear()
        self.choose()

    def _add(self, key: tuple[object, ...], path: Path) -> None:
        if len(self._paths) >= MAX_PATHS:
            victims = [
                (kept.valid, kept.last_received, position, old)
                for position, (old, kept) in enumerate(self._paths.items())
                if kept is not self.current
            ]
            del self._paths[min(victims)[3]]
        self._paths[key] = path

    # Probing

    def due(self, now: float, active: bool) -> list[DueProbe]:
        """Probes to send now; call `sent` for each that leaves."""
        probes = []
        for path in self._paths.values():
            misses = path.misses
            if path.lapse(now) or path.misses > misses:
                self.choose()
            if path.next_probe_at <= now and len(path.waiting) < 4:
                checks_width = active and path is self.current and path.misses < 2
                size = path.segment if checks_width and path.segment > BASE_SEGMENT else 0
                probes.append(DueProbe(path, self._nonce(), size))
                self._schedule(path, now, active)
            searching = path.valid and path.widths and path.width_search_at <= now
            if searching and not any(size > path.segment for _, size in path.waiting.values()):
                probes.append(DueProbe(path, self._nonce(), path.widths[0]))
        return probes

    def measure(self, now: float, active: bool) -> DueProbe | None:
        """A probe that measures the loss of the path in use, while packets flow."""
        path = self.current
        self.measuring = active and path is not None
        if path is None or not active or self.measure_at > now:
            return None
        often = max(LOSSY_INTERVAL, path.srtt or 0.0)
        lossy = path.control.lossy(now)
        self.measure_at = now + (often if lossy else MEASURE_INTERVAL)
        # Perhaps it is the wide ones that are lost: every second probe tries.
        self._wide = lossy and not self._wide and path.segment > BASE_SEGMENT
        return DueProbe(path, self._nonce(), path.segment if self._wide else 0, measures=True)

    def hasten(self, now: float) -> bool:
        """Loss may have begun: whether to measure again sooner than was meant."""
        path = self.current
        if path is None or not path.control.lossy(now):
            return False
        soon = now + max(LOSSY_INTERVAL, path.srtt or 0.0)
        if not self.measuring or self.measure_at <= soon:
            return False
        self.measure_at = soon
        return True

    def sent(self, probe: DueProbe, now: float) -> None:
        """A probe has left."""
        if probe.measures:
            if probe.size:
                probe.path.wide.sent(probe.nonce, now)
            return
        probe.path.waiting[probe.nonce] = (now, probe.size)

    def _schedule(self, path: Path, now: float, active: bool) -> None:
        if not path.valid:
            path.next_probe_at = now + path.retry * (0.9 + 0.2 * self._rng.random())
            served = self.current is not None and self.current.kind is PathKind.DIRECT
            path.retry = min(RETRY_SPARE if served else RETRY_MAX, path.retry * 2)
        elif path is self.current:
            path.next_probe_at = now + (ACTIVE_INTERVAL if active else IDLE_INTERVAL)
        else:
            path.next_probe_at = now + BACKUP_INTERVAL

    def _nonce(self) -> int:
        return self._rng.getrandbits(63) | 1 << 63

    def next_at(self) -> float | None:
        """When `due` should be called next."""
        times = [path.next_probe_at for path in self._paths.values()]
        for path in self._paths.values():
            times += [sent_at + path.timeout for sent_at, _ in path.waiting.values()]
        return min(times, default=None)

    # Choice

    def choose(self) -> None:
        """Make the best proven path the current one."""
        best = self.current if self.current is not None and self.current.valid else None
        for path in self._paths.values():
            if path.valid and path is not best and (best is None or _better(path, best)):
                best = path
        if best is not self.current:
            self.current, self.changed = best, True


def _better(new: Path, old: Path) -> bool:
    failing = old.misses >= (1 if new.kind is old.kind else 2)
    if failing and not new.misses and new.last_received > old.last_received:
        return True
    if new.kind is not old.kind:
        return new.kind is PathKind.DIRECT and not new.misses
    if new.srtt is None or old.srtt is None:
        return False
    return new.srtt <= old.srtt - 0.010 and new.srtt <= 0.85 * old.srtt
