"""A peer as its paths see it: answers probes of some endpoints, up to some width, on a virtual
clock."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from meshd.node.path import Path
from meshd.node.paths import PathSet
from meshd.node.wire import Endpoint

STEP = 0.05
"""Least seconds between two looks at the paths, as the node's upkeep has it."""


@dataclass
class Reach:
    """Runs a `PathSet` as the node does. `answers`: endpoint -> round trip, seconds."""

    paths: PathSet
    answers: dict[Endpoint, float] = field(default_factory=dict)
    active: bool = False
    width: int = 1472
    """The largest datagram that gets through, bytes."""
    now: float = 0.0
    probes: list[tuple[float, Endpoint, int]] = field(default_factory=list)
    """(when, where to, size) of all probes."""
    nonces: list[int] = field(default_factory=list)
    changes: list[tuple[float, Path | None]] = field(default_factory=list)
    """When the current path became another."""
    _coming: list[tuple[float, int, Path]] = field(default_factory=list)

    def run(self, until: float) -> None:
        """Probe and answer until that time."""
        while self.now <= until:
            self._look()
            due = self.paths.next_at()
            times = [max(self.now + STEP, due if due is not None else until + STEP)]
            times += [at for at, _, _ in self._coming[:1]]
            self.now = min(times)
            while self._coming and self._coming[0][0] <= self.now:
                _, nonce, path = heapq.heappop(self._coming)
                if path.measured(nonce, self.now) is not None:
                    self.paths.choose(self.now)
            self._note()
        self.now = until

    def _look(self) -> None:
        for probe in self.paths.due(self.now, self.active):
            self.paths.sent(probe, self.now)
            path = probe.path
            self.probes.append((self.now, path.endpoint, probe.size))
            self.nonces.append(probe.nonce)
            rtt = self.answers.get(path.endpoint)
            if rtt is not None and probe.size <= self.width:
                heapq.heappush(self._coming, (self.now + rtt, probe.nonce, path))
        self._note()

    def _note(self) -> None:
        if self.paths.changed:
            self.paths.changed = False
            self.changes.append((self.now, self.paths.current))
            if self.paths.current is None:
                self.paths.hurry(self.now)
