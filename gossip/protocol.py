"""The gossip protocol of one node."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from gossip.authority import Authority
from gossip.config import GossipConfig
from gossip.events import Output, Wakeup
from gossip.ids import NodeId
from gossip.members import Member
from gossip.records import Record
from gossip.statistics import GossipStatistics


class GossipProtocol:
    """Inputs are calls, outputs are what `drain()` returns; drain after every input."""

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
        raise NotImplementedError

    def receive(self, message: bytes, sender: NodeId, now: float) -> None:
        """A message from an authenticated `sender`. Raises `GossipError`; then nothing changed."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """Do what is due. Early or late calls do no harm."""
        raise NotImplementedError

    def next_wakeup(self) -> Wakeup | None:
        """When to call `handle_timer` next; ask again after every input."""
        raise NotImplementedError

    def drain(self) -> list[Output]:
        """What is to be done, in order; each value comes out once."""
        raise NotImplementedError

    def publish(self, kind: int, body: bytes, now: float) -> Record:
        """Sign and spread this node's own record. Raises `GossipError` for a body too large."""
        raise NotImplementedError

    def withdraw(self, kind: int, now: float) -> Record | None:
        """Replace this node's own record by its tombstone, if there is one."""
        raise NotImplementedError

    def join(self, seeds: Sequence[NodeId], now: float) -> None:
        """Contact these nodes, and retry them for ever."""
        raise NotImplementedError

    def restore(self, records: Sequence[Record], now: float) -> None:
        """Records from disk: members known but unproven (dead until somebody shows otherwise)."""
        raise NotImplementedError

    def accept(self, record: Record, now: float) -> bool:
        """A record that came by another way. Whether it is now held; raises nothing."""
        raise NotImplementedError

    def heard(self, peer: NodeId, now: float) -> None:
        """Authenticated traffic of `peer` arrived: it lives. Cheap enough for every packet."""
        raise NotImplementedError

    def leave(self, now: float) -> None:
        """Withdraw the MEMBER record and tell others; nothing but the telling happens after."""
        raise NotImplementedError

    def members(self) -> Sequence[Member]:
        """All the others that are known, without this node itself."""
        raise NotImplementedError

    def record(self, node: NodeId, kind: int) -> Record | None:
        """The newest record held (this node's own too); a withdrawn one is returned as such."""
        raise NotImplementedError

    def records(self) -> list[Record]:
        """All records held, this node's own too."""
        raise NotImplementedError

    def statistics(self) -> GossipStatistics:
        """Numbers of now."""
        raise NotImplementedError
