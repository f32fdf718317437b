"""How often what is idle is asked: so many probes per second, shared by all peers.

With few peers each has the shortest pauses; with more of them they grow, so that a node's probes do
not, and those of the whole mesh grow with the number of its nodes, not with its square. Peers that
packets flow to do not wait for others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

IDLE_INTERVAL, IDLE_INTERVAL_MAX = 4.0, 25.0
"""Seconds between probes of a path in use while no packets flow, with few peers and many: below the
30 s after which NATs forget (RFC 4787, REQ-5)."""
IDLE_RATE: Final = 8.0
"""Probes per second of all of them."""
SPARE_INTERVAL, SPARE_INTERVAL_MAX = 15.0, 100.0
"""Seconds between probes of another proven path: below the 120 s after which relays forget."""
SPARE_RATE: Final = 2.0
"""Probes per second of all of them."""
RETRY_MAX: Final = 20.0
"""The longest pause before an unproven candidate is tried again."""
RETRY_RATE: Final = 1.0
"""Probes per second of all candidates, once their pauses are at their longest."""
RELAY_SEEK: Final = 18.0
"""Seconds after which better relays are looked for, while one is in use; times 0.8 to 1.2."""
SEEK_RATE: Final = 0.5
"""Such looks per second, for all peers."""
PUNCH_PAUSE: Final = 300.0
"""Seconds between two rounds of punching for a peer that no packets flow to."""
PUNCH_RATE: Final = 0.1
"""Such rounds per second, for all peers."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two probes, looks or rounds for one idle peer; `seek_active` is for one that
    packets flow to."""

    idle: float = IDLE_INTERVAL
    spare: float = SPARE_INTERVAL
    retry: float = RETRY_MAX
    seek: float = RELAY_SEEK
    seek_active: float = RELAY_SEEK
    punch: float = PUNCH_PAUSE


@dataclass(slots=True)
class Load:
    """What there is to ask, over all peers in a session."""

    sessions: int = 0
    spares: int = 0
    """Proven paths beside those in use."""
    candidates: int = 0
    """Paths that are not proven."""
    relayed: int = 0
    """Peers that are not reached directly."""
    active: int = 0
    """Those of them that packets flow to."""

    def pace(self) -> Pace:
        """What that allows each."""
        idle = min(IDLE_INTERVAL_MAX, max(IDLE_INTERVAL, self.sessions / IDLE_RATE))
        spare = min(SPARE_INTERVAL_MAX, max(SPARE_INTERVAL, self.spares / SPARE_RATE))
        return Pace(
            idle,
            max(idle, spare),
            max(RETRY_MAX * idle / IDLE_INTERVAL, self.candidates / RETRY_RATE),
            max(RELAY_SEEK, self.relayed / SEEK_RATE),
            max(RELAY_SEEK, self.active / SEEK_RATE),
            max(PUNCH_PAUSE, self.relayed / PUNCH_RATE),
        )
