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

    @property
    def rank(self) -> tuple[bool, float, float, NodeId]:
        """Lower is better: the role, the whole way, the way to it."""
        unknown = float("inf")
        first = unknown if self.first is None else self.first
        second = unknown if self.second is None else self.second
        return not self.is_relay, first + second, first, self.node


def shortlist(willing: Sequence[Willing], last: NodeId | None, rng: Random) -> list[NodeId]:
    """Whom to ask, the best first; `last` is the relay that was used before, if any."""
    judged = list(willing)
    if len(judged) > MAX_JUDGED:
        judged = rng.sample(judged, MAX_JUDGED)
    ranked = [relay.node for relay in sorted(judged, key=lambda relay: relay.rank)]
    chosen = ranked[:BEST]
    if any(relay.node == last for relay in willing) and last is not None and last not in chosen:
        chosen.append(last)
    rest = [node for node in ranked if node not in chosen]
    if rest:
        chosen.append(rng.choice(rest))
    return chosen
