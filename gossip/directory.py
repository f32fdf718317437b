"""Who answers for a key: an index of the records held, and what others stored here.

A key is 16 bytes: a node id, or the hash of a name or an address (`Authority.keys` says which of
them a CERTIFICATE record proves its subject to own). The nodes closest to a key keep its bundles
for everyone; a bundle is the subject's MEMBER record and the CERTIFICATE record that entitles it.
Where two subjects own one key, every node prefers the lower id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gossip.ids import NodeId
from gossip.records import Record, RecordKind

if TYPE_CHECKING:
    from gossip.authority import Authority

MAX_PER_KEY: Final = 4
"""Subjects of one key: only certificates that contradict each other make more than one."""

MAX_KEYS: Final = 4096
"""Keys kept for others: k of N nodes keep each, so this is enough for 16 keys of 16 * N / k."""

MAX_HALVES: Final = 256
"""Bundles of which one record has come, and the other is awaited."""

CACHE_SHARE: Final = 8
"""A cached copy is kept for this part of the time of one that its subject stored."""

MAX_KEYS_OF_ONE: Final = 16
"""Keys of one record that are looked at."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A subject's MEMBER record, and the CERTIFICATE record if there is one."""

    member: Record
    certificate: Record | None = None

    @property
    def subject(self) -> NodeId:
        """Whom it is about."""
        return self.member.subject

    @property
    def records(self) -> tuple[Record, ...]:
        """What makes the subject believed first, then where it is."""
        return (self.member,) if self.certificate is None else (self.certificate, self.member)


def keys_of(authority: Authority, certificate: Record) -> tuple[bytes, ...]:
    """The lookup keys that a CERTIFICATE record proves, each once; not its subject's own id."""
    if certificate.withdrawn:
        return ()
    return tuple(dict.fromkeys(authority.keys(certificate)))[:MAX_KEYS_OF_ONE]


def entitled(authority: Authority, key: bytes, bundle: Bundle) -> bool:
    """Whether a bundle of verified records may answer for `key`."""
    if key == bundle.subject:
        return True
    certificate = bundle.certificate
    if certificate is None or certificate.subject != bundle.subject:
        return False
    return key in keys_of(authority, certificate)


def assemble(records: Iterable[Record]) -> list[Bundle]:
    """The newest whole bundles that these records make, by subject."""
    found: dict[NodeId, dict[int, Record]] = {}
    for record in records:
        kinds = found.setdefault(record.subject, {})
        held = kinds.get(record.kind)
        if held is None or record.supersedes(held):
            kinds[record.kind] = record
    return [
        Bundle(kinds[RecordKind.MEMBER], kinds.get(RecordKind.CERTIFICATE))
        for _, kinds in sorted(found.items())
        if RecordKind.MEMBER in kinds
    ]


class KeyIndex:
    """Which subjects own a key, by the CERTIFICATE records that this node holds."""

    def __init__(self) -> None:
        self._owners: dict[bytes, dict[NodeId, bool]] = {}
        self._keys: dict[NodeId, tuple[bytes, ...]] = {}

    def put(self, subject: NodeId, keys: tuple[bytes, ...]) -> None:
        """`subject` now owns these keys, and no others."""
        self.drop(subject)
        if keys:
            self._keys[subject] = keys
        for key in keys:
            self._owners.setdefault(key, {})[subject] = True

    def drop(self, subject: NodeId) -> None:
        """Nothing is held of `subject` any more."""
        for key in self._keys.pop(subject, ()):
            owners = self._owners[key]
            owners.pop(subject, None)
            if not owners:
                del self._owners[key]

    def owners(self, key: bytes) -> list[NodeId]:
        """Whose `key` it is, the lowest id first."""
        return sorted(self._owners.get(key, ()))


@dataclass(slots=True)
class _Stored:
    bundle: Bundle
    expires_at: float
    sender: NodeId
    """Who stored it here."""


class Directory:
    """Bundles that others stored at this node, within bounds, each for a limited time."""

    def __init__(self, authority: Authority, expire_after: float) -> None:
        self._authority = authority
        self._expire_after = expire_after
        self._stored: dict[bytes, dict[NodeId, _Stored]] = {}
        self._halves: dict[tuple[bytes, NodeId], dict[int, Record]] = {}

    def __len__(self) -> int:
        return len(self._stored)

    def offer(
        self, key: bytes, records: list[Record], cached: bool, sender: NodeId, now: float
    ) -> bool:
        """Verified records of one subject, for `key`, from `sender`; whether a bundle is now kept.

        A bundle may come in two parts, in any order: the first is set aside for the second.
        """
        if not records or any(record.subject != records[0].subject for record in records):
            return False
        subject = records[0].subject
        held = self._stored.get(key, {}).get(subject)
        half = self._halves.pop((key, subject), {})
        known = [*half.values(), *(held.bundle.records if held else ()), *records]
        bundles = assemble(known)
        if not bundles or not entitled(self._authority, key, bundles[0]):
            if held is not None:
                del self._stored[key][subject]  # its newest certificate no longer holds the key
            elif not bundles or bundles[0].certificate is None:
                self._set_aside(key, subject, known)
            return False
        share = self._expire_after / (CACHE_SHARE if cached else 1)
        return self._keep(key, _Stored(bundles[0], now + share, sender), held)

    def values(self, key: bytes, now: float) -> list[Bundle]:
        """What is kept for `key`, the lowest subject first; those who left are no answer."""
        kept = self._stored.get(key)
        if kept is None:
            return []
        for subject in [s for s, stored in kept.items() if stored.expires_at <= now]:
            del kept[subject]
        if not kept:
            del self._stored[key]
        return [
            stored.bundle
            for _, stored in sorted(kept.items())
            if not stored.bundle.member.withdrawn
        ]

    def expire(self, now: float) -> None:
        """Drop what is too old."""
        for key in list(self._stored):
            self.values(key, now)

    def _keep(self, key: bytes, stored: _Stored, held: _Stored | None) -> bool:
        kept = self._stored.pop(key, {})
        if held is not None and held.bundle == stored.bundle:
            stored.expires_at = max(stored.expires_at, held.expires_at)
        subject = stored.bundle.subject
        kept[subject] = stored
        if len(kept) > MAX_PER_KEY:
            del kept[max(kept)]
        while len(self._stored) >= MAX_KEYS:
            self._evict()
        self._stored[key] = kept
        return subject in kept

    def _evict(self) -> None:
        """Drop the oldest key of whoever stored the most here.

        Ids are free for all to make, so who stores very many is to push out no more than its own.
        """
        senders = {
            key: [stored.sender for stored in kept.values()] for key, kept in self._stored.items()
        }
        counts = Counter(sender for found in senders.values() for sender in found)
        most = max(counts.values(), default=0)
        for key, found in senders.items():
            if not found or any(counts[sender] == most for sender in found):
                del self._stored[key]
                return

    def _set_aside(self, key: bytes, subject: NodeId, records: list[Record]) -> None:
        """Only the newest of each kind, and only those two that make a bundle."""
        kinds: dict[int, Record] = {}
        for record in records:
            other = kinds.get(record.kind)
            if other is None or record.supersedes(other):
                kinds[record.kind] = record
        while len(self._halves) >= MAX_HALVES:
            del self._halves[next(iter(self._halves))]
        self._halves[key, subject] = kinds
