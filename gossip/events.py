"""What comes out of `GossipProtocol.drain()`, and when it wants to be called next.

    Output = SendMessage | MemberUp | MemberSuspected | MemberDown | MemberLeft
           | MemberForgotten | RecordChanged | Equivocated | SequenceChanged | LookupDone

They are to be acted upon in order: a `SequenceChanged` stands before the first message that uses
the new sequence, and belongs on disk before that message is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from gossip.ids import NodeId
from gossip.records import Record


class SendMessage(NamedTuple):
    """Carry `payload` (at most `GossipConfig.packet_size` bytes) to node `to`, authenticated.

    It may be lost, late, repeated or out of order.
    """

    to: NodeId
    payload: bytes


@dataclass(frozen=True, slots=True)
class MemberUp:
    """`id` is alive: it is new, is back, or was cleared of a suspicion."""

    id: NodeId


@dataclass(frozen=True, slots=True)
class MemberSuspected:
    """`id` may be dead. It is still a member, and has time to refute."""

    id: NodeId


@dataclass(frozen=True, slots=True)
class MemberDown:
    """This node's own verdict is that `id` is dead. It goes on being tried."""

    id: NodeId


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """`id` said that it leaves."""

    id: NodeId


@dataclass(frozen=True, slots=True)
class MemberForgotten:
    """Nothing is kept of `id` any more: it was gone for long, or is no neighbour any longer."""

    id: NodeId


@dataclass(frozen=True, slots=True)
class RecordChanged:
    """`record` is now the newest of its subject and kind; this node's own are told too."""

    record: Record


@dataclass(frozen=True, slots=True)
class Equivocated:
    """`subject` signed two records of one kind and sequence: believe neither.

    `GossipProtocol.quarantined` holds until a record of a higher sequence comes. If the subject is
    this node itself, another machine uses its key, or its state was rolled back.
    """

    subject: NodeId
    kind: int
    sequence: int


@dataclass(frozen=True, slots=True)
class SequenceChanged:
    """The highest sequence used so far. After a restart, begin at `sequence + 1`."""

    sequence: int


@dataclass(frozen=True, slots=True)
class LookupDone:
    """What a lookup of `key` brought; every call of `lookup` ends with one.

    `records` are verified: the CERTIFICATE record that entitles its subject to the key (unless the
    key is the subject's id, and it has none), then its MEMBER record; none if nobody answered.
    `answered_by` is who held them, this node itself at 0 `hops`, or None.
    """

    key: bytes
    records: tuple[Record, ...]
    answered_by: NodeId | None
    hops: int


Event: TypeAlias = (
    MemberUp
    | MemberSuspected
    | MemberDown
    | MemberLeft
    | MemberForgotten
    | RecordChanged
    | Equivocated
    | SequenceChanged
    | LookupDone
)
"""What gossip noticed, or did."""

Output: TypeAlias = SendMessage | Event


class Wakeup(NamedTuple):
    """Call `handle_timer` at `at` (monotonic seconds); `reason` says what is then due."""

    at: float
    reason: str
