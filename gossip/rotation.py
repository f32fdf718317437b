"""Everyone in turn, in a random order: SWIM's round robin (section 4.3).

It bounds how long anyone waits for its turn, where independent draws would not.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from gossip.ids import NodeId
from gossip.members import MemberTable, Peer


class Rotation:
    """Live members one after the other; a new order for each cycle.

    Where no more than `stable` members are live, and they are the same, the order stays: so many
    turns in a row then reach each of them, even across the end of a cycle. Who is not `chosen`
    is passed over.
    """

    def __init__(
        self,
        members: MemberTable,
        rng: Random,
        stable: int = 0,
        chosen: Callable[[Peer], bool] | None = None,
    ) -> None:
        self._members = members
        self._rng = rng
        self._stable = stable
        self._chosen = chosen
        self._order: list[NodeId] = []
        self._position = 0
        self._cycle: dict[NodeId, bool] = {}
        """Who has a turn in this cycle, past or to come. Nobody has two: who goes and comes back
        all the time would be the only one whose turn it is."""

    def insert(self, node: NodeId) -> None:
        """A new member: at a random place of this cycle, so that joiners are not all last."""
        if node in self._cycle:
            return
        self._cycle[node] = True
        self._order.insert(self._rng.randint(self._position, len(self._order)), node)

    def next(self) -> NodeId | None:
        """Whose turn it is; None if nobody is live."""
        for _ in range(2):
            while self._position < len(self._order):
                node = self._order[self._position]
                self._position += 1
                peer = self._members.get(node)
                if peer is None or not peer.is_live:
                    continue
                if self._chosen is None or self._chosen(peer):
                    return node
            self._begin_cycle()
        return None

    def take(self, count: int) -> list[NodeId]:
        """The next `count` different ones, or fewer if there are not so many."""
        taken: dict[NodeId, bool] = {}
        wanted = min(count, self._members.live)
        for _ in range(2 * count):
            if len(taken) == wanted:
                break
            node = self.next()
            if node is not None:
                taken[node] = True
        return list(taken)

    def _begin_cycle(self) -> None:
        live = self._members.live_ids()
        self._position = 0
        if len(live) <= self._stable and sorted(live) == sorted(self._order):
            return
        self._rng.shuffle(live)
        self._order = live
        self._cycle = dict.fromkeys(live, True)
