"""Whether the path in use still answers while packets flow: told within half a second.

Probes that measure leave every quarter of a second. Where nothing at all has come back for long
enough since one left, the path is in doubt: all others are probed, small frames go by a second one
too (see `doubling`), and this one is asked twenty times a second. Twice as long, and it fails.

Under load a round trip may take much longer than before, but answers go on coming in: so what
counts is the time since anything came, never that of a single probe. And where this node itself
did not run for a while, that time is not the path's.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from meshd.node.path import Path

SILENCE_MIN: Final = 0.2
SILENCE_MAX: Final = 1.5
SILENCE_RTT: Final = 4.0
"""Silence after which a path is in doubt: so many round trips, between the two (seconds)."""
UNANSWERED: Final = 2.0
"""So many times that, where only answers fail to come: the way back may be another."""
LATE: Final = 0.4
"""Seconds between two looks from which it is we who did not run."""
MAX_ASKED: Final = 64


class Verdict(IntEnum):
    """Of a path in use."""

    FINE = 0
    DOUBTED = 1
    FAILING = 2


class Vigil:
    """Probes of one path that wait for an answer, and how long it was silent."""

    __slots__ = ("_asked", "_floor", "_heard_at", "_looked_at", "verdict")

    def __init__(self) -> None:
        self._asked: dict[int, float] = {}
        """Nonce -> when it left."""
        self._heard_at = self._floor = self._looked_at = float("-inf")
        self.verdict = Verdict.FINE

    def reset(self) -> None:
        """Another path is used."""
        self._asked.clear()
        self.verdict = Verdict.FINE

    def asked(self, nonce: int, now: float) -> None:
        """A probe left."""
        while len(self._asked) >= MAX_ASKED:
            del self._asked[next(reversed(self._asked))]
        self._asked[nonce] = now

    def answered(self, nonce: int, now: float) -> bool:
        """The answer to a probe of this path came: it was not silent. False: no such probe."""
        left_at = self._asked.get(nonce)
        if left_at is None:
            return False
        self._asked = {each: at for each, at in self._asked.items() if at > left_at}
        self._heard_at, self.verdict = now, Verdict.FINE
        return True

    def look(self, path: Path, now: float) -> Verdict:
        """Judge the path."""
        if now - self._looked_at > LATE:
            self._floor = now
        self._looked_at = now
        first = next(iter(self._asked.values()), None)
        if first is None:
            self.verdict = Verdict.FINE
            return self.verdict
        begun, limit = max(first, self._floor), _limit(path)
        silent = now - max(begun, path.last_received)
        unanswered = (now - max(begun, self._heard_at)) / UNANSWERED
        worst = max(silent, unanswered) + 1e-9
        if worst >= 2 * limit and len(self._asked) > 2:
            self.verdict = Verdict.FAILING
        else:
            self.verdict = Verdict.DOUBTED if worst >= limit else Verdict.FINE
        return self.verdict

    def next_at(self, path: Path) -> float:
        """When to look again, if nothing comes until then."""
        first = next(iter(self._asked.values()), None)
        if first is None:
            return float("inf")
        begun = max(first, self._floor, min(path.last_received, self._heard_at))
        return begun + _limit(path) * (1 + (self.verdict > Verdict.FINE))


def _limit(path: Path) -> float:
    return min(SILENCE_MAX, max(SILENCE_MIN, SILENCE_RTT * (path.srtt or 0.0)))
