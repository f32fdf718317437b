"""The newest record of every subject and kind, and a digest that two nodes can compare.

The digest is the XOR of 64 bits per record, in `BUCKETS` parts by the first 7 bits of the subject,
kept up to date at every change. XOR is forgeable, so an equal digest is a hint, not a proof: the
parts are compared from time to time though the whole agrees.

A quarantined record counts in it by its sequence alone: those who hold the one and those who hold
the other agree, once they know the proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gossip.ids import MAX_JUMP, NodeId
from gossip.items import Equivocation
from gossip.messages import BUCKETS
from gossip.records import LASTING_KINDS, LOCAL_KINDS, Record, RecordKind

MAX_PROOFS: Final = 1024
"""Proofs of equivocation that are kept; further ones are refused."""


class RecordStore:
    """Bounded by `limit` subjects of at most 16 kinds each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._records: dict[NodeId, dict[int, Record]] = {}
        self._hidden: dict[NodeId, bool] = {}
        self._forgotten: dict[NodeId, dict[int, int]] = {}
        self._proofs: dict[tuple[NodeId, int], Equivocation] = {}
        """Each of the very sequence of the record that is held."""
        self._subjects: list[dict[NodeId, bool]] = [{} for _ in range(BUCKETS)]
        self._hashes = [0] * BUCKETS
        self._global_hashes = [0] * BUCKETS
        self._size = 0
        self.digest = 0
        self.global_digest = 0
        """The same, without the kinds that only neighbours of a subject may hold."""
        self.changes = 0
        """Counts every record taken in: two equal readings mean nothing new came between."""

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Record]:
        for kinds in self._records.values():
            yield from kinds.values()

    def get(self, subject: NodeId, kind: int) -> Record | None:
        """The newest record held."""
        kinds = self._records.get(subject)
        return kinds.get(kind) if kinds else None

    def of(self, subject: NodeId) -> list[Record]:
        """All records of one subject, by kind."""
        kinds = self._records.get(subject, {})
        return [kinds[kind] for kind in sorted(kinds)]

    def has_room(self, subject: NodeId) -> bool:
        """Whether a record of `subject` can be taken in."""
        return subject in self._records or len(self._records) < self._limit

    def outdated(self, subject: NodeId, kind: int, sequence: int) -> bool:
        """Whether such a record was held once, and forgotten for its age."""
        known = self._forgotten.get(subject)
        return known is not None and sequence <= known.get(kind, -1)

    def put(self, record: Record) -> None:
        """Take in a record that supersedes what is held."""
        subject = record.subject
        if subject in self._hidden:
            del self._hidden[subject]
            self._toggle(subject, self._fleeting(subject))
        if record.kind == RecordKind.MEMBER:
            self._forgotten.pop(subject, None)
        kinds = self._records.setdefault(subject, {})
        held = kinds.get(record.kind)
        if held is not None:
            self._toggle(subject, [held])
            if record.sequence > held.sequence:
                self._proofs.pop((subject, record.kind), None)
        self._toggle(subject, [record])
        kinds[record.kind] = record
        self._size += held is None
        self._subjects[_bucket(subject)][subject] = True
        self.changes += 1

    def leaps(self, subject: NodeId, kind: int, sequence: int) -> bool:
        """Whether `sequence` is so far above what is known that it is not to be believed."""
        held = self.get(subject, kind)
        known = self._forgotten.get(subject, {}).get(kind, 0) if held is None else held.sequence
        return sequence > known + MAX_JUMP

    def quarantine(self, proof: Equivocation) -> bool:
        """Take in a verified proof about the record that is held; whether there was room."""
        subject, kind = proof.subject, proof.kind
        held = self._records[subject][kind]
        if len(self._proofs) >= MAX_PROOFS:
            return False
        hidden = subject in self._hidden and kind not in LASTING_KINDS
        changed = [] if hidden else [held]
        self._toggle(subject, changed)
        self._proofs[subject, kind] = proof
        self._toggle(subject, changed)
        self.changes += 1
        return True

    def quarantined(self, subject: NodeId, kind: int) -> bool:
        """Whether the record that is held is proved to be one of two."""
        return (subject, kind) in self._proofs

    def proof(self, subject: NodeId, kind: int) -> Equivocation | None:
        """The proof of that."""
        return self._proofs.get((subject, kind))

    @property
    def proofs(self) -> int:
        """How many proofs are held."""
        return len(self._proofs)

    def rank(self, record: Record) -> tuple[int, bool, bytes]:
        """What decides which of two records is the newer, as far as a listing tells it."""
        void = self.quarantined(record.subject, record.kind)
        return record.sequence, void, bytes(4) if void else record.signature[:4]

    def hide(self, subject: NodeId) -> None:
        """Keep what is held of `subject`, but offer nobody any of it but what must last."""
        if subject in self._records and subject not in self._hidden:
            fleeting = self._fleeting(subject)
            self._toggle(subject, fleeting)
            self._hidden[subject] = True
            if len(fleeting) == len(self._records[subject]):
                del self._subjects[_bucket(subject)][subject]

    def forget(self, subject: NodeId) -> None:
        """Drop what is held of `subject`, except what must last; remember how far it had come."""
        if subject not in self._records:
            return
        if subject in self._hidden:
            del self._hidden[subject]
            self._toggle(subject, self._fleeting(subject))
        kinds = self._records[subject]
        gone = [record for record in kinds.values() if record.kind not in LASTING_KINDS]
        self._toggle(subject, gone)
        for record in gone:
            del kinds[record.kind]
            self._proofs.pop((subject, record.kind), None)
        self._size -= len(gone)
        self._subjects[_bucket(subject)].pop(subject, None)
        if kinds:
            self._subjects[_bucket(subject)][subject] = True
        else:
            del self._records[subject]
        before = self._forgotten.pop(subject, {})
        while len(self._forgotten) >= self._limit:
            del self._forgotten[next(iter(self._forgotten))]
        self._forgotten[subject] = before | {record.kind: record.sequence for record in gone}

    def release(self, subject: NodeId) -> None:
        """Drop what only neighbours of `subject` keep; it may come again."""
        kinds = self._records.get(subject, {})
        gone = [kinds[kind] for kind in LOCAL_KINDS if kind in kinds]
        if subject not in self._hidden:
            self._toggle(subject, gone)
        for record in gone:
            del kinds[record.kind]
            self._proofs.pop((subject, record.kind), None)
        self._size -= len(gone)
        if not kinds:
            self._records.pop(subject, None)
            self._hidden.pop(subject, None)
            self._subjects[_bucket(subject)].pop(subject, None)

    def drop(self, subject: NodeId, kind: int) -> None:
        """Drop one record whose time is over."""
        kinds = self._records.get(subject, {})
        record = kinds.get(kind)
        if record is None:
            return
        if subject not in self._hidden or kind in LASTING_KINDS:
            self._toggle(subject, [record])
        del kinds[kind]
        self._proofs.pop((subject, kind), None)
        self._size -= 1
        if not kinds:
            del self._records[subject]
            self._hidden.pop(subject, None)
            self._subjects[_bucket(subject)].pop(subject, None)

    def hashes(self, only_global: bool = False) -> tuple[int, ...]:
        """The digest's parts; 0 where nothing is held."""
        return tuple(self._global_hashes if only_global else self._hashes)

    def offered(self, low: bytes, high: bytes, only_global: bool = False) -> Iterator[Record]:
        """What is offered of subjects from `low` to `high`, by subject, then kind."""
        for bucket in range(_bucket(low), _bucket(high) + 1):
            for subject in sorted(node for node in self._subjects[bucket] if low <= node <= high):
                for record in self.of(subject):
                    if only_global and record.kind in LOCAL_KINDS:
                        continue
                    if subject not in self._hidden or record.kind in LASTING_KINDS:
                        yield record

    def _fleeting(self, subject: NodeId) -> list[Record]:
        """What is hidden, and forgotten, with the subject."""
        return [record for record in self.of(subject) if record.kind not in LASTING_KINDS]

    def _toggle(self, subject: NodeId, changed: list[Record]) -> None:
        bucket = _bucket(subject)
        for record in changed:
            value = record.digest(self.quarantined(record.subject, record.kind))
            self._hashes[bucket] ^= value
            self.digest ^= value
            if record.kind not in LOCAL_KINDS:
                self._global_hashes[bucket] ^= value
                self.global_digest ^= value


def _bucket(subject: bytes) -> int:
    return subject[0] >> 1


def bucket_range(first: int, last: int) -> tuple[bytes, bytes]:
    """The lowest and the highest subject of the buckets from `first` to `last`."""
    return bytes((first << 1,)) + bytes(15), bytes((last << 1 | 1,)) + b"\xff" * 15
