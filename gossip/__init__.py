"""Gossip: who is in the mesh, and what they say of themselves. Imports nothing of meshd.

A library of its own, without input or output: SWIM with Lifeguard for who is alive, signed
records for what each node says, anti-entropy so that nothing stays missed. Begin at
`gossip.protocol.GossipProtocol`.
"""

from gossip.authority import Authority
from gossip.config import GossipConfig, Policy
from gossip.coordinates import Coordinate
from gossip.errors import DecodeError, GossipError
from gossip.events import (
    Equivocated,
    LookupDone,
    MemberDown,
    MemberForgotten,
    MemberLeft,
    MemberSuspected,
    MemberUp,
    Output,
    RecordChanged,
    SendMessage,
    SequenceChanged,
    Wakeup,
)
from gossip.ids import NodeId
from gossip.members import Member, MemberState
from gossip.protocol import GossipProtocol
from gossip.records import Record, RecordKind
from gossip.statistics import GossipStatistics

__all__ = [
    "Authority",
    "Coordinate",
    "DecodeError",
    "Equivocated",
    "GossipConfig",
    "GossipError",
    "GossipProtocol",
    "GossipStatistics",
    "LookupDone",
    "Member",
    "MemberDown",
    "MemberForgotten",
    "MemberLeft",
    "MemberState",
    "MemberSuspected",
    "MemberUp",
    "NodeId",
    "Output",
    "Policy",
    "Record",
    "RecordChanged",
    "RecordKind",
    "SendMessage",
    "SequenceChanged",
    "Wakeup",
]
