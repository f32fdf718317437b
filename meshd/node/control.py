"""Control messages: what two nodes say to each other inside a session, beside packets.

Each is one CBOR array in a frame's `CONTROL` entry, its type first (canonical CBOR, see
`gossip.codec`). `decode` raises RemoteError("control") for anything else, and changes nothing.

    GOSSIP       [1, message]                 one message of the gossip library
    PROBE        [2, nonce, padding]          is this path alive, how far, how wide?
    PROBE_ACK    [3, nonce, endpoint, tally]  yes; your datagram came from there; what I received
    RELAY_OPEN   [4, target]                  please carry datagrams between me and `target`
    RELAY_OPENED [5, channel, peer]           done: `peer` is at the other end of `channel`
    RELAY_REFUSED[6, target]                  not by this node
    ENROL        [8, request]                 a certificate request; see `issuing`
    ENROLLED     [9, reply or null, why]      the reply, or the reason for none
    CERTIFICATE  [10, chain]                  the chain that did not fit into the handshake
    CLOSE        [11]                         I am going away; forget this session
    REVOCATION_REQUEST [12, authority, number, offset]  that CA's list, number or above, from there
    REVOCATION_LIST [13, authority, number, size, offset, piece]  a piece of it; size 0: none here
    RENEW        [14, CSR, move]              another certificate; move 1: with another IPv4 address
    RENEWED      [15, chain or null, why]     the new chain, or the reason for none
    PUNCH        [16, answer, wait, step, [endpoint, ...], turn]  let us open our NATs together
    WHY          [17, token]                  how do you see the ways between us?
    WHY_ANSWER   [18, token, view]            like this; see `explaining`
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gossip import DecodeError, NodeId
from gossip.codec import decode, encode
from meshd.node.errors import RemoteError
from meshd.node.metering import Tally
from meshd.node.wire import CONTROL, Endpoint, entry, pack_endpoint, unpack_endpoint

MAX_CONTROL = 32_768
"""Bytes of the largest control message: an enrolment's reply."""

MAX_PUNCHED = 4
"""Endpoints in a PUNCH."""
MAX_PUNCH_WAIT = 10_000_000
"""Microseconds in one."""
MAX_STEP = 8
"""Ports from one of a NAT's to its next."""
MAX_FIELDS = 64
"""CBOR values in one: a chain has the most."""


@dataclass(frozen=True, slots=True)
class Gossip:
    """One message of the gossip library."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Probe:
    """Asks for a `ProbeAck` by the way this came; `padding` zero bytes test the path's width."""

    nonce: int
    padding: int = 0


@dataclass(frozen=True, slots=True)
class ProbeAck:
    """Answers a probe. `observed`: where the probe came from, None when it was relayed; `tally`:
    what came of the frames of the probe's session."""

    nonce: int
    observed: Endpoint | None
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class RelayOpen:
    """Asks a node to relay between the sender and `target`."""

    target: NodeId


@dataclass(frozen=True, slots=True)
class RelayOpened:
    """Told to both ends: datagrams in `channel` reach `peer`."""

    channel: int
    peer: NodeId
    by_stream: bool = False
    """Whether the relay itself reaches `peer` by a stream."""


@dataclass(frozen=True, slots=True)
class RelayRefused:
    """The node asked cannot reach `target` directly, or is full."""

    target: NodeId


@dataclass(frozen=True, slots=True)
class Enrol:
    """A joiner's certificate request, only in an enrolment session."""

    request: bytes


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The issuer's answer: `reply`, which holds the mesh secret, or why there is none."""

    reply: bytes | None = field(repr=False)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CertificateChain:
    """The sender's chain, leaf first, DER."""

    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """The sender leaves this session."""


@dataclass(frozen=True, slots=True)
class RevocationRequest:
    """Asks for a CA's revocation list of `number` or above, from byte `offset` on."""

    authority: bytes
    number: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class RevocationPiece:
    """A piece of a CA's list `number`, whose DER has `size` bytes; 0: the sender has none."""

    authority: bytes
    number: int
    size: int
    offset: int
    piece: bytes


@dataclass(frozen=True, slots=True)
class Renew:
    """A member asks an issuer for a new certificate, for the key that it has."""

    csr: bytes
    move: bool = False
    """Whether another node has its IPv4 address, so that it needs another one."""
    rename: bool = False
    """Whether another node has its name."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """The issuer's answer: leaf and issuer, or why there is none."""

    chain: tuple[bytes, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Why:
    """A person at the sender's asks how the receiver sees the ways between the two."""

    token: int


@dataclass(frozen=True, slots=True)
class WhyAnswer:
    """The answer: an encoded `explaining.View`."""

    token: int
    view: bytes


@dataclass(frozen=True, slots=True)
class Punch:
    """Where the sender is to be found by the next probes that it sends: both begin at one moment.

    `wait`: seconds until the receiver is to begin, in an answer; otherwise the sender's round trip,
    0 where it is not known. `step`: where it is not 0, the first endpoint is a forecast, and each
    probe of the sender's is seen at a port so much higher.
    """

    answer: bool
    wait: float
    step: int
    endpoints: tuple[Endpoint, ...]
    turn: int = 0
    """Counts the questions, modulo 256: what is aimed at alternates. An answer repeats it."""


Control = (
    Gossip
    | Probe
    | ProbeAck
    | RelayOpen
    | RelayOpened
    | RelayRefused
    | Enrol
    | Enrolled
    | CertificateChain
    | Close
    | RevocationRequest
    | RevocationPiece
    | Renew
    | Renewed
    | Why
    | WhyAnswer
    | Punch
)


def encode_control(message: Control) -> bytes:
    """The whole frame entry, header included."""
    return entry(CONTROL, encode(_fields(message)))


def _fields(message: Control) -> list[object]:
    match message:
        case Gossip(payload):
            return [1, payload]
        case Probe(nonce, padding):
            return [2, nonce, bytes(padding)]
        case ProbeAck(nonce, observed, tally):
            return [3, nonce, pack_endpoint(observed) if observed else None, tally.counters()]
        case RelayOpen(target):
            return [4, target]
        case RelayOpened(channel, peer, by_stream):
            return [5, channel, peer, int(by_stream)]
        case RelayRefused(target):
            return [6, target]
        case Enrol(request):
            return [8, request]
        case Enrolled(reply, reason):
            return [9, reply, reason]
        case CertificateChain(chain):
            return [10, list(chain)]
        case Close():
            return [11]
        case RevocationRequest(authority, number, offset):
            return [12, authority, number, offset]
        case RevocationPiece(authority, number, size, offset, piece):
            return [13, authority, number, size, offset, piece]
        case Renew(csr, move, rename):
            return [14, csr, int(move) | int(rename) << 1]
        case Renewed(chain, reason):
            return [15, list(chain) or None, reason]
        case Punch(answer, wait, step, endpoints, turn):
            packed = [pack_endpoint(endpoint) for endpoint in endpoints]
            return [16, int(answer), round(wait * 1e6), step, packed, turn]
        case Why(token):
            return [17, token]
        case WhyAnswer(token, view):
            return [18, token, view]


def decode_control(data: bytes) -> Control:
    """The inverse of `encode_control`'s body. Raises RemoteError("control")."""
    try:
        fields = decode(data, MAX_CONTROL, MAX_FIELDS)
    except DecodeError as error:
        raise RemoteError("control", str(error)) from None
    # Python takes true for 1, and false for 0.
    if not isinstance(fields, list) or any(isinstance(field, bool) for field in fields):
        raise RemoteError("control")
    return _message(fields)


def _message(fields: list[object]) -> Control:
    match fields:
        case [1, bytes(payload)]:
            return Gossip(payload)
        case [2, int(nonce), bytes(padding)] if 0 <= nonce < 1 << 64:
            return Probe(nonce, len(padding))
        case [3, int(nonce), None, [*counters]] if 0 <= nonce < 1 << 64:
            return ProbeAck(nonce, None, _tally(counters))
        case [3, int(nonce), bytes(observed), [*counters]] if 0 <= nonce < 1 << 64:
            return ProbeAck(nonce, _endpoint(observed), _tally(counters))
        case [4, bytes(target)] if len(target) == 16:
            return RelayOpen(NodeId(target))
        case [5, int(channel), bytes(peer), (0 | 1) as way] if (
            len(peer) == 16 and 0 <= channel < 1 << 32
        ):
            return RelayOpened(channel, NodeId(peer), way == 1)
        case [6, bytes(target)] if len(target) == 16:
            return RelayRefused(NodeId(target))
        case [8, bytes(request)]:
            return Enrol(request)
        case [9, bytes(reply), str()]:
            return Enrolled(reply)
        case [9, None, str(reason)] if len(reason) <= 200:
            return Enrolled(None, reason)
        case [10, [*chain]] if 1 <= len(chain) <= 4:
            return CertificateChain(tuple(_bytes(der) for der in chain))
        case [11]:
            return Close()
        case [17, int(token)] if 0 <= token < 1 << 64:
            return Why(token)
        case [18, int(token), bytes(view)] if 0 <= token < 1 << 64:
            return WhyAnswer(token, view)
        case _:
            return _punch(fields) or _certificates(fields)


def _punch(fields: list[object]) -> Punch | None:
    match fields:
        case [16, (0 | 1) as answer, int(wait), int(step), [*packed], int(turn)] if (
            0 <= wait <= MAX_PUNCH_WAIT
            and abs(step) <= MAX_STEP
            and len(packed) <= MAX_PUNCHED
            and 0 <= turn < 256
        ):
            endpoints = tuple(_endpoint(_bytes(each)) for each in packed)
            return Punch(bool(answer), wait / 1e6, step, endpoints, turn)
        case _:
            return None


def _certificates(fields: list[object]) -> Control:
    """The messages on revocation and renewal."""
    match fields:
        case [12, bytes(authority), int(number), int(offset)] if (
            len(authority) == 16 and 0 <= number < 1 << 63 and 0 <= offset < 1 << 32
        ):
            return RevocationRequest(authority, number, offset)
        case [13, bytes(authority), int(number), int(size), int(offset), bytes(piece)] if (
            len(authority) == 16
            and 0 <= number < 1 << 63
            and 0 <= offset <= offset + len(piece) <= size < 1 << 32
        ):
            return RevocationPiece(authority, number, size, offset, piece)
        case [14, bytes(csr), (0 | 1 | 2 | 3) as wants]:
            return Renew(csr, bool(wants & 1), bool(wants & 2))
        case [15, [*chain], str()] if 1 <= len(chain) <= 4:
            return Renewed(tuple(_bytes(der) for der in chain))
        case [15, None, str(reason)] if 1 <= len(reason) <= 200:
            return Renewed((), reason)
        case _:
            raise RemoteError("control")


def _tally(counters: list[object]) -> Tally:
    match counters:
        case [int(opened), int(expected), int(lost), int(squares), int(recovered)] if (
            min(opened, expected, lost, squares, recovered) >= 0
            and max(opened, expected, lost, squares, recovered) < 1 << 63
            and not any(isinstance(counter, bool) for counter in counters)
        ):
            return Tally(opened, expected, lost, squares, recovered)
        case _:
            raise RemoteError("control")


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise RemoteError("control")
    return value


def _endpoint(data: bytes) -> Endpoint:
    try:
        return unpack_endpoint(data)
    except ValueError as error:
        raise RemoteError("control", str(error)) from None
