"""Kademlia's routing table: contacts by their distance from this node, most of them near it.

Distance is the XOR of two ids, read as a number (Maymounkov and Mazieres, 2002, section 2). A
bucket holds up to k contacts whose distance has the same highest bit; an old contact that lives is
worth more than a new one, because who was there for long tends to stay (section 2.2). Newcomers
to a full bucket wait in its replacement cache (section 4.1).

Only whose MEMBER record verified, and who was heard itself, may be put in: what others tell are
hints (see `contacts`), or an attacker fills the table with names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from gossip.ids import NODE_ID_SIZE, NodeId
from gossip.records import Record

BITS: Final = 8 * NODE_ID_SIZE

MAX_FAILURES: Final = 2
"""Queries in a row without an answer after which a contact gives way to one that waits..."""

MAX_STALE: Final = 5
"""...and after which it goes though nobody waits (section 4.1: whom else should one ask?)."""


def distance(one: bytes, other: bytes) -> int:
    """The XOR metric: 0 to 2^128 - 1."""
    return int.from_bytes(one, "big") ^ int.from_bytes(other, "big")


@dataclass(slots=True)
class Contact:
    """A node that was heard, and its MEMBER record. `heard_at` in monotonic seconds."""

    record: Record
    heard_at: float
    failures: int = 0


class _Bucket:
    """Least recently heard first, both those in use and those that wait."""

    __slots__ = ("contacts", "waiting")

    def __init__(self) -> None:
        self.contacts: dict[NodeId, Contact] = {}
        self.waiting: dict[NodeId, Contact] = {}


class RoutingTable:
    """At most `k` contacts, and `k` that wait, for each of the 128 ranges of distance."""

    def __init__(self, own: NodeId, k: int) -> None:
        self._own = own
        self._number = int.from_bytes(own, "big")
        self._k = k
        self._buckets: dict[int, _Bucket] = {}

    def __len__(self) -> int:
        return sum(len(bucket.contacts) for bucket in self._buckets.values())

    def __iter__(self) -> Iterator[Contact]:
        for bucket in self._buckets.values():
            yield from bucket.contacts.values()

    def get(self, node: NodeId) -> Contact | None:
        """The contact `node`, if it is in use or waits."""
        bucket = self._buckets.get(self._index(node))
        if bucket is None:
            return None
        return bucket.contacts.get(node) or bucket.waiting.get(node)

    def heard(self, record: Record, now: float) -> bool:
        """The subject of a verified MEMBER `record` was heard itself; whether it is in use."""
        node = record.subject
        if node == self._own:
            return False
        bucket = self._buckets.setdefault(self._index(node), _Bucket())
        known = bucket.contacts.pop(node, None) or bucket.waiting.pop(node, None)
        if known is not None and not record.supersedes(known.record):
            record = known.record
        contact = Contact(record, now)
        if len(bucket.contacts) >= self._k:
            oldest = next(iter(bucket.contacts.values()))
            if not oldest.failures:
                self._wait(bucket, contact)
                return False
            del bucket.contacts[oldest.record.subject]
            self._wait(bucket, oldest)
        bucket.contacts[node] = contact
        return True

    def failed(self, node: NodeId) -> None:
        """`node` did not answer a query: after some of that it goes, as the constants say."""
        bucket = self._buckets.get(self._index(node))
        if bucket is None:
            return
        contact = bucket.contacts.get(node)
        if contact is None:
            bucket.waiting.pop(node, None)
            return
        contact.failures += 1
        if contact.failures >= (MAX_FAILURES if bucket.waiting else MAX_STALE):
            self.remove(node)

    def remove(self, node: NodeId) -> None:
        """Drop `node`; the last heard of those that wait takes its place."""
        index = self._index(node)
        bucket = self._buckets.get(index)
        if bucket is None:
            return
        bucket.waiting.pop(node, None)
        if bucket.contacts.pop(node, None) is not None and bucket.waiting:
            heir, contact = bucket.waiting.popitem()
            bucket.contacts[heir] = contact
        if not bucket.contacts:
            del self._buckets[index]

    def by_distance(self, target: int) -> Iterator[list[Contact]]:
        """All contacts in groups, each of them closer to the id `target` than all that follow.

        Let the ids of this node and the target differ first in bit b. Range b shares more bits
        with the target than this node does; the ranges below b all share as many as this node;
        and whoever is in a range i above b differs from the target first in bit i.
        """
        buckets = self._buckets
        away = (target ^ self._number).bit_length() - 1
        if away in buckets:
            yield list(buckets[away].contacts.values())
        indices = sorted(buckets)
        yield [c for i in indices if i < away for c in buckets[i].contacts.values()]
        for index in indices:
            if index > away:
                yield list(buckets[index].contacts.values())

    def refresh_target(self, rng: Random) -> NodeId:
        """A random id in the range of a random bucket, no closer than the closest that is used.

        Closer ranges are empty because nobody is there (section 2.3 refreshes what was not used).
        """
        if not self._buckets:
            return self._own
        index = rng.randint(min(self._buckets), BITS - 1)
        away = 1 << index | rng.getrandbits(index) if index else 1
        return NodeId((self._number ^ away).to_bytes(NODE_ID_SIZE, "big"))

    def estimate(self) -> int:
        """How many nodes there are, this one too, from how densely those near this one lie.

        Ranges that are not full hold all that were heard of them. With m contacts in the ranges
        closer than 2^i, where the first full one begins: n = 1 + m * 2^(128 - i). The standard
        deviation is about a quarter of n (m is 16 to 32).
        """
        full = [i for i, bucket in self._buckets.items() if len(bucket.contacts) >= self._k]
        first = min(full, default=BITS)
        near = sum(len(b.contacts) for i, b in self._buckets.items() if i < first)
        return max(len(self), near << BITS - first) + 1

    def _wait(self, bucket: _Bucket, contact: Contact) -> None:
        while len(bucket.waiting) >= self._k:
            del bucket.waiting[next(iter(bucket.waiting))]
        bucket.waiting[contact.record.subject] = contact

    def _index(self, node: NodeId) -> int:
        """0 for the closest range that another node can be in, 127 for the farther half."""
        return max(0, (self._number ^ int.from_bytes(node, "big")).bit_length() - 1)
