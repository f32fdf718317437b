"""The deadlines of one node: a heap of (time, order, key), with at most one per key.

| key                    | what is due                                                       |
|------------------------|-------------------------------------------------------------------|
| PROBE                  | the period is over: without any answer the probe failed; the next |
| PROBE_TIMEOUT, nonce   | no direct answer yet: ask others to try                           |
| PROBE_END, nonce       | the period of a probe out of turn is over                         |
| RELAY, nonce           | the target of somebody's indirect probe did not answer: nack      |
| GOSSIP                 | a round of news                                                   |
| SUSPICION, node        | a suspicion has run out                                           |
| CHECK, node            | somebody else accused it: see for ourselves                       |
| OWN                    | our record is to go above one that we did not make                |
| SYNC                   | compare what we hold with somebody                                |
| JOIN                   | ask seeds that are not members yet                                |
| HEAL                   | try a dead member                                                 |
| REAP                   | forget those long gone                                            |
| VIEW                   | neighbours are missing, or are to be mixed                        |
| LOOKUP, number         | a query of a lookup is overdue, or its time is up                 |
| REPUBLISH              | the own records are to be stored at the closest                   |
| REFRESH                | a random id is to be looked up                                    |
"""

from __future__ import annotations

import heapq
from enum import Enum
from math import inf
from typing import TypeAlias

from gossip.ids import NodeId


class Timer(Enum):
    """What a deadline is for."""

    __hash__ = object.__hash__  # Enum's own hashes the name, in Python: half the cost of a timer

    PROBE = "probe"
    PROBE_TIMEOUT = "probe-timeout"
    PROBE_END = "probe-end"
    RELAY = "relay"
    GOSSIP = "gossip"
    SUSPICION = "suspicion"
    CHECK = "check"
    OWN = "own"
    SYNC = "sync"
    JOIN = "join"
    HEAL = "heal"
    REAP = "reap"
    VIEW = "view"
    LOOKUP = "lookup"
    REPUBLISH = "republish"
    REFRESH = "refresh"


Key: TypeAlias = tuple[Timer, int | NodeId | None]


class Timers:
    """Schedule, cancel, and take what is due. Deadlines at one time come in order of scheduling."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []
        self._order: dict[Key, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._order)

    def schedule(self, timer: Timer, at: float, about: int | NodeId | None = None) -> None:
        """Set, or move, the deadline of this key to `at`."""
        key = (timer, about)
        self._count += 1
        moved = key in self._order
        self._order[key] = self._count
        heapq.heappush(self._heap, (at, self._count, key))
        if moved:
            self._prune()

    def cancel(self, timer: Timer, about: int | NodeId | None = None) -> None:
        """Drop the deadline of this key, if it has one."""
        if self._order.pop((timer, about), None) is not None:
            self._prune()

    def pending(self, timer: Timer, about: int | NodeId | None = None) -> bool:
        """Whether this key has a deadline."""
        return (timer, about) in self._order

    def clear(self) -> None:
        """Drop every deadline."""
        self._heap.clear()
        self._order.clear()

    def next(self) -> tuple[float, Timer] | None:
        """The earliest deadline and what it is for."""
        heap = self._heap
        return (heap[0][0], heap[0][2][0]) if heap else None

    def next_at(self) -> float:
        """The time of the earliest deadline, infinity for none."""
        return self._heap[0][0] if self._heap else inf

    def pop_due(self, now: float) -> tuple[float, Timer, int | NodeId | None] | None:
        """Take the earliest deadline that is not after `now`."""
        heap, order = self._heap, self._order
        if not heap or heap[0][0] > now:
            return None
        at, _, key = heapq.heappop(heap)
        del order[key]
        if heap and order.get(heap[0][2]) != heap[0][1]:
            self._prune()
        return at, key[0], key[1]

    def _prune(self) -> None:
        """See that the first entry is in force, and that those which are not are but few."""
        heap, order = self._heap, self._order
        while heap:
            _, number, key = heap[0]
            if order.get(key) == number:
                break
            heapq.heappop(heap)
        if len(heap) > 2 * len(order) + 64:
            self._heap = [entry for entry in heap if order.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)
