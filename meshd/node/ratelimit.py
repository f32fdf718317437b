"""Handshakes per source, and how many are too many for this node."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

RATE: Final = 20.0
"""Initiations per second and source (WireGuard's number)."""
BURST: Final = 5.0
"""Initiations at once from one source (WireGuard's number)."""
CAPACITY: Final = 4096
"""Sources remembered at most: about a megabyte."""

LOAD_LIMIT: Final = 100.0
"""Initiations per second from which a node asks for cookies: each costs it about 0.7 ms."""
LOAD_HOLD: Final = 1.0
"""Seconds that a node stays under load after the last excess (WireGuard's number)."""


class SourceRateLimiter:
    """A token bucket for every source address; the whole /64 for IPv6.

    The table is bounded: a bucket that has filled up again is as good as none, and is dropped.
    While all `capacity` buckets are in use, unknown sources are refused: only ask once mac2 has
    proven the source, so that nobody can fill the table with addresses not their own.
    """

    __slots__ = ("_buckets", "_burst", "_capacity", "_rate")

    def __init__(self, rate: float = RATE, burst: float = BURST, capacity: int = CAPACITY) -> None:
        """`rate` in tokens per second, `burst` in tokens, `capacity` in sources."""
        self._rate = rate
        self._burst = burst
        self._capacity = capacity
        # In the order of last use: key -> (tokens, when that was so).
        self._buckets: OrderedDict[int | str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allow(self, source: str, now: float) -> bool:
        """Take one token of `source` (numeric IP text); False when there is none."""
        key = source_key(source)
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            self._forget_full(now)
            if len(self._buckets) >= self._capacity:
                return False
            tokens = self._burst
        else:
            tokens, at = bucket
            tokens = min(self._burst, tokens + max(0.0, now - at) * self._rate)
        allowed = tokens >= 1.0
        self._buckets[key] = (tokens - 1.0 if allowed else tokens, now)
        return allowed

    def _forget_full(self, now: float) -> None:
        """Drop the buckets idle for so long that they are full, oldest use first."""
        idle = self._burst / self._rate
        while self._buckets:
            _, used_at = next(iter(self._buckets.values()))
            if now - used_at < idle:
                return
            self._buckets.popitem(last=False)


class LoadGauge:
    """Says when initiations come faster than `limit` per second: a leaky bucket one second deep."""

    __slots__ = ("_at", "_hold", "_level", "_limit", "_until")

    def __init__(self, now: float, limit: float = LOAD_LIMIT, hold: float = LOAD_HOLD) -> None:
        """`limit` in initiations per second, `hold` in seconds after the last excess."""
        self._limit = limit
        self._hold = hold
        self._level = 0.0
        self._at = now
        self._until = float("-inf")

    def count(self, now: float) -> None:
        """One initiation with a right mac1 has arrived."""
        level = max(0.0, self._level - max(0.0, now - self._at) * self._limit)
        self._at = now
        # Capped, so that a flood's end is seen after `hold` however large the flood was.
        self._level = min(level + 1.0, self._limit + 1.0)
        if self._level > self._limit:
            self._until = now + self._hold

    def under_load(self, now: float) -> bool:
        """Whether to ask for cookies before a DH is spent."""
        return now < self._until


def source_key(source: str) -> int | str:
    """What one sender can be assumed to have: an IPv4 address, or an IPv6 /64."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv4Address):
        return int(address)
    if address.ipv4_mapped is not None:
        return int(address.ipv4_mapped)
    # Marked with bit 64, so that no /64 is mistaken for an IPv4 address.
    return int(address) >> 64 | 1 << 64
