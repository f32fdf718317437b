"""What dissemination missed: two nodes compare what they hold, and each sends what the other lacks.

Every ACK carries a digest of all records. When it differs from ours, and our own news has been
told, we send the hashes of our buckets; the exchange that follows is drawn in `messages`. Where
telling takes long, as when the halves of a large mesh meet again, we compare meanwhile what is for
everyone to keep: a revocation does not wait for news of a thousand members. Idle
cost is 8 bytes per ACK, whatever the number of records. All answers are bounded by `sync_burst`
messages each and `sync_rate` messages per second in all, a quarter of that to one node; what did
not fit shows in the next digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from gossip import messages
from gossip.core import Core
from gossip.ids import NodeId
from gossip.items import MAX_ITEMS, encode_item
from gossip.messages import BUCKETS, Ack, Buckets, Entries, Entry, Ping, Records, Want
from gossip.quota import Quota
from gossip.records import Record, RecordKind
from gossip.store import bucket_range
from gossip.timers import Timer

SETTLED_AFTER: Final = 6
"""Digests in a row that equal ours, before what we have to tell is taken to be known."""

JOINED_AFTER: Final = 3
"""The same, before a joiner takes its view to be whole: where many join at once, two may well agree
because both lack the same record."""

PEER_SHARE: Final = 4
"""One node gets one in so many of the messages that answer comparisons, for long; half a second's
at once, since a joiner lacks everything."""

JOINING_PERIODS: Final = 15
"""Probe periods after which a joiner that agreed with nobody compares no more than others do."""


class Synchroniser:
    """Begins comparisons, and answers those of others."""

    def __init__(self, core: Core, now: float) -> None:
        self._core = core
        self._interval = core.config.sync_interval
        self._longest = core.config.sync_interval_max
        self._next_at = now
        self._compared_at = now
        """When this node last showed its hashes because digests differed."""
        self._learned = 0
        self._matches = 0
        self._matched_at = -1
        self._agreeing: dict[NodeId, bool] = {}
        """Whose digests those were: one node alone could say what it likes."""
        self._tokens = float(core.config.sync_rate)
        self._tokens_at = now
        rate = core.config.sync_rate
        self._quota = Quota(max(1.0, rate / 2), rate / PEER_SHARE, core.config.max_members)
        self.joining = False
        """Until what we hold agreed with some others, comparisons are frequent."""
        self._joining_until = now

    def begin_joining(self, now: float) -> None:
        """Compare often, and spread nothing of what is learnt so: it is old to all others."""
        self.joining = True
        self._joining_until = now + JOINING_PERIODS * self._core.config.probe_period
        self._core.timers.schedule(Timer.SYNC, now + self._core.config.sync_join_interval)

    def on_digest(self, ack: Ack, sender: NodeId, now: float) -> None:
        """The digest that came with an ACK."""
        core = self._core
        if core.partial and not ack.only_global:
            return  # its sender does not know yet that we hold less
        if ack.digest == (core.store.global_digest if ack.only_global else core.store.digest):
            self._interval = core.config.sync_interval
            if core.partial or not ack.only_global:
                self._agree(sender)
            self.joining = self.joining and not self._agreed(JOINED_AFTER)
            return
        pause = core.config.sync_interval
        if len(core.news) and now < self._next_at + 2 * pause:
            if now >= self._compared_at + pause:
                self._compared_at = now
                core.counters.syncs += 1
                self._show(sender, only_global=True)
        elif now >= self._next_at:
            self._begin(sender, now)

    def learned(self, records: int) -> None:
        """So many records that we lacked came by comparison, not as news."""
        self._learned += records

    def on_timer(self, now: float) -> None:
        """Compare with somebody though no digest asked for it."""
        core = self._core
        self.joining = self.joining and now < self._joining_until
        partner = core.members.sample(1, core.rng)
        if partner:
            self._begin(partner[0], now)
        pause = core.config.sync_join_interval if self.joining else core.config.sync_interval_max
        core.timers.schedule(Timer.SYNC, now + pause)

    def greet(self, node: NodeId) -> None:
        """Show what we hold, and ask for an ACK with the digest of what the other holds."""
        core = self._core
        core.counters.syncs += 1
        own = core.store.get(core.identity, RecordKind.MEMBER)
        core.send(node, Ping(0), [core.record_item(own)] if own is not None else [])
        self._show(node)

    def _show(self, node: NodeId, only_global: bool = False) -> None:
        """Send our hashes, of what both sides keep, or of what all keep."""
        core = self._core
        peer = core.members.get(node)
        only_global = only_global or core.partial or (peer is not None and peer.partial)
        core.send(node, Buckets(core.store.hashes(only_global), only_global))

    def on_buckets(self, buckets: Buckets, sender: NodeId, now: float) -> None:
        """List what we hold where the sender holds something else."""
        store, only_global = self._core.store, buckets.only_global
        if self._core.partial and not only_global:
            self._show(sender)
            return
        if not self._has_token(sender, now):
            return
        ours = store.hashes(only_global)
        differing = [i for i in range(BUCKETS) if ours[i] != buckets.hashes[i]]
        if not differing:
            return
        turn = self._core.rng.randrange(len(differing))
        budget = self._core.config.sync_burst
        lacking: list[Record] = []
        size = 0
        for bucket in differing[turn:] + differing[:turn]:
            held = list(store.offered(*bucket_range(bucket, bucket), only_global))
            if buckets.hashes[bucket]:
                budget -= self._list(bucket, held, only_global, sender, budget, now)
            else:
                lacking += held
                size += sum(record.size for record in held)
            if budget <= 0:
                return
            if size >= budget * self._core.config.packet_size:
                break  # more than may be sent: the rest shows in the next digest
        self._push(lacking, sender, budget, now)

    def on_entries(self, listing: Entries, sender: NodeId, now: float) -> None:
        """Ask for what we lack of a listing, and send what it lacks."""
        core = self._core
        if (core.partial and not listing.only_global) or not self._has_token(sender, now):
            return
        listed = {(entry.subject, entry.kind): entry for entry in listing.entries}
        wanted: list[tuple[int, NodeId]] = []
        for entry in listing.entries:
            held = core.store.get(entry.subject, entry.kind)
            if core.store.leaps(entry.subject, entry.kind, entry.sequence):
                continue
            if held is None:
                if not core.store.outdated(entry.subject, entry.kind, entry.sequence):
                    wanted.append((entry.kind, entry.subject))
            elif entry.rank > core.store.rank(held):
                wanted.append((entry.kind, entry.subject))
        newer: list[Record] = []
        size = 0
        for record in core.store.offered(listing.low, listing.high, listing.only_global):
            other = listed.get((record.subject, record.kind))
            if other is None or core.store.rank(record) > other.rank:
                newer.append(record)
                size += record.size
            if size >= core.config.sync_burst * core.config.packet_size:
                break
        if wanted and self._take_token(sender, now):
            room = (core.config.packet_size - messages.HEADER_SIZE) // messages.KEY_SIZE
            core.send(sender, Want(tuple(wanted[:room])))
        self._push(newer, sender, core.config.sync_burst, now)

    def on_want(self, want: Want, sender: NodeId, now: float) -> None:
        """Send the records that were asked for, as far as we hold them."""
        store = self._core.store
        held = [store.get(subject, kind) for kind, subject in dict.fromkeys(want.keys)]
        found = [record for record in held if record is not None]
        self._push(found, sender, self._core.config.sync_burst, now)

    def _begin(self, partner: NodeId, now: float) -> None:
        core = self._core
        if self.joining:
            self._interval = core.config.sync_join_interval
            self.greet(partner)
        else:
            # What brought something may have more to bring; what brought nothing may never.
            longer = max(core.config.sync_interval, min(self._interval * 2, self._longest))
            self._interval = 2 * core.config.sync_join_interval if self._learned else longer
            core.counters.syncs += 1
            self._show(partner)
        self._learned = 0
        self._compared_at = now
        self._next_at = now + self._interval

    def _agree(self, sender: NodeId) -> None:
        """Enough others in a row hold the very same: then our news of records is old to all."""
        core = self._core
        if self._matched_at != core.store.changes:
            self._matched_at, self._matches = core.store.changes, 0
            self._agreeing.clear()
        self._matches += 1
        if len(self._agreeing) < SETTLED_AFTER:
            self._agreeing[sender] = True
        if len(core.news) and self._agreed(SETTLED_AFTER):
            core.drop_record_news()

    def _agreed(self, count: int) -> bool:
        """Whether so many digests in a row equalled ours, of so many others where there are."""
        others = min(count, self._core.members.live)
        return self._matches >= count and len(self._agreeing) >= others

    def _list(
        self,
        bucket: int,
        held: list[Record],
        only_global: bool,
        to: NodeId,
        budget: int,
        now: float,
    ) -> int:
        """Send a bucket's listing in pages that end between subjects; how many were sent."""
        room = self._core.config.packet_size - messages.HEADER_SIZE - messages.RANGE_SIZE
        low, last = bucket_range(bucket, bucket)
        pages: list[list[Entry]] = [[]]
        for _, group in _by_subject(held):
            entries = [self._entry(record) for record in group]
            if (len(pages[-1]) + len(entries)) * messages.ENTRY_SIZE > room:
                pages.append([])
            pages[-1] += entries
        for sent, page in enumerate(pages):
            if sent == budget or not self._take_token(to, now):
                return budget
            is_last = sent == len(pages) - 1
            high = last if is_last else bytes(page[-1].subject)
            self._core.send(to, Entries(low, high, tuple(page), only_global))
            low = (int.from_bytes(high, "big") + 1).to_bytes(17, "big")[1:]
        return len(pages)

    def _push(self, held: Iterable[Record], to: NodeId, budget: int, now: float) -> int:
        """Send records, as many to a message as fit, and proofs; how many messages were sent."""
        core = self._core
        room = core.config.packet_size - messages.HEADER_SIZE
        sent, items, size = 0, list[bytes](), 0
        for item in self._items(held):
            if size + len(item) > room or len(items) == MAX_ITEMS:
                if sent == budget or not self._take_token(to, now):
                    return budget
                core.send(to, Records(), items)
                sent, items, size = sent + 1, [], 0
            items.append(item)
            size += len(item)
        if items and sent < budget and self._take_token(to, now):
            core.send(to, Records(), items)
            sent += 1
        return sent

    def _items(self, held: Iterable[Record]) -> Iterator[bytes]:
        """The records as items; what is quarantined with the proof behind it."""
        for record in sorted(held, key=_admission_order):
            yield self._core.record_item(record)
            proof = self._core.store.proof(record.subject, record.kind)
            if proof is not None:
                yield encode_item(proof)

    def _entry(self, record: Record) -> Entry:
        sequence, void, tag = self._core.store.rank(record)
        return Entry(record.kind, record.subject, sequence, tag, void)

    def _has_token(self, node: NodeId, now: float) -> bool:
        """Whether `node` may be answered now; if not, looking for what would cost time."""
        rate = self._core.config.sync_rate
        self._tokens = min(rate, self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        return self._tokens >= 1 and self._quota.left(node, now) >= 1

    def _take_token(self, node: NodeId, now: float) -> bool:
        if not self._has_token(node, now):
            return False
        self._quota.take(node, now)
        self._tokens -= 1
        return True


def _admission_order(record: Record) -> tuple[NodeId, bool, int]:
    """A subject's MEMBER record goes last: what makes the subject admissible arrives before it."""
    return record.subject, record.kind == RecordKind.MEMBER, record.kind


def _by_subject(held: list[Record]) -> list[tuple[NodeId, list[Record]]]:
    groups: dict[NodeId, list[Record]] = {}
    for record in held:
        groups.setdefault(record.subject, []).append(record)
    return list(groups.items())
