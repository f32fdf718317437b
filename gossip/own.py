"""This node's own records: it alone makes them, and their sequence only ever rises."""

from __future__ import annotations

from typing import Final

from gossip import records
from gossip.core import Core
from gossip.errors import GossipError
from gossip.events import RecordChanged, SequenceChanged
from gossip.ids import MAX_SEQUENCE
from gossip.records import LASTING_KINDS, MAX_KINDS, Record, RecordKind
from gossip.timers import Timer

QUICK_CONTESTS: Final = MAX_KINDS
"""Records of earlier lives, or of another machine, that are outdone at half a period each."""


class OwnRecords:
    """One sequence for all kinds. That of the MEMBER record is SWIM's incarnation number."""

    def __init__(self, core: Core, first_sequence: int) -> None:
        self._core = core
        self._used = first_sequence - 1
        self._published: dict[int, bool] = {}
        self._raised_at = float("-inf")
        self._contests = 0
        self._contest_at = float("-inf")
        """When another record with our signature is answered next."""
        self._overdue: dict[int, int] = {}
        """Per kind: the sequence that we are still to go above."""

    def publish(self, kind: int, body: bytes, now: float, withdrawn: bool = False) -> Record:
        """Sign, keep and spread a record. Raises `GossipError`, and then has used no sequence."""
        core = self._core
        sequence = self._used + 1
        if sequence > MAX_SEQUENCE:
            raise GossipError("sequence-exhausted")
        record = records.signed(
            core.authority, kind, core.key, core.identity, sequence, body, withdrawn
        )
        self._used = sequence
        self._published[kind] = True
        core.keep(record)
        if kind == RecordKind.MEMBER:
            core.sequence = sequence
        core.outputs.append(SequenceChanged(sequence))
        core.outputs.append(RecordChanged(record))
        core.spread_record(record, now)
        return record

    def resume_above(self, sequence: int) -> None:
        """Never use `sequence`, or one below it, again."""
        if sequence > self._used:
            self._used = sequence
            self._core.outputs.append(SequenceChanged(sequence))

    def refute(self, sequence: int, now: float) -> None:
        """Somebody takes us, of `sequence`, to be dead: say otherwise, with a higher one."""
        core = self._core
        held = core.store.get(core.identity, RecordKind.MEMBER)
        if held is None or held.withdrawn or sequence != held.sequence:
            return
        if self._used == MAX_SEQUENCE or not self._may_raise(now):
            return
        core.counters.refutations += 1
        core.adjust_health(1)
        self.publish(RecordKind.MEMBER, held.body, now)

    def witness(self, record: Record, now: float) -> None:
        """A verified record of our own came back to us: from an earlier life, if it is newer.

        Then our state was lost or rolled back, and what we say would be taken for old. We go on
        above it. A kind that we no longer publish is withdrawn, unless it is one that must last:
        what such a record says is told, whatever we publish.
        """
        core = self._core
        held = core.store.get(core.identity, record.kind)
        if held is not None and not record.supersedes(held):
            return
        if record.sequence <= self._overdue.get(record.kind, -1):
            return
        self.resume_above(record.sequence)
        if record.kind in self._published and held is not None:
            if record.kind in LASTING_KINDS:
                core.outputs.append(RecordChanged(record))  # it says what was lost
            self._go_above(record.kind, record.sequence, now)
        elif record.kind in LASTING_KINDS or record.withdrawn:
            core.keep(record)
            core.outputs.append(RecordChanged(record))
        elif record.kind != RecordKind.MEMBER:
            self._go_above(record.kind, record.sequence, now)

    def contested(self, kind: int, now: float) -> None:
        """What we hold of our own `kind` is quarantined: say it again, under a new sequence."""
        held = self._core.store.get(self._core.identity, kind)
        if held is not None:
            self._go_above(kind, held.sequence, now)

    def on_timer(self, now: float) -> None:
        """Answer what had to wait."""
        overdue, self._overdue = self._overdue, {}
        for kind, sequence in overdue.items():
            held = self._core.store.get(self._core.identity, kind)
            if held is None or held.sequence <= sequence:
                self._go_above(kind, sequence, now)

    def _go_above(self, kind: int, sequence: int, now: float) -> None:
        """Publish what we hold of `kind` anew, or that we hold nothing; now, or when it is time.

        After a few at a quick pace, which is all that a lost state needs, the pause doubles: two
        machines with one key would outdo each other for ever.
        """
        core = self._core
        if self._used == MAX_SEQUENCE:
            return
        if now < self._contest_at:
            self._overdue[kind] = sequence
            core.timers.schedule(Timer.OWN, self._contest_at)
            return
        longest = core.config.retry_max
        if now - self._contest_at > 2 * longest:
            self._contests = 0
        doublings = min(32, max(0, self._contests - QUICK_CONTESTS))
        self._contests += 1
        self._contest_at = now + min(longest, core.config.probe_period / 2 * 2**doublings)
        held = core.store.get(core.identity, kind)
        body, withdrawn = (b"", True) if held is None else (held.body, held.withdrawn)
        self.publish(kind, body, now, withdrawn)

    def _may_raise(self, now: float) -> bool:
        """Others make us raise our sequence, so they may do it only so often.

        Nothing is lost by waiting: whoever holds something against us repeats it.
        """
        if now - self._raised_at < self._core.config.probe_period / 2:
            return False
        self._raised_at = now
        return True
