"""Which of the proven paths is used, and when it is left for another.

    failing          two probes without an answer, or silence while packets flow (see `vigil`): left
                     at once for any path that was heard since
    another kind     direct, relayed, stream, relayed by a stream, in this order; one that has
                     failed before has to answer several probes in a row first
    the same kind    by cost, with a margin, after a dwell, and seldom

What a path costs is its round trip and what it loses; but a path gets slower by being used, so
that two equal ones would be taken in turns (babeld and Tailscale damp that too). Hence a switch for
quality needs a margin and fresh numbers of both, and the next one waits: a minute, and twice as
long each time unless there was peace.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshd.node.path import Path

MARGIN, MARGIN_SHARE = 0.010, 0.85
"""A better path costs so many seconds less, and at most this part."""
LOSS_COST = 0.2
"""Seconds that a path costs for each lost datagram beside one that arrives."""
LOSS_MAX = 0.9
MISSES = 2
"""Unanswered probes in a row from which a path fails."""
DWELL = 5.0
"""Seconds that a path is used at least before another of its kind is taken for its quality."""
CALM, CALM_MAX = 60.0, 600.0
"""Seconds between two switches for quality: doubled by each, halved by as many seconds of peace as
the most."""
STEADY, STEADY_MAX = 3, 24
"""Answers in a row after which a path counts as tried; doubled each time that it fails."""
FAILURES_MAX = 4
"""Failures beyond which nothing is doubled any more."""
STEADY_BESIDE_STREAM = 6
"""Answers in a row that are enough while a stream is in use: UDP is taken again within seconds, how
often it may have failed."""


def cost(path: Path) -> float:
    """Seconds: smoothed round trip, and 0.2 s for each loss per arrival (an ETX, as in babeld)."""
    loss = min(path.loss, LOSS_MAX)
    return (path.srtt or 0.0) + LOSS_COST * loss / (1 - loss)


def is_quicker(new: float, old: float) -> bool:
    """Whether what costs `new` seconds is clearly better than what costs `old`."""
    return old - new >= MARGIN and new <= MARGIN_SHARE * old


def is_failing(path: Path) -> bool:
    """Whether a path seems to work no more."""
    return path.failing or path.misses >= MISSES


def leaves_stream(path: Path, current: Path | None) -> bool:
    """Whether to take `path` would be to leave a stream for UDP."""
    return current is not None and current.by_tcp and not path.by_tcp


def is_steady(path: Path, current: Path | None = None) -> bool:
    """Whether a path that failed before has answered long enough since, to take it in place of
    `current`."""
    if not path.failures:
        return True
    most = STEADY_BESIDE_STREAM if leaves_stream(path, current) else STEADY_MAX
    times = 1 << min(path.failures, FAILURES_MAX) - 1
    return path.streak >= min(most, STEADY * times)


def backup(paths: Iterable[Path], current: Path | None) -> Path | None:
    """The best proven path beside the one in use."""
    others = [path for path in paths if path.valid and path is not current]
    return min(others, key=_order, default=None)


def _order(path: Path) -> tuple[bool, bool, int, float]:
    return path.misses > 0, not is_steady(path), path.rank, cost(path)


class Choice:
    """What was chosen when, and why: it decides when the next change may be."""

    __slots__ = ("calm", "quality_at", "reason", "since", "switches")

    def __init__(self) -> None:
        self.since = float("-inf")
        """When the path in use was taken."""
        self.reason = ""
        """Why, in plain words."""
        self.switches = 0
        """How often one path was taken for another, or none."""
        self.quality_at = float("-inf")
        """When that last was for its quality."""
        self.calm = CALM

    def choose(self, paths: Iterable[Path], current: Path | None, now: float) -> Path | None:
        """The path to use."""
        proven = [path for path in paths if path.valid]
        if current is None or not current.valid:
            best = min(proven, key=_order, default=None)
            reason = "the way before was lost" if self.switches else "the first that worked"
            return self._take(best, current, reason, now)
        found = [(path, why) for path in proven if (why := self._better(path, current, now))]
        if not found:
            return current
        best, reason = min(found, key=lambda pair: _order(pair[0]))
        return self._take(best, current, reason, now)

    def _take(
        self, best: Path | None, current: Path | None, reason: str, now: float
    ) -> Path | None:
        if best is current:
            return best
        if best is None:
            self.reason = "no way works"
            return None
        if reason == QUICKER:
            peace = (now - self.quality_at) / CALM_MAX
            self.calm = max(CALM, self.calm * 0.5 ** min(peace, 10.0))
            if self.quality_at > float("-inf"):
                self.calm = min(CALM_MAX, self.calm * 2)
            self.quality_at = now
        self.switches += 1
        self.since, self.reason = now, reason
        return best

    def _better(self, new: Path, old: Path, now: float) -> str:
        """Why `new` is to be used in place of `old`; empty: it is not."""
        if new is old or new.failing or new.misses:
            return ""
        if is_failing(old) and new.last_received > old.last_received:
            return "the way before does not answer"
        if new.rank != old.rank:
            return BETTER_KIND if new.rank < old.rank and is_steady(new, old) else ""
        if new.srtt is None or old.srtt is None or new.streak < STEADY or old.misses:
            return ""
        if now - self.since < DWELL or now - self.quality_at < self.calm:
            return ""
        before, after = cost(old), cost(new)
        return QUICKER if is_quicker(after, before) else ""


BETTER_KIND = "a better kind of way works"
QUICKER = "clearly quicker than the way before"
