"""Records that wait for what would make them believed, so many in all, shared among their tellers.

Keys are free for all to make, so one member can tell of any number of subjects that nobody knows.
When there is no room, the oldest goes of whoever told the most; and subjects are named in turns,
one of each teller: so such a member pushes out, and holds up, no more than its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from gossip import NodeId, Record


@dataclass(slots=True)
class _Held:
    record: Record
    teller: NodeId


class Pending:
    """The newest record of each subject and kind, `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[tuple[NodeId, int], _Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def put(self, record: Record, teller: NodeId) -> None:
        """Keep `record`, which came from `teller`. Who told less counts as its teller, so that
        nobody draws the records of others to itself."""
        key = record.subject, record.kind
        held = self._held.get(key)
        if held is None:
            self._held[key] = _Held(record, teller)
        else:
            if record.supersedes(held.record):
                held.record = record
            counts = self._counts()
            if counts[teller] < counts[held.teller]:
                held.teller = teller
        if len(self._held) > self._limit:
            counts = self._counts()
            most = max(counts.values())
            del self._held[next(k for k, h in self._held.items() if counts[h.teller] == most)]

    def take(self, wanted: Callable[[Record], bool]) -> list[Record]:
        """The records that are `wanted`, the oldest first; they wait no more."""
        keys = [key for key, held in self._held.items() if wanted(held.record)]
        return [self._held.pop(key).record for key in keys]

    def subjects(self, wanted: Callable[[Record], bool]) -> list[NodeId]:
        """Of whom records that are `wanted` wait: the oldest of each teller, then the next."""
        turns: Counter[NodeId] = Counter()
        found: list[tuple[int, NodeId]] = []
        for held in self._held.values():
            if wanted(held.record):
                found.append((turns[held.teller], held.record.subject))
                turns[held.teller] += 1
        found.sort(key=lambda item: item[0])
        return list(dict.fromkeys(subject for _, subject in found))

    def _counts(self) -> Counter[NodeId]:
        return Counter(held.teller for held in self._held.values())
