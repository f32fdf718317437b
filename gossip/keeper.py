"""The answering side of lookups: says who is close to a key, and keeps what others store for it.

FIND(key)  -> FOUND: what is known to answer for the key, then the closest contacts to it
STORE(key) -> the bundle is kept in the directory, for a time
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossip import messages
from gossip.core import Core
from gossip.directory import Bundle
from gossip.ids import NodeId
from gossip.items import paged
from gossip.queries import MAX_PAGES, MAX_PARTS, STORE_SIZE, Find, Found, Store
from gossip.quota import Quota
from gossip.records import Record, RecordKind

QUERY_BURST: Final = 64
"""Queries of one node that are served at once..."""

QUERY_RATE: Final = 16.0
"""...and per second after that; the rest is dropped."""


class Keeper:
    """Answers the lookups of others, out of all that one node knows."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._quota = Quota(QUERY_BURST, QUERY_RATE, core.config.max_members)
        self.own_keys: tuple[bytes, ...] = ()
        """Keys of this node itself, beside its id."""

    def on_find(self, find: Find, records: Sequence[Record], sender: NodeId, now: float) -> None:
        """Answer with what is known of the target, and with the closest contacts to it."""
        core = self._core
        self._introduced(records, sender, now)
        if not self._quota.take(sender, now):
            core.counters.refuse("query-quota")
            return
        values = [r for bundle in self.known(find.target, now) for r in bundle.records]
        pages = self.pack(values, MAX_PARTS - MAX_PAGES)
        told = {record.subject for record in values if record.kind == RecordKind.MEMBER}
        nearest = [
            record
            for record in core.contacts.closest(find.target, core.config.kademlia_k + 1)
            if record.subject != sender and record.subject not in told
        ]
        pages += self.pack(nearest, 1 if values else find.pages)
        for index, items in enumerate(pages or [[]]):
            core.send(sender, Found(find.nonce, index, max(1, len(pages))), items)

    def on_store(self, store: Store, records: Sequence[Record], sender: NodeId, now: float) -> None:
        """Keep a bundle, or half of one, for a key."""
        core = self._core
        self._introduced(records, sender, now)
        if not self._quota.take(sender, now):
            core.counters.refuse("query-quota")
        elif all(record.subject != core.identity for record in records):
            core.directory.offer(store.key, list(records), store.cached, sender, now)

    def known(self, key: bytes, now: float) -> list[Bundle]:
        """What this node knows at once: of itself, of live members, of what was stored here."""
        core = self._core
        owners = [NodeId(key), *core.keys.owners(key)]
        if key in self.own_keys:
            owners.append(core.identity)
        found: dict[NodeId, Bundle] = {}
        for bundle in self._core.directory.values(key, now):
            found[bundle.subject] = bundle
        for node in owners:
            peer = core.members.get(node)
            if node == core.identity or (peer is not None and peer.is_live):
                held = self.held(node)
                if held is not None and not held.member.withdrawn:
                    found[node] = held
        return [found[node] for node in sorted(found)]

    def held(self, node: NodeId) -> Bundle | None:
        """What is held of `node`, whether it lives or not."""
        store = self._core.store
        member = store.get(node, RecordKind.MEMBER)
        if member is None:
            return None
        return Bundle(member, store.get(node, RecordKind.CERTIFICATE))

    def pack(self, records: Sequence[Record], limit: int) -> list[list[bytes]]:
        """Items by message: as many to each as fit, at most `limit` messages."""
        core = self._core
        room = core.config.packet_size - messages.HEADER_SIZE - STORE_SIZE
        return paged(map(core.record_item, records), room, limit)

    def _introduced(self, records: Sequence[Record], sender: NodeId, now: float) -> None:
        """A sender that shows its own MEMBER record is a contact from now on."""
        contacts = self._core.contacts
        for record in records:
            if record.kind == RecordKind.MEMBER:
                contacts.hint(record)
                if record.subject == sender:
                    contacts.heard(sender, now)
