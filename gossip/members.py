"""Members: who is known, in what state, and by which rules a state gives way to another.

    what is learnt                        unknown   alive     suspect   dead      left
    ------------------------------------  --------  --------  --------  --------  --------
    MEMBER record, higher sequence        alive     alive     alive     alive     alive
      ... that its sender holds dead      dead      alive     alive     alive     alive
      ... withdrawn                       left      left      left      left      left
    the same record, its sender sees it   .         .         .         alive (*) .
    accusation of the current sequence    .         suspect   +1        .         .
    suspicion ran out, own probe failed   .         .         dead      .         .
    suspicion ran out, it was heard       .         .         alive     .         .

(*) only if it was never condemned: restored from disk, or learnt of as dead.

A sequence is the subject's to raise: alive wins with a strictly higher one only, and nobody's
accusation counts for a sequence that the subject has already left behind. "Dead" is a local
verdict; what others say is an accusation, counted once per accuser.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from gossip.ids import NodeId
from gossip.records import Record


class MemberState(Enum):
    """What this node takes another to be."""

    __hash__ = object.__hash__  # Enum's own hashes the name, in Python

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Member:
    """A member at one instant. `since` and `heard_at` are monotonic seconds, `rtt` seconds."""

    id: NodeId
    state: MemberState
    since: float
    sequence: int
    key: bytes
    heard_at: float | None
    rtt: float | None


@dataclass(slots=True)
class Peer:
    """What this node keeps about another one."""

    id: NodeId
    key: bytes
    sequence: int
    state: MemberState
    since: float
    condemned: bool = False
    heard_at: float = float("-inf")
    srtt: float | None = None
    rttvar: float = 0.0
    accusers: dict[NodeId, bool] = field(default_factory=dict)
    """Accusers of the current sequence, in order; each counts once."""
    charge: bytes | None = None
    """This node's own accusation of the current sequence, as an item."""
    confirmations: int = 0
    suspected_at: float = 0.0
    failed_at: float = float("-inf")
    """When this node's own probe of it last failed."""
    asked_at: float = float("-inf")
    """When others were last asked whether it lives."""
    partial: bool = False
    """Whether it keeps only a few neighbours, as it said last."""
    answered_at: float = float("-inf")
    """When it was last told where it stands here (rate limit)."""

    @property
    def is_live(self) -> bool:
        """Alive or suspect: probed, told news, counted."""
        return self.state is MemberState.ALIVE or self.state is MemberState.SUSPECT

    def snapshot(self) -> Member:
        """The value that callers see."""
        heard = None if self.heard_at == float("-inf") else self.heard_at
        return Member(self.id, self.state, self.since, self.sequence, self.key, heard, self.srtt)

    def measure(self, rtt: float) -> None:
        """Fold one round trip into srtt and rttvar (RFC 6298 section 2), in seconds."""
        if self.srtt is None:
            self.srtt, self.rttvar = rtt, rtt / 2
        else:
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) / 4
            self.srtt += (rtt - self.srtt) / 8


def state_after_record(record: Record, peer: Peer | None, seen: MemberState) -> MemberState | None:
    """The state that a MEMBER `record` brings, or None for no change. `seen`: by its sender."""
    if peer is None or record.sequence > peer.sequence:
        if record.withdrawn:
            return MemberState.LEFT
        if peer is None and seen is MemberState.DEAD:
            return MemberState.DEAD
        return MemberState.ALIVE
    alive = seen in (MemberState.ALIVE, MemberState.SUSPECT)
    unproven = peer.state is MemberState.DEAD and not peer.condemned
    if record.sequence == peer.sequence and unproven and alive and not record.withdrawn:
        return MemberState.ALIVE
    return None


def accusation_counts(sequence: int, accuser: NodeId, peer: Peer, limit: int) -> bool:
    """Whether an accusation of `peer` at `sequence` says anything new."""
    return (
        peer.is_live
        and sequence == peer.sequence
        and accuser != peer.id
        and accuser not in peer.accusers
        and len(peer.accusers) < limit
    )


class MemberTable:
    """Every other node that is known; those alive or suspect can be drawn at random in O(1)."""

    def __init__(self) -> None:
        self._peers: dict[NodeId, Peer] = {}
        self.get = self._peers.get
        """The peer of a node id, or None: the dict's own method, for every message asks it."""
        self._live: list[NodeId] = []
        self._live_index: dict[NodeId, int] = {}
        self._counts = dict.fromkeys(MemberState, 0)
        self.changes = 0
        """Counts who came, went, or changed its state."""

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def add(self, peer: Peer) -> None:
        """Take in a peer that was not known."""
        self.changes += 1
        self._peers[peer.id] = peer
        self._counts[peer.state] += 1
        self._index(peer)

    def remove(self, node: NodeId) -> None:
        """Forget a peer."""
        self.changes += 1
        peer = self._peers.pop(node)
        self._counts[peer.state] -= 1
        self._drop(node)

    def move(self, peer: Peer, state: MemberState, now: float) -> None:
        """Put a known peer into another state."""
        self.changes += 1
        self._counts[peer.state] -= 1
        self._counts[state] += 1
        peer.state, peer.since = state, now
        self._index(peer)

    def count(self, state: MemberState) -> int:
        """How many are in `state`."""
        return self._counts[state]

    @property
    def live(self) -> int:
        """How many are alive or suspect."""
        return len(self._live)

    def live_ids(self) -> list[NodeId]:
        """Those alive or suspect, as a new list."""
        return list(self._live)

    def in_state(self, state: MemberState) -> list[Peer]:
        """Those in `state`, the first known first."""
        if not self._counts[state]:
            return []
        return [peer for peer in self._peers.values() if peer.state is state]

    def sample(self, count: int, rng: Random, exclude: NodeId | None = None) -> list[NodeId]:
        """Up to `count` different live ones, drawn at random, without `exclude`."""
        live = self._live
        if len(live) <= count + 1:
            chosen = [node for node in live if node != exclude]
            rng.shuffle(chosen)
            return chosen[:count]
        drawn = rng.sample(range(len(live)), count + 1)
        return [live[index] for index in drawn if live[index] != exclude][:count]

    def _index(self, peer: Peer) -> None:
        if peer.is_live:
            if peer.id not in self._live_index:
                self._live_index[peer.id] = len(self._live)
                self._live.append(peer.id)
        else:
            self._drop(peer.id)

    def _drop(self, node: NodeId) -> None:
        index = self._live_index.pop(node, None)
        if index is None:
            return
        last = self._live.pop()
        if last != node:
            self._live[index] = last
            self._live_index[last] = index
