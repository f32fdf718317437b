"""Who said two things under one sequence is believed in neither, until it says a third.

    two records of one sequence --+                          +-> event Equivocated
    (in items, in comparisons)    +-> a proof (see `items`) -+-> news to all, and with comparisons
    somebody's proof, verified ---+                          +-> the digest says "quarantined"

A proof is kept for as long as the record that is held is of its sequence: one for each subject and
kind, at most `store.MAX_PROOFS`. A record of a higher sequence ends it.
"""

from __future__ import annotations

from collections.abc import Sequence

from gossip.core import Core
from gossip.errors import GossipError
from gossip.events import Equivocated
from gossip.items import Equivocation, Item, RecordItem, equivocation
from gossip.own import OwnRecords
from gossip.records import Record


class Quarantine:
    """Makes proofs, judges those of others, and tells them."""

    def __init__(self, core: Core, own: OwnRecords) -> None:
        self._core = core
        self._own = own

    def verify(self, items: Sequence[Item], good: Sequence[Item]) -> list[Equivocation]:
        """The proofs among `items` that say something new of a record held, or among `good`.

        Raises `GossipError` if one proves nothing. Changes nothing.
        """
        brought = {
            (item.record.subject, item.record.kind, item.record.sequence): True
            for item in good
            if isinstance(item, RecordItem)
        }
        proofs = [item for item in items if isinstance(item, Equivocation)]
        news = [
            proof
            for proof in proofs
            if self._concerns(proof) or (proof.subject, proof.kind, proof.sequence) in brought
        ]
        if not all(proof.verified(self._core.authority) for proof in news):
            raise GossipError("equivocation-signature")
        return news

    def compare(self, held: Record, record: Record, now: float, spread: bool) -> bool:
        """Two verified records of one sequence; whether that is now known to be proved."""
        proof = equivocation(held, record)
        return proof is not None and self.apply(proof, now, spread)

    def apply(self, proof: Equivocation, now: float, spread: bool) -> bool:
        """A verified proof; whether what it speaks of is quarantined."""
        core = self._core
        if not self._concerns(proof):
            return core.store.quarantined(proof.subject, proof.kind)
        if not core.store.quarantine(proof):
            core.counters.refuse("proofs-full")
            return False
        core.counters.equivocations += 1
        core.outputs.append(Equivocated(proof.subject, proof.kind, proof.sequence))
        if spread:
            core.spread_proof(proof, now)
        if proof.subject == core.identity:
            self._own.contested(proof.kind, now)
        return True

    def _concerns(self, proof: Equivocation) -> bool:
        """Whether it speaks of a record that is held, and says what was not known."""
        store = self._core.store
        held = store.get(proof.subject, proof.kind)
        known = store.quarantined(proof.subject, proof.kind)
        return held is not None and held.sequence == proof.sequence and not known
