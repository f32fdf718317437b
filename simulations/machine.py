"""What runs on a simulated host, as the cluster sees it: bytes and time in, outputs out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from gossip.events import (
    MemberDown,
    MemberForgotten,
    MemberLeft,
    MemberSuspected,
    MemberUp,
    RecordChanged,
    SequenceChanged,
    Wakeup,
)
from gossip.ids import NodeId
from simulations.nat import Endpoint


@dataclass(frozen=True, slots=True)
class Send:
    """Put `payload` on the network."""

    destination: Endpoint
    payload: bytes


Seen: TypeAlias = (
    MemberUp
    | MemberSuspected
    | MemberDown
    | MemberLeft
    | MemberForgotten
    | RecordChanged
    | SequenceChanged
)
"""What a machine noticed: gossip's own events, whichever program runs on it."""


class Refused(Exception):
    """A machine refused a datagram; the text is the reason."""


@dataclass(slots=True)
class Disk:
    """What a host keeps over a crash."""

    sequence: int = 0
    counter: int = 0
    """The highest handshake counter used; `gossip` alone has none."""
    records: tuple[bytes, ...] = ()
    """Gossip's records, encoded."""


class Machine(Protocol):
    """One program on one host: `gossip` alone, or a whole node."""

    packet_size: int
    """The most bytes of a datagram that it may send."""

    def start(self, seeds: Sequence[int], now: float) -> None:
        """Begin, knowing the hosts with these numbers besides what is on disk."""

    def receive(self, payload: bytes, source: Endpoint, now: float) -> None:
        """Take a datagram. Raises `Refused`, having changed nothing."""

    def handle_timer(self, now: float) -> None:
        """Do what is due."""

    def next_wakeup(self) -> Wakeup | None:
        """When to call `handle_timer`, and why."""

    def drain(self) -> list[Send | Seen]:
        """What to do and what was noticed, in order."""

    def leave(self, now: float) -> None:
        """Say goodbye; the messages come out of `drain`."""

    def states(self) -> dict[NodeId, str]:
        """Every other member that it knows, and its state: alive, suspect, dead or left."""

    def sequences(self) -> dict[tuple[NodeId, int], int]:
        """The sequence of every record held, by subject and kind."""

    def records(self) -> tuple[bytes, ...]:
        """Every record held, encoded, as it would be written to disk."""
