"""When a gateway is asked again, and how it shows that it has forgotten (RFC 6886, RFC 6887)."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

PCP_FIRST, PCP_LONGEST = 3.0, 1024.0
"""Seconds after which PCP asks again, doubled up to the second (RFC 6887 section 8.1.1)."""
NATPMP_FIRST, NATPMP_TRIES = 0.25, 9
"""Seconds after which NAT-PMP asks again, doubled each time, and how often it asks in all (RFC
6886 section 3.1)."""
RENEWAL_MIN: Final = 4.0
"""Seconds between two attempts to renew, at least (RFC 6887 section 11.2.1)."""


@dataclass(slots=True)
class Ask:
    """A request that is repeated until it is answered; `due`: when it is to be sent next."""

    due: float | None = None
    wait: float = 0.0
    tries: int = 0

    def begin(self, at: float) -> None:
        """Ask at `at`, and again until `stop`."""
        self.due, self.wait, self.tries = at, 0.0, 0

    def stop(self) -> None:
        """Ask no more."""
        self.due = None

    def repeat(self, rng: Random, now: float) -> None:
        """It was sent. PCP's rule (RFC 6887 section 8.1.1): again and again, for ever."""
        self.wait = rng.uniform(0.9, 1.1) * min(self.wait * 2 or PCP_FIRST, PCP_LONGEST)
        self.due = now + self.wait

    def repeat_soon(self, now: float) -> bool:
        """It was sent. NAT-PMP's rule (RFC 6886 section 3.1); False: nobody will answer."""
        self.tries += 1
        self.wait = self.wait * 2 or NATPMP_FIRST
        self.due = now + self.wait if self.tries < NATPMP_TRIES else None
        return self.due is not None


def renewal(expires: float, rng: Random, now: float) -> float:
    """When to ask again for what holds until `expires` (RFC 6887 section 11.2.1)."""
    return now + max(RENEWAL_MIN, (expires - now) * rng.uniform(1 / 2, 5 / 8))


class Epoch:
    """A gateway's clock, which starts anew when it loses its mappings."""

    def __init__(self, *, strict: bool) -> None:
        """`strict`: PCP's rule (RFC 6887 section 8.5), else NAT-PMP's (RFC 6886 section 3.6)."""
        self._strict = strict
        self._last: tuple[int, float] | None = None

    def restarted(self, epoch: int, now: float) -> bool:
        """Whether `epoch`, in seconds, is none that the clock of the last call would show now."""
        before, self._last = self._last, (epoch, now)
        if before is None:
            return False
        theirs, ours = epoch - before[0], now - before[1]
        if not self._strict:
            return theirs < ours * 7 / 8 - 2
        return theirs < -1 or ours + 2 < theirs * 15 / 16 or theirs + 2 < ours * 15 / 16
