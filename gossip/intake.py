"""What comes from others: first all of it is verified, then all of it is applied."""

from __future__ import annotations

from collections.abc import Sequence

from gossip import records
from gossip.core import Core
from gossip.errors import GossipError
from gossip.events import MemberLeft, MemberUp, RecordChanged
from gossip.ids import NodeId
from gossip.items import Accusation, Equivocation, Item, RecordItem
from gossip.members import MemberState, Peer, state_after_record
from gossip.own import OwnRecords
from gossip.probing import Prober
from gossip.quarantine import Quarantine
from gossip.records import Record, RecordKind
from gossip.suspects import Suspects


class Intake:
    """Records and accusations, from wherever they come, become what this node knows."""

    def __init__(self, core: Core, own: OwnRecords, prober: Prober, suspects: Suspects) -> None:
        self._core = core
        self._own = own
        self._prober = prober
        self._suspects = suspects
        self._quarantine = Quarantine(core, own)
        self.revivals = 0
        """Counts members that this node had declared dead, and that came back."""

    def verify(self, items: Sequence[Item]) -> list[Item]:
        """Those of `items` that may be applied: verified now, or the same as what is held.

        Raises `GossipError` if a signature is wrong: no honest node passes such an item on. What
        is older than what is held is dropped unverified. Changes nothing but counters.
        """
        core = self._core
        good: list[Item] = []
        keys: dict[NodeId, bytes] = {core.identity: core.key}
        for item in items:
            if not isinstance(item, RecordItem):
                continue
            record = item.record
            if core.store.leaps(record.subject, record.kind, record.sequence):
                core.counters.refuse("sequence-jump")
                continue
            held = core.store.get(record.subject, record.kind)
            if held is None or record.supersedes(held) or self._clashes(held, record):
                if not records.verified(core.authority, record):
                    raise GossipError("record-signature")
                keys[record.subject] = record.key
            elif held != record:
                continue
            good.append(item)
        for item in items:
            if not isinstance(item, Accusation) or self._is_stale(item):
                continue
            key = keys.get(item.accuser) or self._key_of(item.accuser)
            if key is None:
                core.counters.refuse("accuser-unknown")
                continue
            if core.store.quarantined(item.accuser, RecordKind.MEMBER):
                core.counters.refuse("accuser-quarantined")
                continue
            message = item.signed_bytes(core.authority.domain)
            if not core.authority.verify(key, item.accuser, message, item.signature):
                raise GossipError("accusation-signature")
            good.append(item)
        return [*good, *self._quarantine.verify(items, good)]

    def carried(self, items: Sequence[Item]) -> list[Record]:
        """The records that a message about lookups or links carries, old ones too.

        Raises `GossipError` if a signature is wrong. Changes nothing.
        """
        core = self._core
        found = [item.record for item in items if isinstance(item, RecordItem)]
        for record in found:
            known = core.store.get(record.subject, record.kind)
            if record in (known, core.contacts.record(record.subject)):
                continue
            if not records.verified(core.authority, record):
                raise GossipError("record-signature")
        return found

    def apply(self, items: Sequence[Item], now: float, spread: bool) -> None:
        """Verified items, records first: a refutation must not come after what it refutes.

        Among them MEMBER records come last: others may be what makes their subject admissible.
        """
        found = [item for item in items if isinstance(item, RecordItem)]
        for told in sorted(found, key=lambda item: item.record.kind == RecordKind.MEMBER):
            self.record(told.record, told.state, now, spread)
        for item in items:
            if isinstance(item, Accusation):
                self._accusation(item, now)
            elif isinstance(item, Equivocation):
                self._quarantine.apply(item, now, spread)

    def record(self, record: Record, seen: MemberState, now: float, spread: bool) -> bool:
        """A verified record, whose subject its sender takes to be `seen`; whether it is new."""
        core = self._core
        held = core.store.get(record.subject, record.kind)
        if core.store.leaps(record.subject, record.kind, record.sequence):
            core.counters.refuse("sequence-jump")
            return False
        if not core.concerns(record):
            if record.kind == RecordKind.MEMBER:
                core.contacts.hint(record)
            return False
        clash = held is not None and held != record and held.sequence == record.sequence
        if held is not None and clash and self._quarantine.compare(held, record, now, spread):
            return False
        if record.subject == core.identity:
            self._own.witness(record, now)
            if seen is MemberState.DEAD and not core.config.policy.own_verdict:
                self._own.refute(record.sequence, now)
            return False
        if held == record:
            if record.kind == RecordKind.MEMBER:
                self._member(record, seen, now)
            return False
        if held is not None and not record.supersedes(held):
            return False
        if core.store.outdated(record.subject, record.kind, record.sequence):
            return False
        if not core.store.has_room(record.subject):
            core.counters.refuse("table-full")
            return False
        if not core.authority.admits(record):
            core.counters.refuse("not-admitted")
            return False
        core.keep(record)
        core.outputs.append(RecordChanged(record))
        if record.kind == RecordKind.MEMBER:
            self._member(record, seen, now)
        if spread:
            core.spread_record(record, now)
        return True

    def prove(self, peer: Peer, now: float) -> None:
        """A peer that was only known from disk or hearsay was itself heard."""
        if peer.state is MemberState.DEAD and not peer.condemned:
            self._rise(peer, now)

    def _clashes(self, held: Record, record: Record) -> bool:
        """Whether `record` may be the other half of an equivocation that is not yet known."""
        known = self._core.store.quarantined(held.subject, held.kind)
        return held != record and held.sequence == record.sequence and not known

    def _is_stale(self, accusation: Accusation) -> bool:
        """Whether it was counted already, or can no longer count: sequences only rise."""
        core = self._core
        if accusation.accuser == core.identity:
            return True
        if accusation.subject == core.identity:
            return accusation.sequence < core.sequence
        peer = core.members.get(accusation.subject)
        if peer is None:
            return False
        known = accusation.sequence == peer.sequence and accusation.accuser in peer.accusers
        return known or accusation.sequence < peer.sequence

    def _key_of(self, node: NodeId) -> bytes | None:
        peer = self._core.members.get(node)
        return peer.key if peer is not None else None

    def _accusation(self, accusation: Accusation, now: float) -> None:
        if accusation.subject == self._core.identity:
            self._own.refute(accusation.sequence, now)
        else:
            self._suspects.accused(accusation, now)

    def _member(self, record: Record, seen: MemberState, now: float) -> None:
        """The precedence rules of `members`, applied to a MEMBER record that is held."""
        core = self._core
        peer = core.members.get(record.subject)
        if peer is not None and core.store.quarantined(record.subject, RecordKind.MEMBER):
            return
        state = state_after_record(record, peer, seen)
        if peer is None:
            assert state is not None  # a record of an unknown subject always brings a state
            peer = Peer(record.subject, record.key, record.sequence, MemberState.DEAD, now)
            core.members.add(peer)
        elif record.sequence > peer.sequence:
            peer.sequence = record.sequence
            self._suspects.cleared(peer)
        if state is MemberState.ALIVE:
            self._rise(peer, now)
        elif state is MemberState.LEFT and peer.state is not MemberState.LEFT:
            core.members.move(peer, MemberState.LEFT, now)
            core.outputs.append(MemberLeft(peer.id))
        elif seen is MemberState.DEAD and record.sequence == peer.sequence:
            self._suspects.told_dead(peer, now)

    def _rise(self, peer: Peer, now: float) -> None:
        core = self._core
        if peer.state is MemberState.ALIVE:
            return
        was_live = peer.is_live
        self.revivals += peer.condemned
        peer.condemned = False
        core.members.move(peer, MemberState.ALIVE, now)
        if not was_live:
            self._prober.insert(peer.id)
        core.outputs.append(MemberUp(peer.id))
        core.wake_gossip(now)
