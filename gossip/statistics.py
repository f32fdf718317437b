"""What a node can tell about its own gossip: plain numbers, read at one instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from gossip.members import MemberState

if TYPE_CHECKING:
    from gossip.core import Core


@dataclass(frozen=True, slots=True)
class GossipStatistics:
    """Gauges of now, and counters since the start. Others only: this node is in no gauge."""

    # Gauges
    alive: int
    suspect: int
    dead: int
    left: int
    records: int
    quarantined: int
    """Records held that are proved to be one of two of one sequence."""
    health_multiplier: int
    """0 is healthy; the probe interval is (1 + this) periods."""
    isolated: bool
    """This node takes itself to be cut off, and delays its verdicts."""
    queued: tuple[int, int, int]
    """News waiting: membership, routes, other."""
    neighbours: int
    """Members that news is told to: all that live in full view, a few in partial view."""
    contacts: int
    """Nodes in the routing table."""
    stored: int
    """Keys kept for others."""

    # Counters
    messages_sent: int
    messages_received: int
    bytes_sent: int
    bytes_received: int
    outputs_dropped: int
    probes: int
    probes_failed: int
    indirect_probes: int
    nacks_received: int
    accusations_made: int
    refutations: int
    verdicts: int
    """Members that this node declared dead."""
    syncs: int
    """Comparisons of digests that this node began."""
    lookups: int
    """Keys that this node was asked to look up."""
    lookups_failed: int
    """Of them, those that nobody answered for."""
    stores_sent: int
    """STORE messages to others."""
    equivocations: int
    """Proofs that a subject signed two different records of one sequence."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Messages (`GossipError.reason`) and single items refused, by reason; the keys are fixed."""


@dataclass(slots=True)
class Counters:
    """The counters while they run."""

    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    outputs_dropped: int = 0
    probes: int = 0
    probes_failed: int = 0
    indirect_probes: int = 0
    nacks_received: int = 0
    accusations_made: int = 0
    refutations: int = 0
    verdicts: int = 0
    syncs: int = 0
    lookups: int = 0
    lookups_failed: int = 0
    stores_sent: int = 0
    equivocations: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def refuse(self, reason: str) -> None:
        """Count one refusal. Reasons are literals of this library: the dict stays small."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


def gather(core: Core) -> GossipStatistics:
    """The numbers of this instant."""
    counters = {item.name: getattr(core.counters, item.name) for item in fields(Counters)}
    counters["refused"] = dict(core.counters.refused)
    return GossipStatistics(
        alive=core.members.count(MemberState.ALIVE),
        suspect=core.members.count(MemberState.SUSPECT),
        dead=core.members.count(MemberState.DEAD),
        left=core.members.count(MemberState.LEFT),
        records=len(core.store),
        quarantined=core.store.proofs,
        health_multiplier=core.health,
        isolated=core.guard.isolated,
        queued=core.news.sizes(),
        neighbours=sum(core.tells(node) for node in core.members.live_ids()),
        contacts=len(core.contacts.table),
        stored=len(core.directory),
        **counters,
    )
