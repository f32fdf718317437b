"""The ways to reach one peer: probed, measured, chosen.

The current path is probed every few seconds, candidates with growing pauses for ever, so that two
NATs are punched from both sides.

Choice: direct before relayed before streams; among equals the quicker, with a margin (babeld's and
Tailscale's lesson) so that nothing flaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from gossip import NodeId
from meshd.node.path import RETRY_FIRST, Path, PathKind
from meshd.node.wire import BASE_SEGMENT, RELAY_PREFIX, RELAYED, Endpoint, is_stream

ACTIVE_INTERVAL = 3.0
"""Seconds between probes of the current path while packets flow."""
IDLE_INTERVAL = 10.0
"""The same while none do: below the 30 s after which NATs forget (RFC 4787, REQ-5)."""
BACKUP_INTERVAL = 15.0
"""Seconds between probes of proven paths not in use."""
MEASURE_INTERVAL, LOSSY_INTERVAL = 0.5, 0.05
"""Seconds between probes that measure loss while packets flow: while none is seen, and while some
was lately (then a round trip at least)."""
RETRY_MAX = 20.0
"""The longest pause before an unproven candidate is tried again: it doubles up to this."""
RETRY_SPARE = 300.0
"""The longest such pause while a direct path is in use."""
RETRY_BESIDE_STREAM = 5.0
"""The same while a stream is in use: UDP is to be found again soon."""
MAX_PATHS = 24


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
        """The direct path, or the stream, to `endpoint`, if there is one."""
        return self._paths.get((_kind(endpoint), endpoint))

    def learn(self, endpoint: Endpoint, now: float) -> Path:
        """The direct path, or the stream, to `endpoint`, made if need be; the incumbent is probed
        with it."""
        path = self.direct(endpoint)
        if path is None:
            path = Path(_kind(endpoint), endpoint, next_probe_at=now)
            self._add((path.kind, endpoint), path)
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

    def recheck(self, now: float) -> None:
        """The network around us has changed: ask all ways at once whether they still are."""
        for path in self._paths.values():
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
                checks_width = active and path is self.current and path.adapts and path.misses < 2
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
        self.measuring = active and path is not None and path.adapts
        if path is None or not self.measuring or self.measure_at > now:
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
            longest = RETRY_SPARE if served else RETRY_MAX
            if self.current is not None and not self.current.adapts:
                longest = RETRY_BESIDE_STREAM
            path.retry = min(longest, path.retry * 2)
        elif path is self.current:
            path.next_probe_at = now + (ACTIVE_INTERVAL if active else IDLE_INTERVAL)
        elif path.adapts:
            path.next_probe_at = now + BACKUP_INTERVAL
        else:  # whatever comes by a stream then says that the peer uses it: see `streams`
            path.next_probe_at = float("inf")

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


def _kind(endpoint: Endpoint) -> PathKind:
    return PathKind.STREAM if is_stream(endpoint) else PathKind.DIRECT


def _better(new: Path, old: Path) -> bool:
    failing = old.misses >= (1 if new.kind is old.kind else 2)
    if failing and not new.misses and new.last_received > old.last_received:
        return True
    if new.rank != old.rank:
        return new.rank < old.rank and not new.misses
    if new.srtt is None or old.srtt is None:
        return False
    return new.srtt <= old.srtt - 0.010 and new.srtt <= 0.85 * old.srtt
