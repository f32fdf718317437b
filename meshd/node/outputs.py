"""What a node asks its host to do. Perform them in order: a `Persist` that fails must stop what
follows it, so that nothing is promised to a peer that is not on disk."""

from __future__ import annotations

from dataclasses import dataclass, field

from gossip import NodeId
from meshd.node.account import View
from meshd.node.identity import Identity
from meshd.node.invitation import Invitation
from meshd.node.wire import Batch, Endpoint, Frame


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """One datagram: a handshake message."""

    payload: bytes
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class SendFrame:
    """A sealed control frame, in a buffer of its own."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class OpenNat:
    """An empty datagram to this endpoint (IPv4) that dies after `hops` routers: the NAT before us
    is to expect answers from there, and nobody there is to hear of it."""

    endpoint: Endpoint
    hops: int


@dataclass(frozen=True, slots=True)
class CloseStream:
    """The stream to or from this endpoint is not needed any more."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class ForwardBatch:
    """Relayed datagrams, still in the receive buffer: send before reading the next."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class PersistSequence:
    """Gossip's sequence, which must never go back: store before going on."""

    value: int


@dataclass(frozen=True, slots=True)
class PersistCounter:
    """The handshake counter (nanoseconds), which must never go back: store before going on."""

    value: int


@dataclass(frozen=True, slots=True)
class PersistInvitation:
    """An invitation was redeemed: store before the certificate leaves."""

    invitation: Invitation


@dataclass(frozen=True, slots=True)
class PersistLedger:
    """The issuer's ledger changed: store before the certificate leaves."""


@dataclass(frozen=True, slots=True)
class PersistTrust:
    """An issuer became known: write the bundle of authorities anew."""


@dataclass(frozen=True, slots=True)
class PersistRevocations:
    """A revocation list is in force: store all of them before anything that follows from it."""


@dataclass(frozen=True, slots=True)
class PersistIdentity:
    """A new certificate came: write it, and only then let the node `adopt` this identity."""

    identity: Identity = field(repr=False)


@dataclass(frozen=True, slots=True)
class PersistRecords:
    """Gossip's records changed; store them when convenient (the host may wait a little)."""


@dataclass(frozen=True, slots=True)
class RoutesChanged:
    """The prefixes that other nodes offer, all of them: make the kernel's table follow."""

    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddressesChanged:
    """Our overlay addresses, all of them: make the interface's follow."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PeerChanged:
    """A peer came, went or changed its way: for the log. `text` holds nothing a peer chose."""

    peer: NodeId
    name: str
    event: str


@dataclass(frozen=True, slots=True)
class AuthFailure:
    """Somebody failed to prove itself. `source` only where return routability is proven."""

    reason: str
    source: Endpoint | None


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to `Node.ping`: `rtt` seconds, None when none came in time."""

    token: int
    rtt: float | None
    via: str
    kind: str


@dataclass(frozen=True, slots=True)
class RenewalEnded:
    """The answer to `Credentials.renew`: `problem` says why there is no new certificate."""

    token: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer to `Explaining.ask`: how the other end sees the ways between us."""

    token: int
    view: View


@dataclass(frozen=True, slots=True)
class Warned:
    """A sentence for the log: something happened that a person should know."""

    text: str


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The answer to `Node.look_up`: who it is, None where nobody answers for the key; who of the
    mesh said so, after how many hops."""

    token: int
    node: NodeId | None
    answered_by: NodeId | None
    hops: int


Output = (
    SendDatagram
    | SendFrame
    | OpenNat
    | ForwardBatch
    | CloseStream
    | PersistSequence
    | PersistCounter
    | PersistInvitation
    | PersistLedger
    | PersistTrust
    | PersistRevocations
    | PersistIdentity
    | PersistRecords
    | RoutesChanged
    | AddressesChanged
    | LookedUp
    | PeerChanged
    | AuthFailure
    | Pong
    | RenewalEnded
    | Explained
    | Warned
)
