"""How much this node sends unasked: probes in all, and bytes to addresses that nobody has proven.

A member may claim any address as its own. What the others send there must not add up to a flood:
until a path to an address is proven, it gets what a few handshakes need, and then very little. And
all members hear one claim: so with many of them each sends less, unless it has packets for the one
who claims it. Not so the bootstrap addresses: whoever knows many members calls them all there,
since it does not know which of them answers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from meshd.node.ratelimit import source_key

PROBE_RATE, PROBE_BURST = 20.0, 40.0
"""Probes per second and at once, over all peers."""
PROBE_SPARED = 10.0
"""Of the probes that may leave at once, so many are for paths that work."""
UNPROVEN_BURST: Final = 6000.0
"""Bytes at once to an address (or IPv6 /64) that no path has proven: five initiations."""
UNPROVEN_RATE: Final = 50.0
"""Bytes per second after that."""
CROWD: Final = 32
"""Members from which each sends a part only: in all as much as so many would."""
UNPROVEN_LEAST: Final = 2600.0
"""Bytes at once that each may send in any case: two initiations and two probes."""
MAX_ADDRESSES: Final = 1024
"""Addresses remembered."""


class ProbeBudget:
    """A token bucket over the probes of all peers."""

    __slots__ = ("_at", "_tokens", "taken")

    def __init__(self) -> None:
        self.taken = 0
        """Probes since the start."""
        self._tokens = PROBE_BURST
        self._at = float("-inf")

    def take(self, now: float, spare: float = 0.0) -> bool:
        """Take one, if `spare` are left beside it."""
        if now > self._at:
            self._tokens = min(PROBE_BURST, self._tokens + min(now - self._at, 1e6) * PROBE_RATE)
            self._at = now
        if self._tokens < 1.0 + spare:
            return False
        self._tokens -= 1.0
        self.taken += 1
        return True


class Allowance:
    """Token buckets of bytes for every address that is not proven: one for all that this node sends
    there, and one for what it sends though it has no packets for whoever claims it."""

    __slots__ = ("_buckets", "members", "named")

    def __init__(self) -> None:
        self.members = 1
        """Members that hear the same claims as this node."""
        self.named: tuple[str, ...] = ()
        """Addresses that this host's person named: it is no claim that makes us send there."""
        # In the order of last use: key -> (bytes, bytes of the second, when that was so).
        self._buckets: OrderedDict[int | str, tuple[float, float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, address: str, size: int, now: float, wanted: bool = False) -> bool:
        """Take `size` bytes of an address (numeric IP text); False: it has had enough. `wanted`:
        packets wait or flow."""
        if address in self.named:
            return True
        key, share = source_key(address), min(1.0, CROWD / max(1, self.members))
        burst = max(UNPROVEN_LEAST, UNPROVEN_BURST * share)
        left, idle, at = self._buckets.pop(key, (UNPROVEN_BURST, burst, now))
        earned = max(0.0, now - at) * UNPROVEN_RATE
        left, idle = min(UNPROVEN_BURST, left + earned), min(burst, idle + earned * share)
        allowed = left >= size and (wanted or idle >= size)
        if allowed:
            left, idle = left - size, max(0.0, idle - size)
        self._buckets[key] = (left, idle, now)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return allowed

    def proven(self, address: str) -> None:
        """Somebody answers there: what was sent to it is forgiven."""
        self._buckets.pop(source_key(address), None)
