"""By which ways a datagram may reach a peer: whatever is proven, dialled or said."""

from __future__ import annotations

import ipaddress

from meshd.node.mapping import is_inside, is_public
from meshd.node.path import PathKind
from meshd.node.peer import HANDSHAKE_RETRY_FIRST, Peer
from meshd.node.state import NodeState
from meshd.node.wire import BASE_SEGMENT, Endpoint

MAX_WAYS = 12
"""Endpoints that one initiation is sent to."""


def ways(state: NodeState, peer: Peer) -> list[tuple[bytes, Endpoint]]:
    """What to put before the datagram, and where to send it: proven paths first, then streams that
    are dialled, then where the peer may be; and every relay channel to it: at first only those that
    answer, if there are any."""
    first = peer.retry <= 2 * HANDSHAKE_RETRY_FIRST
    waits = first and (peer.current is not None or may_be_relayed(state, peer))
    endpoints = [path.endpoint for path in peer.paths if path.relay is None and path.valid]
    endpoints += peer.fallback.endpoints
    endpoints += [e for e in candidates(state, peer) if not waits or not is_held(state, peer, e)]
    endpoints += first_contacts(state, peer)
    found = [(b"", endpoint) for endpoint in list(dict.fromkeys(endpoints))[:MAX_WAYS]]
    relayed = [path for path in peer.paths if path.relay is not None]
    working = [path for path in relayed if path.valid] if first else []
    return found + [(path.prefix, path.endpoint) for path in working or relayed]


def first_contacts(state: NodeState, peer: Peer) -> tuple[Endpoint, ...]:
    """The bootstrap endpoints, for members that are one and while nobody else is reached."""
    certificate = peer.certificate
    known = certificate is not None and "bootstrap" in certificate.roles
    return state.bootstrap if known or not state.sessions else ()


def refused(state: NodeState, endpoint: Endpoint, reason: str, narrow: bool, now: float) -> None:
    """The kernel refused what was sent to `endpoint`; `narrow`: since it was too large."""
    for peer in state.peers.values():
        path = peer.paths.direct(endpoint)
        if path is not None:
            path.last_error = reason
            if narrow and path.segment > BASE_SEGMENT:
                path.narrow(now)


def candidates(state: NodeState, peer: Peer) -> list[Endpoint]:
    """Where a peer may be, as its record and its neighbourhood say, and can be."""
    return [endpoint for endpoint in peer.candidates() if may_be(state, endpoint)]


def direct_candidates(state: NodeState, peer: Peer) -> list[Endpoint]:
    """Those of them that are probed in a session: `punching` sees to the others."""
    return [e for e in candidates(state, peer) if not is_held(state, peer, e)]


def may_be(state: NodeState, endpoint: Endpoint) -> bool:
    """Whether another node can be there: not at our own endpoints, not inside the mesh, and on this
    host only if we are nowhere else."""
    own = (*state.local_endpoints, *(state.told_endpoints or ()))
    if endpoint in own:
        return False
    address, mesh = ipaddress.ip_address(endpoint[0]), state.identity.mesh
    if address.is_loopback:
        return all(ipaddress.ip_address(host).is_loopback for host, _ in own)
    if isinstance(address, ipaddress.IPv4Address):
        return address not in mesh.cidr
    return address not in mesh.prefix6


def is_nated(state: NodeState, endpoints: tuple[Endpoint, ...] | None = None) -> bool:
    """Whether a NAT stands before us that lets in nobody whom we did not call. `endpoints`: what
    we tell, if not what we told last."""
    forwarded = (*state.config.endpoints, *state.mapped_endpoints)
    local = [endpoint for endpoint in state.local_endpoints if ":" not in endpoint[0]]
    if any(is_public(endpoint) for endpoint in (*forwarded, *local)):
        return False
    told = endpoints if endpoints is not None else state.told_endpoints or ()
    if not state.local_endpoints:
        return True  # nothing is known yet: caution costs little
    return any(map(is_public, told)) or (bool(local) and all(map(is_inside, local)))


def is_held(state: NodeState, peer: Peer, endpoint: Endpoint) -> bool:
    """Whether nothing is to be sent to an endpoint of a peer's before both agree on the moment:
    NATs stand before both, and what comes too early may do harm (see `punching`)."""
    record = peer.record
    return record is not None and record.is_nated and is_public(endpoint) and is_nated(state)


def may_be_relayed(state: NodeState, peer: Peer) -> bool:
    """Whether there may be somebody to ask for a relayed path."""
    return any(
        other is not peer
        and other.record is not None
        and other.record.relays
        and (other.path is None or other.path.kind is not PathKind.RELAY)
        for other in state.peers.values()
    )
