"""One iterative lookup: whom to ask next, and when that is enough. Pure bookkeeping, no messages.

Kademlia (2002, section 2.3) asks the closest contacts it knows for closer ones. As S/Kademlia
(Baumgart and Mies, 2007, section 4.4) has it, the lookup is d lookups side by side that share no
contact, so that one liar can spoil one of them. Of all queries, `parallelism` are waited for at a
time; one that is overdue is not waited for any more, but its answer still counts when it comes.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter
from typing import Final

from gossip.directory import Bundle, assemble
from gossip.ids import NodeId
from gossip.kademlia import distance
from gossip.records import Record

MAX_QUERIES: Final = 64
"""Queries of one lookup."""

MAX_SHORTLIST: Final = 64
"""Contacts that one path remembers: the closest it was told of."""


class _State(Enum):
    KNOWN = "known"
    ASKED = "asked"
    OVERDUE = "overdue"
    ANSWERED = "answered"
    LIED = "lied"


@dataclass(slots=True, eq=False)
class _Candidate:
    record: Record
    distance: int
    hops: int
    path: int
    """Which of the disjoint paths it is on."""
    state: _State = _State.KNOWN
    asked_at: float = 0.0
    had_value: bool = False


@dataclass(slots=True, eq=False)
class _Path:
    """One of the disjoint paths: contacts by id, and whether it came to an end."""

    shortlist: dict[NodeId, _Candidate] = field(default_factory=dict)
    ranked: list[_Candidate] = field(default_factory=list)
    """The same contacts, the closest first."""
    found: bool = False


class RoundTrip:
    """How long answers take: smoothed as RFC 6298, section 2, has it."""

    def __init__(self) -> None:
        self._srtt: float | None = None
        self._rttvar = 0.0

    def measure(self, rtt: float) -> None:
        """One answer came after `rtt` seconds."""
        if self._srtt is None:
            self._srtt, self._rttvar = rtt, rtt / 2
        else:
            self._rttvar += (abs(self._srtt - rtt) - self._rttvar) / 4
            self._srtt += (rtt - self._srtt) / 8

    def timeout(self, shortest: float, longest: float) -> float:
        """srtt + 4 rttvar seconds within the bounds; the longest before anything was measured."""
        if self._srtt is None:
            return longest
        return min(longest, max(shortest, self._srtt + 4 * self._rttvar))


_distance: Final = attrgetter("distance")
"""The distance of a candidate: a call for each comparison, which Python's own would make slow."""


class Lookup:
    """Ends when the closest that are known have answered, or a value came, or time is up.

    `begin` are MEMBER records of the closest contacts known. `count` is how many of the closest
    are wanted, over all paths. `deadline` is in monotonic seconds.
    """

    def __init__(
        self,
        target: bytes,
        own: NodeId,
        begin: Sequence[Record],
        count: int,
        parallelism: int,
        paths: int,
        deadline: float,
    ) -> None:
        self.target = target
        self.deadline = deadline
        self.queries = 0
        self._own = own
        self._parallelism = parallelism
        self._values: dict[NodeId, dict[int, Record]] = {}
        self._answered_by: dict[NodeId, NodeId] = {}
        number = max(1, min(paths, len(begin)))
        self._width = -(-count // number)
        self._count = count
        self._paths = [_Path() for _ in range(number)]
        self._asked: dict[NodeId, _Candidate] = {}
        """Who was asked, in order."""
        self._waiting: dict[NodeId, _Candidate] = {}
        """Of those, whose answer is awaited and not overdue."""
        for place, record in enumerate(begin):
            self._add(place % number, record, 1)

    def next_queries(self, now: float) -> list[NodeId]:
        """Whom to ask now; they count as asked."""
        asked: list[NodeId] = []
        free = min(self._parallelism - len(self._waiting), MAX_QUERIES - self.queries)
        while free > 0:
            for index in sorted(range(len(self._paths)), key=self._pending):
                chosen = self._next_of(self._paths[index])
                if chosen is not None:
                    break
            else:
                return asked
            node = chosen.record.subject
            chosen.state, chosen.asked_at = _State.ASKED, now
            self._asked[node] = self._waiting[node] = chosen
            self.queries += 1
            free -= 1
            asked.append(node)
        return asked

    def overdue(self, timeout: float, now: float) -> None:
        """Wait no longer for those that were asked `timeout` seconds ago."""
        for node, candidate in list(self._waiting.items()):
            if candidate.asked_at + timeout <= now:
                candidate.state = _State.OVERDUE
                del self._waiting[node]

    def next_check(self, timeout: float) -> float:
        """When a query is overdue next, or the time is up."""
        due = [candidate.asked_at + timeout for candidate in self._waiting.values()]
        return min([self.deadline, *due])

    def asked_at(self, node: NodeId) -> float | None:
        """When `node` was asked, if its answer is still awaited."""
        candidate = self._asked.get(node)
        if candidate is None or candidate.state not in (_State.ASKED, _State.OVERDUE):
            return None
        return candidate.asked_at

    def told(self, node: NodeId, contacts: Sequence[Record], last: bool) -> None:
        """`node`, which was asked, told of these contacts; `last`: its answer is complete."""
        candidate = self._asked.get(node)
        if candidate is None or candidate.state is _State.LIED:
            return
        if last:
            candidate.state = _State.ANSWERED
            self._waiting.pop(node, None)
        for record in contacts:
            if record.subject != self._own:
                self._add(candidate.path, record, candidate.hops + 1)

    def found(self, node: NodeId, records: Sequence[Record]) -> None:
        """`node` gave these records, which answer for the target, in part or whole."""
        candidate = self._asked.get(node)
        if candidate is None or candidate.state is _State.LIED:
            return
        for record in records:
            kinds = self._values.setdefault(record.subject, {})
            held = kinds.get(record.kind)
            if held is None or record.supersedes(held):
                kinds[record.kind] = record
                self._answered_by[record.subject] = node
        candidate.had_value = True

    def awaits(self, subject: NodeId) -> bool:
        """Whether some record of `subject` came that answers for the target."""
        return subject in self._values

    def settle(self, node: NodeId, deadline: float) -> None:
        """A valid value came from `node`: its path ends, the others have until `deadline`."""
        candidate = self._asked.get(node)
        if candidate is not None:
            self._paths[candidate.path].found = True
            self.deadline = min(self.deadline, deadline)

    def lied(self, node: NodeId) -> None:
        """`node` told what cannot be: it is out."""
        candidate = self._asked.get(node)
        if candidate is not None:
            candidate.state = _State.LIED
            self._waiting.pop(node, None)

    def done(self, now: float) -> bool:
        """Whether nothing more is to be expected, or time is up."""
        if now >= self.deadline:
            return True
        if self._waiting:
            return all(path.found for path in self._paths)
        spent = self.queries >= MAX_QUERIES
        return spent or all(self._next_of(path) is None for path in self._paths)

    def closest(self) -> list[Record]:
        """MEMBER records of the closest that answered, over all paths, the closest first."""
        answered = [c for c in self._asked.values() if c.state is _State.ANSWERED]
        answered.sort(key=_distance)
        return [candidate.record for candidate in answered[: self._count]]

    def to_cache(self) -> NodeId | None:
        """The closest that answered and did not have the value (section 2.3)."""
        for candidate in sorted(self._asked.values(), key=_distance):
            if candidate.state is _State.ANSWERED and not candidate.had_value:
                return candidate.record.subject
        return None

    def bundles(self) -> list[Bundle]:
        """The newest values that came, by subject."""
        return assemble(record for kinds in self._values.values() for record in kinds.values())

    def source(self, subject: NodeId) -> tuple[NodeId | None, int]:
        """Who gave the newest record of `subject`, and after how many hops."""
        node = self._answered_by.get(subject)
        candidate = None if node is None else self._asked.get(node)
        return node, 0 if candidate is None else candidate.hops

    def silent(self) -> list[NodeId]:
        """Those that were asked and never answered."""
        return [
            node
            for node, candidate in self._asked.items()
            if candidate.state in (_State.ASKED, _State.OVERDUE)
        ]

    def _add(self, index: int, record: Record, hops: int) -> None:
        node, path = record.subject, self._paths[index]
        known = path.shortlist.get(node)
        if known is not None:
            if known.state is _State.KNOWN and record.supersedes(known.record):
                known.record = record
            return
        candidate = _Candidate(record, distance(node, self.target), hops, index)
        path.shortlist[node] = candidate
        insort(path.ranked, candidate, key=_distance)
        if len(path.shortlist) > MAX_SHORTLIST:
            idle = (c for c in reversed(path.ranked) if c.state is _State.KNOWN)
            worst = next(idle, None)
            if worst is not None:
                path.ranked.remove(worst)
                del path.shortlist[worst.record.subject]

    def _next_of(self, path: _Path) -> _Candidate | None:
        """The closest that this path should still ask; None if its closest were all asked."""
        if path.found:
            return None
        place = 0
        for candidate in path.ranked:
            state = candidate.state
            if state is _State.KNOWN:
                if candidate.record.subject in self._asked:
                    continue  # another path's
                return candidate
            if state is _State.OVERDUE or state is _State.LIED:
                continue
            place += 1
            if place == self._width:
                return None
        return None

    def _pending(self, index: int) -> int:
        """How many answers a path waits for."""
        return sum(candidate.path == index for candidate in self._waiting.values())
