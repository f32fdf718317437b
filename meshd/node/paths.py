"""The ways to reach one peer: probed, measured, and one of them used (see `choice`).

The current path is probed every few seconds, and several times a second while packets flow; the
best of the others is kept warm (see `standby`); candidates are tried with growing pauses for ever,
so that two NATs are punched from both sides. What is idle has the pauses of `pacing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from gossip import NodeId
from meshd.node.choice import Choice, backup, is_failing, leaves_stream
from meshd.node.pacing import RETRY_MAX, SPARE_INTERVAL, Pace
from meshd.node.path import Path, PathKind
from meshd.node.standby import is_forgotten, is_needed, is_tried, may_rest
from meshd.node.vigil import Verdict, Vigil
from meshd.node.wire import BASE_SEGMENT, RELAY_PREFIX, RELAYED, Endpoint, is_stream

ACTIVE_INTERVAL = 3.0
"""Seconds between probes of the current path while packets flow."""
WARM_INTERVAL = 5.0
"""Seconds between probes of the best other path while packets flow."""
TRIAL_INTERVAL = 1.0
"""The same of one that may become the current one, until it has answered often enough."""
RESCUE_INTERVAL = 0.15
"""The same of all of them while the current one is in doubt."""
MAX_RESCUERS = 4
"""Paths that are probed then."""
MEASURE_INTERVAL, LOSSY_INTERVAL = 0.25, 0.05
"""Seconds between probes that measure loss and silence while packets flow: usually, and while some
loss was seen lately (then a round trip at least) or the path is in doubt."""
RETRY_SPARE = 300.0
"""The longest pause before an unproven candidate is tried again while a direct path is in use."""
RETRY_BESIDE_STREAM = 5.0
"""The same while a stream is in use: UDP is to be found again soon."""
PUT_OFF = 1.0
"""Seconds until a probe that the budget had no room for is due again; up to three times that where
nothing is proven."""
MAX_PATHS = 24
MAX_RELAYED = 6
"""Relayed paths among them."""


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
        self.choice = Choice()
        self.vigil = Vigil()
        self.pace = Pace()
        """The pauses while no packets flow."""
        self.spares = self.candidates = 0
        """How many others are asked because they work, and to see whether they do."""
        self.doubted = False
        """Whether the current path was silent for too long while packets flow."""
        self._active = False
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
        """Probe these candidates, which somebody tells of, beside what is known."""
        for endpoint in endpoints:
            self.learn(endpoint, now).claimed = True

    def hurry(self, now: float) -> None:
        """The path in use was lost: try all candidates soon."""
        for path in self._paths.values():
            if not path.valid:
                path.wake(now)

    def recheck(self, now: float) -> None:
        """The network around us has changed: ask all ways at once whether they still are."""
        for path in self._paths.values():
            if path.parked_at is None:
                path.wake(now)

    def relayed(
        self,
        relay: NodeId,
        channel: int,
        endpoint: Endpoint,
        now: float,
        by_stream: bool = False,
        asked: bool = True,
    ) -> Path:
        """The path through `relay`; a new channel replaces the old one. `by_stream`: the relay
        reaches the peer by a stream; `asked`: it is we who asked for it."""
        key = (PathKind.RELAY, relay)
        path = self._paths.get(key)
        if path is None or path.channel != channel:
            if path is not None:
                self.drop(path)
            prefix = RELAY_PREFIX.pack(RELAYED, channel)
            path = Path(PathKind.RELAY, endpoint, relay, channel, prefix, next_probe_at=now)
            path.by_stream = by_stream
            if not asked and not is_needed(self._paths.values(), self.current, path.rank):
                path.park(now)
            self._add(key, path)
            self._thin_out(path)
        elif asked and path.parked_at is not None:
            path.wake(now)
        path.endpoint, path.by_stream = endpoint, by_stream
        return path

    def drop(self, path: Path) -> None:
        """Forget a path."""
        self._paths = {key: kept for key, kept in self._paths.items() if kept is not path}
        if self.current is path:
            self._use(None)

    def lose_all(self) -> None:
        """The peer restarted or left: nothing is proven any more."""
        for path in self._paths.values():
            path.valid = False
            path.waiting.clear()
        if self.current is not None:
            self._use(None)

    def _add(self, key: tuple[object, ...], path: Path) -> None:
        if len(self._paths) >= MAX_PATHS:
            victims = [
                (kept.valid, kept.last_received, position, old)
                for position, (old, kept) in enumerate(self._paths.items())
                if kept is not self.current
            ]
            del self._paths[min(victims)[3]]
        self._paths[key] = path

    def _thin_out(self, new: Path) -> None:
        """Keep the best relayed paths, the current and the new one."""
        relayed = [path for path in self._paths.values() if path.relay is not None]
        spare = [path for path in relayed if path is not self.current and path is not new]
        if len(relayed) > MAX_RELAYED and spare:
            kept = backup(spare, None) if len(spare) > 1 else None
            others = (path for path in spare if path is not kept)
            self.drop(min(others, key=lambda path: (path.valid, path.last_received)))

    def _use(self, path: Path | None) -> None:
        self.current, self.changed, self.doubted = path, True, False
        self.vigil.reset()

    # Probing

    def due(self, now: float, active: bool) -> list[DueProbe]:
        """Probes to send now, the current path's first; call `sent` for each that leaves, and
        `put_off` for others."""
        self._active = active
        probes: list[DueProbe] = []
        self.spares = self.candidates = 0
        for path in sorted(self._paths.values(), key=lambda path: path is not self.current):
            misses = path.misses
            if path.lapse(now) or path.misses > misses:
                self.choose(now)
            if not self._is_asked(path, now):
                continue
            if path.next_probe_at <= now and len(path.waiting) < 4:
                checks_width = active and path is self.current and path.adapts and path.misses < 2
                size = path.segment if checks_width and path.segment > BASE_SEGMENT else 0
                probes.append(DueProbe(path, self._nonce(), size))
            searching = path is self.current and path.widths and path.width_search_at <= now
            if searching and not any(size > path.segment for _, size in path.waiting.values()):
                probes.append(DueProbe(path, self._nonce(), path.widths[0]))
        return self._with_current(probes, now)

    def _is_asked(self, path: Path, now: float) -> bool:
        """Whether a path is not parked, nor to be; it is counted then, or forgotten."""
        if path.next_probe_at <= now and may_rest(path, self._paths.values(), self.current):
            path.park(now)
        if path.parked_at is not None:
            if is_forgotten(path, now):
                self.drop(path)
            return False
        if path is not self.current and path.next_probe_at < float("inf"):
            self.spares += path.valid
            self.candidates += not path.valid
        return True

    def _with_current(self, probes: list[DueProbe], now: float) -> list[DueProbe]:
        """Where others are measured, so is the current path: only fresh numbers compare."""
        current = self.current
        others = any(probe.path.valid and probe.path is not current for probe in probes)
        if current is None or not others or any(probe.path is current for probe in probes):
            return probes
        before = current.tries.sent_at
        if len(current.waiting) >= 4 or (before is not None and now - before < TRIAL_INTERVAL):
            return probes
        return [DueProbe(current, self._nonce(), 0), *probes]

    def put_off(self, probe: DueProbe, now: float) -> None:
        """There was no room for a probe: that of another path may come first then."""
        again = now + PUT_OFF * (1.0 if probe.path.valid else 1.0 + 2.0 * self._rng.random())
        probe.path.next_probe_at = again
        if probe.path.widths:
            probe.path.width_search_at = max(probe.path.width_search_at, again)

    def watch(self, now: float) -> float:
        """Judge the current path while packets flow; when to do so again."""
        path = self.current
        if path is None or not self.measuring:
            self.doubted = False
            return float("inf")
        verdict = self.vigil.look(path, now)
        if verdict >= Verdict.DOUBTED and not self.doubted:
            self.measure_at = path.next_probe_at = now
            if backup(self._paths.values(), path) is None:
                self.hurry(now)
        self.doubted = verdict >= Verdict.DOUBTED
        if verdict is Verdict.FAILING:
            if not path.failing:
                path.last_error = "silent while packets flow"
            path.failing = True
            self.choose(now)
            if self.current is not path:
                return now
        return self.vigil.next_at(path)

    def rescue(self, now: float) -> list[DueProbe]:
        """Probes of the other proven paths, while the current one is in doubt."""
        others = [path for path in self._paths.values() if path.valid and path is not self.current]
        others.sort(key=lambda path: (path.rank, path.misses))
        return [
            DueProbe(path, self._nonce(), 0)
            for path in others[:MAX_RESCUERS]
            if len(path.waiting) < 4
            and (path.tries.sent_at is None or now - path.tries.sent_at >= RESCUE_INTERVAL)
        ]

    def heard(self, nonce: int, now: float) -> None:
        """An answer to a probe came; of the current path's, even to one that only measures."""
        path = self.current
        if path is not None and self.vigil.answered(nonce, now):
            path.failing, path.misses, path.last_received = False, 0, now
            self.doubted = False

    def measure(self, now: float, active: bool) -> DueProbe | None:
        """A probe that measures the loss of the path in use, while packets flow."""
        path = self.current
        self.measuring = active and path is not None and path.adapts
        if path is None or not self.measuring or self.measure_at > now:
            return None
        often = min(MEASURE_INTERVAL, max(LOSSY_INTERVAL, path.srtt or 0.0))
        lossy = path.control.lossy(now)
        pause = often if lossy else MEASURE_INTERVAL
        self.measure_at = now + (LOSSY_INTERVAL if self.doubted else pause)
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
        path = probe.path
        if path is self.current and probe.size <= path.segment:
            self.vigil.asked(probe.nonce, now)
        if probe.measures:
            if probe.size:
                path.wide.sent(probe.nonce, now)
            return
        path.waiting[probe.nonce] = (now, probe.size)
        path.tries.sent += 1
        path.tries.sent_at = now
        if (path.next_probe_at <= now or path is self.current) and probe.size <= path.segment:
            path.next_probe_at = now + self._pause(path)

    def _pause(self, path: Path) -> float:
        """Seconds until the next probe of a path that was just probed."""
        current = self.current
        if not path.valid:
            longest = RETRY_MAX if self._active else self.pace.retry
            if current is not None and current.rank != 1:
                longest = RETRY_BESIDE_STREAM if current.rank else max(RETRY_SPARE, longest)
            pause = path.retry * (0.9 + 0.2 * self._rng.random())
            path.retry = min(longest, path.retry * 2)
            return pause
        if path is current:
            return ACTIVE_INTERVAL if self._active else self.pace.idle
        if not path.adapts:  # whatever comes by a stream then says that the peer uses it
            return float("inf")
        if current is None or not is_tried(path, current):
            again = 0 if leaves_stream(path, current) else max(0, path.failures - 1)
            return min(SPARE_INTERVAL, TRIAL_INTERVAL * 2.0**again)
        if not self._active:
            return self.pace.spare
        best = backup(self._paths.values(), current)
        return WARM_INTERVAL if path is best else SPARE_INTERVAL

    def _nonce(self) -> int:
        return self._rng.getrandbits(63) | 1 << 63

    def next_at(self) -> float | None:
        """When `due` should be called next."""
        times = [path.next_probe_at for path in self._paths.values()]
        for path in self._paths.values():
            times += [sent_at + path.timeout for sent_at, _ in path.waiting.values()]
        return min(times, default=None)

    # Choice

    def choose(self, now: float) -> None:
        """Make the best proven path the current one."""
        before = self.current
        best = self.choice.choose(self._paths.values(), before, now)
        if best is before:
            return
        if before is not None and before.valid and is_failing(before):
            before.fail(now)
        self._use(best)
        if best is not None:  # one that stood by was asked seldom, a stream not at all
            best.next_probe_at = min(best.next_probe_at, now)


def _kind(endpoint: Endpoint) -> PathKind:
    return PathKind.STREAM if is_stream(endpoint) else PathKind.DIRECT
