"""Where a node may be found, and what it does when the network around it changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshd.node.handshaking import MAX_SENDS
from meshd.node.mapping import Kind
from meshd.node.peer import HANDSHAKE_RETRY_FIRST
from meshd.node.places import MAX_HINTS, MAX_MAPPED
from meshd.node.wire import Endpoint
from tests.node.virtual import CONFIG, Mesh


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


def test_of_many_known_members_the_one_at_the_bootstrap_address_is_met_at_once() -> None:
    mesh = Mesh()
    config = replace(CONFIG, relays=False)
    alpha = mesh.alpha(config)
    others = [mesh.host(f"m{number}", config=config) for number in range(7)]
    mesh.connect(alpha, *others)
    mesh.run(3)
    for host in (alpha, *others):
        host.kill()
    alpha.move("192.0.2.77")
    others[-1].move("192.0.2.88")
    others[-1].start()
    alpha.start()
    mesh.run(2)
    assert not alpha.ready(others[-1])
    alpha.node.places.set_bootstrap([("192.0.2.88", 443)], mesh.world.now)
    alpha.settle()
    mesh.until(lambda: alpha.ready(others[-1]), within=1.0)


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
    mesh.run(9)
    path = alpha.peer(beta).path
    assert path is not None
    assert path.next_probe_at > mesh.world.now + 1
    alpha.node.places.network_changed(mesh.world.now)
    assert path.next_probe_at == mesh.world.now


def test_what_the_old_network_s_nat_did_is_forgotten_with_it() -> None:
    mesh = Mesh()
    alpha, _beta = mesh.pair()
    mappings, own = alpha.node.state.mappings, alpha.node.state.local_endpoints
    mesh.run(20)
    assert mappings.judge(own, mesh.world.now).kind is not Kind.UNKNOWN
    alpha.node.places.network_changed(mesh.world.now)
    assert mappings.judge(own, mesh.world.now).kind is Kind.UNKNOWN


def test_a_network_that_changed_has_those_called_again_who_did_not_answer() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    beta.kill()
    mesh.run(250)
    peer = alpha.peer(beta)
    peer.state = "alive"  # as gossip takes it up again, when somebody else hears of it
    assert peer.current is None
    alpha.node.places.hint(peer.id, [("192.168.7.1", 443)], mesh.world.now)
    assert peer.attempt is not None
    peer.attempt.next_at, peer.retry = mesh.world.now + 15, 20.0
    alpha.node.places.network_changed(mesh.world.now)
    assert peer.attempt.next_at == mesh.world.now
    assert peer.retry == HANDSHAKE_RETRY_FIRST


def test_a_hint_finds_even_whom_gossip_has_given_up() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    beta.kill()
    mesh.run(250)
    peer = alpha.peer(beta)
    assert peer.state == "dead"
    assert peer.current is None
    beta.endpoints = [("192.168.7.2", 443)]
    mesh.network.place("192.168.7.2")
    beta.start()
    sent = len(mesh.sent)
    assert alpha.node.places.hint(peer.id, beta.endpoints, mesh.world.now)
    alpha.settle()
    assert ("192.168.7.2", 443) in [d.destination for d in list(mesh.sent)[sent:]]
    mesh.run(0.1)
    assert peer.ready(mesh.world.now)


def test_a_hint_about_a_member_that_left_is_nothing() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    beta.kill()
    peer = alpha.peer(beta)
    peer.state = "left"
    assert not alpha.node.places.hint(peer.id, [("192.168.7.1", 443)], mesh.world.now)
    assert peer.attempt is None


def test_hints_that_come_again_and_again_do_not_flood() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    beta.kill()
    mesh.run(250)
    peer = alpha.peer(beta)
    hint: Endpoint = ("192.168.7.1", 443)
    before = sum(d.destination == hint for d in mesh.sent)
    for _ in range(100):
        alpha.node.places.hint(peer.id, [hint], mesh.world.now)
        alpha.settle()
    # An attempt that goes on has sent some of them already.
    assert 0 < sum(d.destination == hint for d in mesh.sent) - before <= MAX_SENDS


def test_sessions_are_as_much_older_as_the_host_slept() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(30)
    peer = alpha.peer(beta)
    session, now = peer.current, mesh.world.now
    assert session is not None
    age = session.age(now)
    alpha.node.places.woke(60.0, now)
    assert session.age(now) == pytest.approx(age + 60)
    alpha.settle()
    mesh.run(1)
    assert peer.current is session
    alpha.node.places.woke(3600.0, mesh.world.now)
    alpha.settle()
    mesh.run(1)
    assert peer.current is not None
    assert peer.current is not session
    assert peer.ready(mesh.world.now)


def test_where_peers_saw_us_before_a_sleep_is_not_told_any_more() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(30)
    now = mesh.world.now
    seen = ("203.0.113.7", 9)
    alpha.node.state.reflexive[seen] = {beta.identity.id: now}
    assert seen in alpha.node.places.own(now)
    alpha.node.places.woke(100.0, now)
    assert seen not in alpha.node.places.own(now)
