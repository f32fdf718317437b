"""What the daemon tells and is asked: the shapes of the API and of `--json`.

Fields may be added, never changed: people's scripts lean on them. Ids are 32 hex digits; addresses
are texts.
"""

from __future__ import annotations

from typing import Protocol, TypedDict

from meshd.node.grants import Grants


class PathStatus(TypedDict):
    """The way to a peer; `endpoint` when direct or stream, `via` (a node id) when relayed.

    `loss` and `parity` are shares, 0 to 1; `span` counts segments."""

    kind: str
    endpoint: str | None
    via: str | None
    rtt_ms: float | None
    loss: float
    span: int
    parity: float
    frames_saved: int


class PortMapping(TypedDict):
    """A gateway that forwards our UDP port; `protocol` is pcp, nat-pmp or upnp. `stream_endpoint`:
    the same of our TCP port, if it does."""

    protocol: str
    gateway: str
    endpoint: str
    stream_endpoint: str | None
    expires_s: float


class SelfStatus(TypedDict):
    """This node; `mesh` is the mesh id in hex."""

    id: str
    name: str
    addresses: list[str]
    roles: list[str]
    mesh: str
    network: str
    version: str
    uptime_s: float
    neighbours: int
    port_mapping: PortMapping | None
    streams: int


class PeerStatus(TypedDict):
    """Another member; `state` is alive, suspect, dead or left."""

    id: str
    name: str
    addresses: list[str]
    roles: list[str]
    state: str
    path: PathStatus | None
    tx_bytes: int
    rx_bytes: int
    relayed_bytes: int
    last_seen_s: float | None
    last_error: str | None


class Status(TypedDict):
    """`status --json`; `notices` are sentences on what fails, is missing or has no effect."""

    self: SelfStatus
    peers: list[PeerStatus]
    notices: list[str]


class Pong(TypedDict):
    """One answered ping: who answered, over which way, after how long. `kind` and `via`, an
    endpoint or the relay's name, are this answer's; `path` is what is used now."""

    id: str
    name: str
    address: str
    rtt_ms: float
    path: PathStatus | None
    kind: str
    via: str


class CandidateStatus(TypedDict):
    """A place where a node may be found, and how that is known."""

    endpoint: str
    origin: str


class TriedStatus(TypedDict):
    """A way that was tried; `target` is an endpoint, or the relay's node id; `stands` is used,
    answers or tried."""

    kind: str
    target: str
    stands: str
    rtt_ms: float | None
    heard_s: float | None
    sent: int
    answered: int
    asked_s: float | None
    error: str


class EndStatus(TypedDict):
    """How one end sees the ways between two nodes; `told`: whether it was asked, rather than taken
    from its record, in which case there is nothing but candidates."""

    id: str
    name: str
    told: bool
    reason: str
    candidates: list[CandidateStatus]
    tried: list[TriedStatus]


class Why(TypedDict):
    """Why a peer is reached as it is; `here` and `there` are the two ends."""

    id: str
    name: str
    state: str
    path: PathStatus | None
    here: EndStatus
    there: EndStatus


class FamilyStatus(TypedDict):
    """IPv4 or IPv6 below the mesh. `works`: whether a peer was reached by UDP over it; `own`: this
    host's endpoints; `seen`: where peers saw it."""

    works: bool
    own: list[str]
    seen: list[str]


class RelayStatus(TypedDict):
    """A node that would relay for this one; `role`: whether it has the role `relay`."""

    id: str
    name: str
    role: bool
    rtt_ms: float | None


class GatewayStatus(TypedDict):
    """A gateway that was asked to forward ports: `forwards`, outer endpoints with their transport
    and protocol; `errors`: why a protocol did not serve, by its name."""

    gateway: str
    forwards: list[str]
    errors: dict[str, str]


class Netcheck(TypedDict):
    """What the network around this host lets through. `udp` is null while nobody is reached."""

    udp: bool | None
    ipv4: FamilyStatus
    ipv6: FamilyStatus
    mapping: str
    port_mapping: PortMapping | None
    gateways: list[GatewayStatus]
    accepts_streams: bool
    direct: int
    relayed: int
    streams: int
    relays: list[RelayStatus]


class Found(TypedDict):
    """What a lookup found; `matched` is name, id, address or route, `route` the prefix then.
    `answered_by` is the name or id of the node that was asked, `known` where none was."""

    query: str
    matched: str
    route: str | None
    id: str
    name: str
    addresses: list[str]
    roles: list[str]
    state: str
    endpoints: list[str]
    answered_by: str
    hops: int


class Route(TypedDict):
    """A prefix that a node offers; `selected`: traffic for it goes there now."""

    prefix: str
    id: str
    name: str
    selected: bool


class Invited(TypedDict):
    """A new invitation; `expires` is Unix time."""

    token: str
    expires: int


class Left(TypedDict):
    """This node has left for good. `told`: members with a session when it did; `final`: whether
    its certificate is void now; `certs` and `state`: where the daemon's files are."""

    told: int
    final: bool
    certs: str
    state: str


class Revoked(TypedDict):
    """Whose certificates were revoked: a node, or a CA. `serials` are what is new on the lists: 16
    hex digits for a certificate, 34 for a key; `elsewhere`: sentences on what is left to do."""

    id: str
    name: str
    serials: list[str]
    elsewhere: list[str]


class Renewed(TypedDict):
    """The certificate that this node has now; as in `cert show`."""

    name: str
    serial: str
    not_before: str
    not_after: str
    issuer: str


class Backend(Protocol):
    """What the daemon answers with. Any of these may raise LocalError: its sentence is shown."""

    def status(self) -> Status:
        """The whole status. Raises LocalError while TUN and UDP are not up yet."""

    def health(self) -> tuple[bool, str]:
        """Whether the node works, and if not what fails."""

    async def metrics(self) -> bytes:
        """Prometheus text."""

    async def lookup(self, text: str) -> Found:
        """The node with this name, id, address, or a route to this address."""

    def routes(self) -> list[Route]:
        """Every route that members offer."""

    async def why(self, peer: str) -> Why:
        """Both ends' candidates, what was tried, and why the path in use is. Raises LocalError."""

    def netcheck(self) -> Netcheck:
        """What the network around this host lets through."""

    async def ping(self, peer: str, timeout: float) -> Pong | None:
        """Probe a peer through its session once; None if no answer came in `timeout` seconds.

        Raises LocalError if there is no such peer.
        """

    async def invite(self, grants: Grants, lifetime: int) -> Invited:
        """Make an invitation that holds for `lifetime` seconds. Raises LocalError."""

    async def revoke(self, node: str) -> Revoked:
        """Revoke a node by name, id or address, or a CA by its id. Raises LocalError."""

    async def renew(self) -> Renewed:
        """Get a new certificate now. Raises LocalError: why there is none."""

    async def leave(self) -> Left:
        """Leave the mesh for good, and begin to stop."""

    async def down(self) -> None:
        """Begin to stop; return at once."""
