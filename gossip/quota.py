"""A token bucket for each node: what one of them asks for costs no more than its share."""

from __future__ import annotations

from gossip.ids import NodeId


class Quota:
    """`burst` at once, `rate` per second after that; the last `limit` nodes are remembered."""

    def __init__(self, burst: float, rate: float, limit: int) -> None:
        self._burst = float(burst)
        self._rate = rate
        self._limit = limit
        self._buckets: dict[NodeId, tuple[float, float]] = {}

    def left(self, node: NodeId, now: float) -> float:
        """How many `node` may have now."""
        tokens, at = self._buckets.get(node, (self._burst, now))
        return min(self._burst, tokens + (now - at) * self._rate)

    def take(self, node: NodeId, now: float) -> bool:
        """Whether `node` may have one more."""
        tokens = self.left(node, now)
        self._buckets.pop(node, None)
        allowed = tokens >= 1
        if len(self._buckets) >= self._limit:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[node] = (tokens - 1 if allowed else tokens, now)
        return allowed
