"""Which nodes to ask for a relayed path: those that promise the shortest way, and one by chance.

What a way through a relay costs is told by network coordinates (`gossip.coordinates`), which hold
triangles to be what they are in a plane: just where a detour is faster they are wrong. Hence the
one by chance, and the one that was good before. What a path is worth is measured end to end, once
it is there: coordinates are claims, and decide nothing alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from gossip import NodeId
from meshd.node.choice import is_quicker

ALIKE, ALIKE_BY = 1.2, 0.010
"""Ways that take at most so many times the best, or so many seconds more, are as good."""
BEST = 3
"""Asked for what they promise; beside them one by chance, and the last good one."""
MAX_JUDGED = 256
"""Relays looked at, drawn at random where there are more."""


@dataclass(frozen=True, slots=True)
class Willing:
    """A node that may relay. `first` and `second` are the round trips to it and from it to the
    peer, in seconds; None where nothing tells."""

    node: NodeId
    is_relay: bool
    """Whether its certificate has the role `relay`: those go first."""
    first: float | None
    second: float | None
    capacity: int = 1
    """How much it relays, 1 to 3."""

    @property
    def whole(self) -> float:
        """Seconds of the whole way; infinite where not all of it is known."""
        if self.first is None or self.second is None:
            return float("inf")
        return self.first + self.second

    @property
    def rank(self) -> tuple[bool, float, float, NodeId]:
        """Lower is better: the role, the whole way, the way to it."""
        unknown = float("inf")
        first = unknown if self.first is None else self.first
        second = unknown if self.second is None else self.second
        return not self.is_relay, first + second, first, self.node


def shortlist(
    willing: Sequence[Willing], last: NodeId | None, rng: Random, best: int = BEST
) -> list[NodeId]:
    """Whom to ask, the `best` ones first; `last` is the relay that was used before, if any."""
    judged = list(willing)
    if len(judged) > MAX_JUDGED:
        judged = rng.sample(judged, MAX_JUDGED)
    ordered = sorted(judged, key=lambda relay: relay.rank)
    ranked = [relay.node for relay in _spread(ordered, rng)]
    chosen = ranked[:best]
    if any(relay.node == last for relay in willing) and last is not None and last not in chosen:
        chosen.append(last)
    rest = [node for node in ranked if node not in chosen]
    if rest:
        chosen.append(rng.choice(rest))
    return chosen


def promising(willing: Sequence[Willing], used: float, rng: Random) -> list[NodeId]:
    """Whom to ask while a relayed path that costs `used` seconds serves: who promises to be clearly
    quicker, and one of the others by chance."""
    judged = list(willing)
    if len(judged) > MAX_JUDGED:
        judged = rng.sample(judged, MAX_JUDGED)
    quicker = sorted((r for r in judged if is_quicker(r.whole, used)), key=lambda r: r.rank)[:BEST]
    chosen = [relay.node for relay in quicker]
    rest = [relay.node for relay in judged if relay.node not in chosen]
    return [*chosen, rng.choice(rest)] if rest else chosen


def _spread(ordered: list[Willing], rng: Random) -> list[Willing]:
    """Those that are as good as the best in random order, so that not all ask the same few; with
    more capacity the sooner (Efraimidis and Spirakis: the key u^(1/weight))."""
    if not ordered:
        return ordered
    best = ordered[0]
    limit = max(best.whole * ALIKE, best.whole + ALIKE_BY)
    alike = [relay for relay in ordered if relay.is_relay == best.is_relay and relay.whole <= limit]
    drawn = [(rng.random() ** (1 / relay.capacity), relay) for relay in alike]
    drawn.sort(key=lambda pair: -pair[0])
    first = [relay for _, relay in drawn]
    return [*first, *(relay for relay in ordered if relay not in first)]
