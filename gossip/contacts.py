"""Whom this node can send to beside its members: the routing table, and hints.

A contact in the table was heard itself. A hint is a MEMBER record that verified and that somebody
else told of, or that comes from disk: it may be asked, and becomes a contact when it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gossip.ids import NodeId
from gossip.kademlia import RoutingTable
from gossip.records import Record, RecordKind

if TYPE_CHECKING:
    from random import Random

    from gossip.members import MemberTable
    from gossip.store import RecordStore

MAX_HINTS: Final = 2048
"""Hints remembered; the oldest go first."""


class Contacts:
    """Finds the MEMBER record of anyone this node may have to send to."""

    def __init__(self, own: NodeId, k: int, members: MemberTable, store: RecordStore) -> None:
        self.table = RoutingTable(own, k)
        self._own = own
        self._members = members
        self._store = store
        self._hints: dict[NodeId, Record] = {}

    def record(self, node: NodeId) -> Record | None:
        """The MEMBER record of `node`: held, in the table, or a hint."""
        held = self._store.get(node, RecordKind.MEMBER)
        if held is not None:
            return held
        contact = self.table.get(node)
        return contact.record if contact is not None else self._hints.get(node)

    def hint(self, record: Record) -> None:
        """Somebody told of this verified MEMBER record."""
        node = record.subject
        if node == self._own or record.withdrawn:
            return
        known = self._hints.pop(node, None)
        if known is not None and not record.supersedes(known):
            record = known
        elif known is None and len(self._hints) >= MAX_HINTS:
            del self._hints[next(iter(self._hints))]
        self._hints[node] = record

    def heard(self, node: NodeId, now: float) -> None:
        """`node` was heard itself: if its record is known, it is a contact."""
        hint = self._hints.pop(node, None)
        record = self._store.get(node, RecordKind.MEMBER) or hint
        if record is None:
            contact = self.table.get(node)
            record = contact.record if contact is not None else None
        if record is not None and not record.withdrawn:
            self.table.heard(record, now)

    def closest(self, target: bytes, count: int) -> list[Record]:
        """MEMBER records of the closest to `target` among live members and contacts."""
        number = int.from_bytes
        goal = number(target, "big")
        found: dict[NodeId, Record] = {}
        for nearer in self.table.by_distance(goal):
            for contact in nearer:
                found[contact.record.subject] = contact.record
            if len(found) >= count:
                break
        live = dict.fromkeys(self._members.live_ids())
        away = {number(node, "big") ^ goal: node for node in (*found, *live)}
        nearest: list[Record] = []
        for distance in sorted(away):
            node = away[distance]
            held = self._store.get(node, RecordKind.MEMBER) if node in live else None
            record = held or found.get(node)
            if record is not None:
                nearest.append(record)
                if len(nearest) == count:
                    break
        return nearest

    def sample(self, count: int, rng: Random, without: Sequence[NodeId]) -> list[Record]:
        """Up to `count` contacts drawn at random; hints only where there are too few."""
        heard = [c.record for c in self.table if c.record.subject not in without]
        if len(heard) < count:
            known = {record.subject for record in heard}
            told = [r for n, r in self._hints.items() if n not in without and n not in known]
            return heard + rng.sample(told, min(count - len(heard), len(told)))
        return rng.sample(heard, count)

    def estimate(self) -> int:
        """How many nodes there are, as far as this one can tell; it counts itself."""
        return max(self._members.live + 1, self.table.estimate())
