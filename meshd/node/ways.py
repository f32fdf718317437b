"""By which ways a datagram may reach a peer: whatever is proven, dialled or said."""

from __future__ import annotations

from meshd.node.peer import Peer
from meshd.node.state import NodeState
from meshd.node.wire import BASE_SEGMENT, Endpoint

MAX_WAYS = 12
"""Endpoints that one initiation is sent to."""


def ways(state: NodeState, peer: Peer) -> list[tuple[bytes, Endpoint]]:
    """What to put before the datagram, and where to send it: proven paths first, then streams that
    are dialled, then where the peer may be; and every relay channel to it."""
    endpoints = [path.endpoint for path in peer.paths if path.relay is None and path.valid]
    endpoints += peer.fallback.endpoints
    endpoints += peer.candidates(first_contacts(state, peer))
    found = [(b"", endpoint) for endpoint in list(dict.fromkeys(endpoints))[:MAX_WAYS]]
    return found + [(path.prefix, path.endpoint) for path in peer.paths if path.relay is not None]


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
