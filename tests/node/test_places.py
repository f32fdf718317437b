"""Where a node may be found, and what it does when the network around it changes."""

from __future__ import annotations

from meshd.node.places import MAX_HINTS, MAX_MAPPED
from meshd.node.wire import Endpoint
from tests.node.virtual import Mesh


def test_mapped_endpoints_are_told_before_those_of_the_host() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta")
    mesh.connect(alpha, beta)
    mapped: Endpoint = ("198.51.100.77", 4000)
    beta.node.places.set_mapped([mapped], mesh.world.now)
    beta.settle()
    mesh.run(10)
    record = alpha.peer(beta).record
    assert record is not None
    assert record.endpoints == (mapped, *beta.endpoints)
    beta.node.places.set_mapped([], mesh.world.now)
    beta.settle()
    mesh.run(10)
    record = alpha.peer(beta).record
    assert record is not None
    assert record.endpoints == tuple(beta.endpoints)


def test_few_mapped_endpoints_are_believed() -> None:
    alpha = Mesh().alpha()
    alpha.node.places.set_mapped([("198.51.100.77", port) for port in range(1, 99)], 0.0)
    assert len(alpha.node.state.mapped_endpoints) == MAX_MAPPED


def test_a_hint_is_tried_and_few_are_kept() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    peer, now = alpha.peer(beta), mesh.world.now
    hints: list[Endpoint] = [(f"192.168.7.{n}", 443) for n in range(1, 9)]
    assert alpha.node.places.hint(peer.id, hints, now)
    assert peer.hints == tuple(hints[:MAX_HINTS])
    assert all(peer.paths.direct(hint) is not None for hint in peer.hints)
    assert all(peer.paths.direct(hint) is None for hint in hints[MAX_HINTS:])
    alpha.node.places.hint(peer.id, [("192.168.7.200", 443)], now)
    assert peer.hints[0] == ("192.168.7.200", 443)
    assert len(peer.hints) == MAX_HINTS


def test_a_hint_about_a_stranger_is_nothing() -> None:
    alpha = Mesh().alpha()
    assert not alpha.node.places.hint(alpha.identity.id, [("192.168.7.1", 443)], 0.0)
    assert not alpha.node.state.outputs


def test_a_network_that_changed_is_asked_at_once() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(8)
    path = alpha.peer(beta).path
    assert path is not None
    assert path.next_probe_at > mesh.world.now + 1
    alpha.node.places.network_changed(mesh.world.now)
    assert path.next_probe_at == mesh.world.now
