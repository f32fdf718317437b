"""Tells a path that has become too narrow for its datagrams from one that loses some.

While frames go missing, every second probe that measures loss is as wide as the path. One that
gets no answer, while the small one behind it does, may be too wide: after a few in a row the path
is. Where neither is answered, nothing follows for the width.
"""

from __future__ import annotations

from typing import Final

WIDE_MISSES: Final = 4
"""Full-width probes in a row that are lost though small ones arrive, until the path is narrowed."""
MAX_WAITING: Final = 8
"""Full-width probes whose fate is open."""


class WideProbes:
    """The full-width probes of one path that measure its loss."""

    __slots__ = ("_misses", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[int, float] = {}
        """Nonce -> when it left."""
        self._misses = 0

    def sent(self, nonce: int, now: float) -> None:
        """A full-width probe left."""
        if len(self._waiting) >= MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[nonce] = now

    def answered(self, nonce: int, sent_at: float) -> bool:
        """The answer to a probe of either width, which left at `sent_at`: whether the path is too
        narrow."""
        wide = nonce in self._waiting
        before = [each for each, left in self._waiting.items() if left <= sent_at]
        for each in before:
            del self._waiting[each]
        if wide:
            self._misses = 0
        elif before:
            # Those before the last one may have met an outage.
            self._misses += 1
        if self._misses < WIDE_MISSES:
            return False
        self._misses = 0
        return True
