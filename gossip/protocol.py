"""The gossip of one node: SWIM with Lifeguard, signed records, anti-entropy. Composes the parts.

    receive(message) -+                    +-> prober       who is there
    handle_timer -----+-> GossipProtocol --+-> suspects     who may be dead, and who is
    publish, join ----+        |           +-> intake       records and accusations of others
                               |           +-> own          this node's records
                               |           +-> sync         what dissemination missed
                               |           +-> keeper       what others ask for, and store
                               |           +-> resolver     who answers for a key
                               |           +-> views        who is a neighbour
                               v           +-> healer       seeds, the dead, the lost
                            drain(): list[Output]

Three kinds of input drive it: a message, a deadline, a call. Time is an argument (monotonic
seconds), choices come from the `Random` that is handed in: equal inputs give equal outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from gossip import messages, records, statistics
from gossip.antientropy import Synchroniser
from gossip.authority import Authority
from gossip.config import GossipConfig
from gossip.coordinates import Coordinate
from gossip.core import Core
from gossip.errors import GossipError
from gossip.events import Output, Wakeup
from gossip.healing import Healer
from gossip.ids import KEY_SIZE, NODE_ID_SIZE, NodeId
from gossip.intake import Intake
from gossip.items import Item
from gossip.keeper import Keeper
from gossip.members import Member, MemberState, Peer
from gossip.messages import Envelope, Gossip, Records
from gossip.own import OwnRecords
from gossip.probing import Prober
from gossip.queries import CARRIERS, Found
from gossip.records import LASTING_KINDS, Record, RecordKind
from gossip.resolver import Resolver
from gossip.statistics import GossipStatistics
from gossip.suspects import Suspects
from gossip.switch import Switch
from gossip.timers import Timer
from gossip.views import Views

MAX_TIMERS: Final = 256
"""Deadlines served by one `handle_timer`; the rest are due at once again."""

_REASONS: Final = {timer: timer.value for timer in Timer}

_FAREWELLS: Final = 16
"""Members who are told at once that this node leaves."""


class GossipProtocol:
    """Inputs are calls, outputs are what `drain()` returns; drain after every input.

    `identity` and `key` are this node's own; `key` (32 bytes) is opaque here. `first_sequence` is
    one more than the last `SequenceChanged` of an earlier life, or 1: if that was lost, others
    hold this node's newer records and show them, and it goes on above those.
    """

    def __init__(
        self,
        identity: NodeId,
        key: bytes,
        config: GossipConfig,
        authority: Authority,
        rng: Random,
        now: float,
        first_sequence: int,
    ) -> None:
        if len(identity) != NODE_ID_SIZE or len(key) != KEY_SIZE:
            raise ValueError(f"an identity has {NODE_ID_SIZE} bytes, a key {KEY_SIZE}")
        if first_sequence < 1:
            raise ValueError("sequences begin at 1")
        core = Core(identity, key, config, authority, rng)
        self._core = core
        self._prober = Prober(core)
        self._suspects = Suspects(core, self._prober)
        self._own = OwnRecords(core, first_sequence)
        self._intake = Intake(core, self._own, self._prober, self._suspects)
        self._sync = Synchroniser(core, now)
        self._healer = Healer(core, self._sync, now)
        self._keeper = Keeper(core)
        self._resolver = Resolver(core, self._keeper, now)
        self._views = Views(core, self._intake, self._suspects, self._resolver, now)
        self._switch = Switch(
            core,
            self._prober,
            self._suspects,
            self._own,
            self._sync,
            self._healer,
            self._keeper,
            self._resolver,
            self._views,
        )
        self.next_deadline = core.timers.next_at
        """The time of `next_wakeup` alone, infinity for never: cheaper, for who has thousands of
        nodes."""
        self._has_left = False
        self._revivals = 0
        core.timers.schedule(Timer.PROBE, now + config.probe_period * rng.random())
        core.timers.schedule(Timer.SYNC, now + config.sync_interval_max * rng.random())

    # Inputs

    def receive(self, message: bytes, sender: NodeId, now: float) -> None:
        """A message that `sender` is proved to have sent. Raises `GossipError`.

        Where it raises, nothing but a counter changed, and the sender misbehaves: honest nodes
        verify before they pass on.
        """
        core = self._core
        try:
            if sender == core.identity:
                raise GossipError("own-message")
            envelope = messages.decode(message)
            sequence, body, told = envelope
            items: Sequence[Item] = ()
            carried: Sequence[Record] = ()
            if told and isinstance(body, CARRIERS):
                carried = self._carried(envelope, sender, now)
            elif told:
                items = self._intake.verify(told)
        except GossipError as error:
            core.counters.refuse(error.reason)
            raise
        counters = core.counters
        counters.messages_received += 1
        counters.bytes_received += len(message)
        if self._has_left:
            return
        if items:
            compared = isinstance(body, Records)
            changes = core.store.changes
            self._intake.apply(items, now, spread=not (compared and self._sync.joining))
            if compared:
                self._sync.learned(core.store.changes - changes)
        peer = self._heard(sender, now)
        if peer is None or peer.sequence != sequence or peer.state is not MemberState.ALIVE:
            self._healer.met(sender, sequence, now)
        self._switch.message(body, carried, sender, now)
        if self._intake.revivals != self._revivals:
            self._welcome_revived(now)
        self._views.review(now)

    def handle_timer(self, now: float) -> None:
        """Do what is due. Early and late calls do no harm."""
        for _ in range(MAX_TIMERS):
            due = self._core.timers.pop_due(now)
            if due is None:
                break
            self._switch.deadline(due[1], due[0], due[2], now)
        if not self._has_left:
            self._views.review(now)

    def publish(self, kind: int, body: bytes, now: float) -> Record:
        """Sign, keep and spread this node's own record; every call uses a new sequence.

        Raises `GossipError` ("record-oversized", "record-malformed", "sequence-exhausted").
        """
        if kind in (RecordKind.MEMBER, RecordKind.CERTIFICATE):
            self._resolver.publish_soon(now)
        return self._own.publish(kind, body, now)

    def withdraw(self, kind: int, now: float) -> Record | None:
        """Replace this node's own record by its tombstone; None if there is nothing to replace."""
        held = self.record(self._core.identity, kind)
        if held is None or held.withdrawn:
            return None
        return self._own.publish(kind, b"", now, withdrawn=True)

    def join(self, seeds: Sequence[NodeId], now: float) -> None:
        """Contact these members at once, and again whenever they are none. They may be unknown."""
        self._healer.join(seeds, now)

    def restore(self, restored: Sequence[Record], now: float) -> None:
        """Records from disk. Their subjects are `DEAD` until somebody shows that they live.

        They are tried soon. A record that does not verify, or is not admitted, is left out.
        """
        for record in restored:
            if not self._verified(record):
                continue
            if record.subject == self._core.identity:
                self._own.resume_above(record.sequence)
            else:
                if record.kind == RecordKind.MEMBER:
                    self._core.contacts.hint(record)
                self._intake.record(record, MemberState.DEAD, now, spread=False)
        self._healer.begin_burst(now)

    def accept(self, record: Record, now: float, spread: bool = True) -> bool:
        """A record that came by another way, of a node that lives. Whether it is now held.

        Without `spread` it is no news to others: they are known to hold it.
        """
        if not self._verified(record):
            self._core.counters.refuse("record-signature")
            return False
        self._intake.record(record, MemberState.ALIVE, now, spread)
        if self._intake.revivals != self._revivals:
            self._welcome_revived(now)
        self._views.review(now)
        return self.record(record.subject, record.kind) == record

    def settle(
        self,
        neighbours: Sequence[Record],
        contacts: Sequence[Record],
        stored: Sequence[tuple[bytes, Sequence[Record]]],
        now: float,
    ) -> None:
        """Be partial, with a view that is settled: for simulations, which know all of it.

        `neighbours` are the records of those who take this node for one too, each CERTIFICATE
        before its MEMBER record; `contacts` MEMBER records of those heard; `stored` keys with what
        their owner stored here. All are verified, and of nodes that live.
        """
        for key, bundle in stored:
            self._core.directory.offer(key, list(bundle), False, bundle[0].subject, now)
        self._views.settle(neighbours, contacts, now)

    def heard(self, peer: NodeId, now: float) -> None:
        """Authenticated traffic of `peer` arrived: it lives. Cheap enough for every packet."""
        known = self._core.members.get(peer)
        if known is not None and not self._has_left:
            self._heard(peer, now)
            self._healer.remind(known, now)

    def lookup(self, key: bytes, now: float) -> None:
        """Find who owns a 16-byte key (`Authority.keys`, or a node's id): one `LookupDone` comes.

        At once where the answer is known here; else after a few round trips, at most
        `LOOKUP_TIMEOUTS` times `probe_timeout_max`. Calls for a key that is being looked up share
        its answer.
        """
        self._resolver.lookup(key, now)

    def announce(self, keys: Sequence[bytes], now: float) -> None:
        """This node's own keys, all of them, beside its id: others are to find it by these."""
        self._resolver.announce(keys, now)

    def leave(self, now: float) -> None:
        """Withdraw the MEMBER record and tell others; after that, only the telling goes on.

        The last messages come out of `drain()` here; `next_wakeup()` is None once all is told.
        """
        if self._has_left:
            return
        self.withdraw(RecordKind.MEMBER, now)
        self._has_left = True
        core = self._core
        core.timers.clear()
        for member in core.members.sample(_FAREWELLS, core.rng):
            core.send(member, Gossip(), news=True)
        core.wake_gossip(now)

    def discard(self, node: NodeId, kind: int) -> None:
        """Drop a record of another node's that means nothing any more, such as a lasting one whose
        time is over. From now on `Authority.admits` is to refuse it."""
        self._core.news.discard((kind, node))
        self._core.store.drop(node, kind)

    def expel(self, node: NodeId) -> None:
        """`node` is no member any more, whatever it says: forget it, and its records but those
        that last. From now on `Authority.admits` is to refuse them."""
        core = self._core
        for record in core.store.of(node):
            if record.kind not in LASTING_KINDS:
                core.news.discard((record.kind, node))
        core.forget(node)
        core.contacts.table.remove(node)
        if core.members.get(node) is not None:
            core.members.remove(node)

    # Outputs

    def next_wakeup(self) -> Wakeup | None:
        """When to call `handle_timer` next; ask again after every input."""
        following = self._core.timers.next()
        if following is None:
            return None
        return tuple.__new__(Wakeup, (following[0], _REASONS[following[1]]))

    def drain(self) -> list[Output]:
        """What is to be done, in order; each value comes out once."""
        outputs, self._core.outputs = self._core.outputs, []
        return outputs

    def members(self) -> Sequence[Member]:
        """All others that are known, without this node itself."""
        return [peer.snapshot() for peer in self._core.members]

    def states(self) -> dict[NodeId, MemberState]:
        """The state of each of them: for who asks often."""
        return {peer.id: peer.state for peer in self._core.members}

    def member(self, node: NodeId) -> Member | None:
        """One of them."""
        peer = self._core.members.get(node)
        return None if peer is None else peer.snapshot()

    def record(self, node: NodeId, kind: int) -> Record | None:
        """The newest record held, this node's own too; a withdrawn one is returned as such."""
        return self._core.store.get(node, kind)

    def contact(self, node: NodeId) -> Record | None:
        """The MEMBER record of a member, of a contact, or of one that somebody told of.

        `SendMessage` goes to such nodes only, and to seeds.
        """
        return self._core.contacts.record(node)

    def neighbours(self) -> list[NodeId]:
        """Whom news is told to: all live members in full view, a few in partial view."""
        return [node for node in self._core.members.live_ids() if self._core.tells(node)]

    @property
    def is_partial(self) -> bool:
        """Whether this node keeps a few neighbours only; once it does, it does so for ever."""
        return self._core.partial

    @property
    def coordinate(self) -> Coordinate:
        """Where this node lies in the space of round trips (see `coordinates`)."""
        return self._core.vivaldi.coordinate

    def distance(self, one: NodeId, other: NodeId | None = None) -> float | None:
        """The round trip to expect between two nodes, in seconds; `other` is this one by default.

        None where a place is not known: only those that answered a probe of ours told theirs. It
        is what they claim, so it may rank choices, and never makes them alone.
        """
        places = [self._place(one), self._place(self._core.identity if other is None else other)]
        if places[0] is None or places[1] is None:
            return None
        return places[0].distance(places[1])

    def _place(self, node: NodeId) -> Coordinate | None:
        vivaldi = self._core.vivaldi
        return vivaldi.coordinate if node == self._core.identity else vivaldi.of(node)

    def quarantined(self, node: NodeId, kind: int) -> bool:
        """Whether `node` is proved to have signed another record of this kind and sequence.

        Then what `record` returns is one of the two, and not to be acted upon.
        """
        return self._core.store.quarantined(node, kind)

    def records(self) -> list[Record]:
        """All records held, this node's own too."""
        return list(self._core.store)

    def statistics(self) -> GossipStatistics:
        """Numbers of now."""
        return statistics.gather(self._core)

    # Helpers

    def _verified(self, record: Record) -> bool:
        try:
            return records.verified(self._core.authority, record)
        except GossipError:
            return False

    def _heard(self, sender: NodeId, now: float) -> Peer | None:
        self._core.guard.heard()
        peer = self._core.members.get(sender)
        if peer is None:
            self._core.contacts.heard(sender, now)
            return None
        if now > peer.heard_at:
            peer.heard_at = now
        if peer.state is MemberState.DEAD:
            self._intake.prove(peer, now)
        return peer

    def _carried(self, envelope: Envelope, sender: NodeId, now: float) -> list[Record]:
        try:
            return self._intake.carried(envelope.items)
        except GossipError:
            if isinstance(envelope.body, Found):
                self._resolver.on_lie(envelope.body, sender, now)
            raise

    def _welcome_revived(self, now: float) -> None:
        """One of the dead is back: the others may be too."""
        self._revivals = self._intake.revivals
        self._healer.begin_burst(now)
