"""Where an initiation goes."""

from __future__ import annotations

import errno
from dataclasses import replace

from gossip import NodeId
from meshd.node.path import WIDTHS4
from meshd.node.ways import MAX_WAYS, first_contacts, refused, ways
from meshd.node.wire import BASE_SEGMENT, RELAY_PREFIX, RELAYED, Endpoint
from tests.node.virtual import Mesh

STREAM: Endpoint = ("tls:192.0.2.9", 443)


def test_proven_paths_come_first_then_streams_then_claims_and_channels_beside() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(3)
    peer, now = alpha.peer(beta), mesh.world.now
    peer.fallback.endpoints = (STREAM,)
    peer.hints = (("192.0.2.7", 443),)
    peer.paths.relayed(NodeId(bytes(16)), 7, ("192.0.2.8", 443), now)
    assert ways(alpha.node.state, peer) == [
        (b"", beta.endpoints[0]),
        (b"", STREAM),
        (b"", ("192.0.2.7", 443)),
        (RELAY_PREFIX.pack(RELAYED, 7), ("192.0.2.8", 443)),
    ]


def test_of_what_is_claimed_not_everything_is_believed() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    peer = alpha.peer(beta)
    peer.hints = tuple((f"192.0.2.{number}", 443) for number in range(1, 60))
    assert len(ways(alpha.node.state, peer)) == MAX_WAYS


def test_bootstrap_endpoints_are_for_who_has_the_role_and_while_nobody_is_reached() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    state, peer = alpha.node.state, alpha.peer(beta)
    state.bootstrap = (("192.0.2.5", 443),)
    assert peer.certificate is not None
    assert first_contacts(state, peer) == ()
    peer.certificate = replace(peer.certificate, roles=("bootstrap",))
    assert first_contacts(state, peer) == state.bootstrap
    peer.certificate = None
    state.sessions.clear()
    assert first_contacts(state, peer) == state.bootstrap


def test_what_the_kernel_refused_is_told_with_the_path_and_narrows_it() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(3)
    path = alpha.peer(beta).path
    assert path is not None
    assert path.segment == WIDTHS4[0]
    state, now = alpha.node.state, mesh.world.now
    refused(state, path.endpoint, errno.errorcode[errno.ENETUNREACH], False, now)
    assert (path.last_error, path.segment) == ("ENETUNREACH", WIDTHS4[0])
    refused(state, path.endpoint, "too large", True, now)
    assert path.segment == BASE_SEGMENT
