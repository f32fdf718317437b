"""Who may speak to the node over a stream: what the host asks of whoever holds the keys.

A connection on the TLS port may be a member's or anybody's. The host reads its first bytes, asks
the gate, and hands it either to the node or to the website. Keys never leave the gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from meshd.node.wire import Endpoint


@dataclass(frozen=True, slots=True)
class Admit:
    """A member: what stands behind the first `taken` bytes is a row of datagrams already."""

    taken: int


@dataclass(frozen=True, slots=True)
class Wait:
    """It may be one; more bytes are needed. Only for what no browser would send: until then the
    website says nothing either."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not one of ours, or not provably: it gets the website, and with it all it has said."""


Verdict = Admit | Wait | Refuse


class Gate(Protocol):
    """Both ends of a stream's first bytes.

    `certificate` is the SHA-256 of the server's certificate (DER) as that end sees it: a token
    bound to it is worth nothing to somebody in between.
    """

    def greet(self, endpoint: Endpoint, certificate: bytes, now: float) -> bytes | None:
        """The first bytes for the node that was dialled at `endpoint`; None: hang up.

        They leave in one TLS record, and so arrive together.
        """

    def admit(self, first: bytes, source: Endpoint, certificate: bytes, now: float) -> Verdict:
        """What to do with a connection whose bytes so far are `first` (1 to 4,096).

        Takes the same time whatever of them is wrong.
        """
