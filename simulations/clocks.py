"""What a host's clock reads, when it does not read the world's time.

Crystals drift by tens of parts per million, virtual machines' clocks jump when they are moved or
woken. A monotonic clock never goes back.
"""

from __future__ import annotations


class HostClock:
    """A clock that reads `reading` at world time `now`, and then runs at `rate` of its speed."""

    __slots__ = ("_rate", "_reading", "_since")

    def __init__(self) -> None:
        self._since = 0.0
        self._reading = 0.0
        self._rate = 1.0

    def local(self, now: float) -> float:
        """What the clock reads at world time `now`, in seconds."""
        return self._reading + (now - self._since) * self._rate

    def world(self, local: float) -> float:
        """The world time at which the clock reads `local`, as it runs now."""
        return self._since + (local - self._reading) / self._rate

    def adjust(self, now: float, jump_s: float, drift: float) -> None:
        """Jump ahead by `jump_s` seconds, and gain `drift` seconds per second from now on.

        Raises ValueError for a clock that would go back or stand still.
        """
        if jump_s < 0 or drift <= -1:
            raise ValueError(f"a monotonic clock cannot jump {jump_s} s, nor gain {drift} s/s")
        self._reading, self._since = self.local(now) + jump_s, now
        self._rate = 1.0 + drift
