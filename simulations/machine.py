"""What runs on a simulated host, as the cluster sees it: bytes and time in, outputs out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Protocol, TypeAlias

from gossip.events import Event, Wakeup
from gossip.ids import NodeId
from gossip.records import Record
from simulations.conditions import UDP_HEADERS
from simulations.nat import Endpoint


class Send(NamedTuple):
    """Put `payload` on the network, where it is `overhead` bytes longer: headers, and seals."""

    destination: Endpoint
    payload: bytes
    overhead: int = UDP_HEADERS


class Carried(Send):
    """The same, of a datagram that another host sent and this one relays."""

    __slots__ = ()


Seen: TypeAlias = Event
"""What a machine noticed: gossip's own events, whichever program runs."""


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
    lists: tuple[bytes, ...] = ()
    """Revocation lists in force, DER, of a whole node; as what follows."""
    issuers: tuple[bytes, ...] = ()
    """Certificates of the CAs it came to know."""
    chain: tuple[bytes, ...] = ()
    """Its own certificate since a renewal, and its issuers'."""
    authority: bytes = b""
    """The certificate of its own CA since a renewal, if it is an issuer."""

    def copy(self) -> Disk:
        """What is on it now, apart from what will be."""
        return replace(self)


class Machine(Protocol):
    """One program on one host: `gossip` alone, or a whole node."""

    packet_size: int
    """The most bytes of a datagram that it may send."""

    @property
    def is_partial(self) -> bool:
        """Whether it keeps some neighbours only, where others see everyone."""

    def start(self, seeds: Sequence[int], now: float) -> None:
        """Begin, knowing the hosts with these numbers besides what is on disk."""

    def receive(self, payload: bytes, source: Endpoint, now: float) -> None:
        """Take a datagram. Raises `Refused`, having changed nothing."""

    def handle_timer(self, now: float) -> None:
        """Do what is due."""

    def next_wakeup(self) -> Wakeup | None:
        """When to call `handle_timer`, and why."""

    def next_deadline(self) -> float:
        """When to call `handle_timer`; infinity for never. Asked after every input."""

    def drain(self) -> list[Send | Seen]:
        """What to do and what was noticed, in order."""

    def leave(self, now: float) -> None:
        """Say goodbye; the messages come out of `drain`."""

    def moved(self, endpoint: Endpoint, now: float) -> None:
        """Its host has another address now."""

    def states(self) -> dict[NodeId, str]:
        """Every other member that it knows, and its state: alive, suspect, dead or left."""

    def sequences(self) -> dict[tuple[NodeId, int], int]:
        """The sequence of every record held, by subject and kind."""

    def records(self) -> tuple[bytes, ...]:
        """Every record held, encoded, as it would be written to disk."""


def line(seen: Seen) -> str:
    """One line that prints the same in each run, and is shorter than a record's repr."""
    values = (_text(getattr(seen, field.name)) for field in fields(seen))
    return " ".join((type(seen).__name__, *values))


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Record):
        return f"{value.subject.hex()} {value.kind} {value.sequence}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    return str(value)
