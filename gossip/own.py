"""This node's own records: it alone makes them, and their sequence only ever rises."""

from __future__ import annotations

from gossip import records
from gossip.core import Core
from gossip.errors import GossipError
from gossip.events import RecordChanged, SequenceChanged
from gossip.ids import MAX_SEQUENCE
from gossip.records import LASTING_KINDS, Record, RecordKind


class OwnRecords:
    """One sequence for all kinds. That of the MEMBER record is SWIM's incarnation number."""

    def __init__(self, core: Core, first_sequence: int) -> None:
        self._core = core
        self._used = first_sequence - 1
        self._published: dict[int, bool] = {}
        self._raised_at = float("-inf")

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
        core.store.put(record)
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
        if not self._may_raise(now):
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
        if record.kind in self._published and not self._may_raise(now):
            return
        self.resume_above(record.sequence)
        if record.kind in self._published and held is not None:
            if record.kind in LASTING_KINDS:
                core.outputs.append(RecordChanged(record))  # it says what was lost
            self.publish(record.kind, held.body, now, held.withdrawn)
        elif record.kind in LASTING_KINDS or record.withdrawn:
            core.store.put(record)
            core.outputs.append(RecordChanged(record))
        elif record.kind != RecordKind.MEMBER:
            self.publish(record.kind, b"", now, withdrawn=True)

    def _may_raise(self, now: float) -> bool:
        """Others make us raise our sequence, so they may do it only so often.

        Nothing is lost by waiting: whoever holds something against us repeats it.
        """
        if now - self._raised_at < self._core.config.probe_period / 2:
            return False
        self._raised_at = now
        return True
