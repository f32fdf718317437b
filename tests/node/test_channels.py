"""Relay channels at their ends: who is asked, which way is used, and whose datagrams they are."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from gossip import GossipProtocol, NodeId
from meshd.node import control
from meshd.node.choice import QUICKER
from meshd.node.control import encode_control
from meshd.node.wire import DATA, INITIATION, RELAY_SIZE
from simulations.nat import NatKind
from tests.node.test_dialogue import STRANGER, say, seal, symmetric
from tests.node.virtual import CONFIG, PORT, Host, Mesh


def test_two_symmetric_nats_meet_at_a_relay_that_reads_nothing() -> None:
    mesh = Mesh()
    (alpha,), gamma, delta = symmetric(mesh)
    assert (gamma.way(delta), delta.way(gamma)) == ("relay", "relay")
    path = gamma.peer(delta).path
    assert path is not None
    assert path.relay == alpha.identity.id
    gamma.send(delta, b"for delta only" * 200)
    mesh.run(1)
    assert delta.packets[0].endswith(b"for delta only")
    carried = [d for d in mesh.sent if d.relayed]
    assert all(b"for delta only" not in d.payload for d in carried)
    received = {d.payload for d in carried if d.host != "alpha"}
    assert {d.payload for d in carried if d.host == "alpha"} <= received
    assert alpha.node.relay.forwarded_bytes > 2800
    pong = gamma.ping(delta)
    assert pong is not None
    assert (pong.kind, pong.via) == ("relay", "alpha")


def test_the_relays_on_the_shortest_way_are_asked_and_one_by_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seven stand ready, all equally far; coordinates say how far each is from the other end."""
    mesh = Mesh()
    far: dict[NodeId, float] = {}

    def distance(self: GossipProtocol, one: NodeId, other: NodeId | None = None) -> float | None:
        return far.get(one)

    monkeypatch.setattr(GossipProtocol, "distance", distance)
    relays = [mesh.alpha(), *(mesh.host(f"relay-{number}") for number in range(1, 7))]
    far.update({relay.identity.id: 0.1 / (n + 1) for n, relay in enumerate(relays)})
    one, other = (mesh.host(name, NatKind.SYMMETRIC) for name in ("gamma", "delta"))
    mesh.connect(*relays, one)
    mesh.connect(*relays, other)
    one.node.handle_timer(mesh.world.now)
    mesh.until(lambda: one.way(other) == "relay", within=10)
    asked = [len(relay.node.relay) for relay in relays]
    assert asked[-3:] == [1, 1, 1]
    assert 4 <= sum(asked) <= 5


def without_udp(mesh: Mesh, *, relay_restarts: bool) -> tuple[Host, Host]:
    """Two that knew each other come back where no UDP passes; a relay takes streams."""
    alpha = mesh.alpha(replace(CONFIG, accepts_streams=True))
    one, other = (mesh.host(name, NatKind.SYMMETRIC) for name in ("gamma", "delta"))
    mesh.connect(alpha, one, other)
    for host, peer in ((one, alpha), (other, alpha), (one, other)):
        for here, there in ((host, peer), (peer, host)):
            mesh.network.block(here.endpoints[0][0], there.endpoints[0][0])
    restarted = [alpha] * relay_restarts + [one, other]
    for host in restarted:
        host.kill()
    for host in restarted:
        host.start()
    mesh.until(lambda: one.ready(alpha) and other.ready(alpha), 3.0)
    assert one.way(alpha) == other.way(alpha) == "stream"
    return one, other


def test_who_waits_for_a_relay_asks_as_soon_as_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meshd.node.streams.ALONE_AFTER", 0.55)  # just after asking in vain
    mesh = Mesh()
    one, other = without_udp(mesh, relay_restarts=True)
    assert mesh.connect(one, other) < 0.1
    assert one.way(other) == other.way(one) == "relay"


def test_a_relay_that_believes_in_old_ways_is_asked_again_soon() -> None:
    mesh = Mesh()
    one, other = without_udp(mesh, relay_restarts=False)
    assert mesh.connect(one, other) < 2.5
    assert one.way(other) == other.way(one) == "relay"


def test_when_its_relay_dies_a_pair_uses_the_other() -> None:
    mesh = Mesh()
    relays, gamma, delta = symmetric(mesh, relays=2)
    mesh.run(5)
    path = gamma.peer(delta).path
    assert path is not None
    dead = next(r for r in relays if r.identity.id == path.relay)
    (left,) = (r for r in relays if r is not dead)
    dead.kill()
    died = mesh.world.now
    while mesh.world.now < died + 20:
        gamma.send(delta, b"%d" % int(mesh.world.now - died))
        delta.send(gamma, b"x")
        mesh.run(0.1)
    for one, other in ((gamma, delta), (delta, gamma)):
        way = one.peer(other).path
        assert way is not None
        assert way.relay == left.identity.id
    seconds = {int(packet[20:]) for packet in delta.packets}
    missed = set(range(20)) - seconds
    assert max(missed, default=0) < 8


def test_a_relay_that_restarts_is_used_again() -> None:
    mesh = Mesh()
    (alpha,), gamma, delta = symmetric(mesh)
    alpha.kill()
    mesh.run(3)
    alpha.start()
    mesh.run(15)
    assert gamma.way(delta) == "relay"
    assert gamma.ping(delta)
    assert delta.ping(gamma)


def test_a_direct_way_is_preferred_as_soon_as_there_is_one() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.network.block("198.51.100.2", "198.51.100.3")
    mesh.network.block("198.51.100.3", "198.51.100.2")
    mesh.connect(alpha, beta, gamma)
    assert beta.way(gamma) == gamma.way(beta) == "relay"
    mesh.network.heal()
    mesh.until(lambda: beta.way(gamma) == gamma.way(beta) == "direct", 30)


def test_a_pair_connects_though_one_direction_is_blocked() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.network.block("198.51.100.2", "198.51.100.3")
    mesh.connect(alpha, beta, gamma)
    assert beta.way(gamma) == gamma.way(beta) == "relay"
    assert beta.ping(gamma)


def test_who_will_not_relay_is_not_asked_and_would_refuse() -> None:
    mesh = Mesh()
    alpha = mesh.alpha(config=replace(CONFIG, relays=False))
    gamma, delta = (mesh.host(name, NatKind.SYMMETRIC) for name in ("gamma", "delta"))
    mesh.connect(alpha, gamma)
    mesh.connect(alpha, delta)
    mesh.run(10)
    assert gamma.way(delta) == "none"
    assert len(alpha.node.relay) == 0
    gamma.node._dialogue.send(
        alpha.peer(gamma) and gamma.peer(alpha),
        control.RelayOpen(delta.identity.id),
        mesh.world.now,
    )
    gamma.settle()
    mesh.run(0.5)
    assert gamma.peer(delta).last_error == "alpha cannot relay to it"
    gamma.send(delta, b"lost")
    mesh.run(60)
    assert delta.packets == []
    assert len(alpha.node.relay) == 0


def test_relay_and_ends_need_not_agree_on_an_address_family() -> None:
    mesh = Mesh()
    alpha = mesh.alpha(addresses=("198.51.100.1", "2001:db8::1"))
    beta = mesh.host("beta", addresses=("198.51.100.2", "2001:db8::2"))
    gamma = mesh.host("gamma", addresses=("198.51.100.3", "2001:db8::3"))
    for one, other in ((2, 3), (3, 2)):
        mesh.network.block(f"198.51.100.{one}", f"198.51.100.{other}")
        mesh.network.block(f"2001:db8::{one}", f"2001:db8::{other}")
    mesh.connect(alpha, beta, gamma)
    mesh.run(15)
    assert beta.way(gamma) == "relay"
    for end, number in ((beta, 2), (gamma, 3)):
        paths = alpha.peer(end).paths
        paths.current = paths.direct((f"2001:db8::{number}", PORT))
        paths = end.peer(alpha).paths
        paths.current = paths.direct(("198.51.100.1", PORT))
        relayed = end.peer(gamma if end is beta else beta).path
        assert relayed is not None
        relayed.endpoint = ("198.51.100.1", PORT)
    beta.send(gamma, b"across")
    gamma.send(beta, b"and back")
    mesh.run(0.1)
    assert gamma.packets[-1].endswith(b"across")
    assert beta.packets[-1].endswith(b"and back")


def test_nobody_else_can_use_a_channel() -> None:
    mesh = Mesh()
    (alpha,), gamma, delta = symmetric(mesh)
    path = gamma.peer(delta).path
    assert path is not None
    forged = path.prefix + bytes(40)
    assert alpha.receive(forged, STRANGER) == []
    assert alpha.drops["relay-source"] == 1
    assert delta.receive(forged, STRANGER) == []
    unknown = bytes((5, 0, 0, 0, 1, 2, 3, 4)) + bytes(40)
    assert delta.receive(unknown, alpha.endpoints[0]) == []
    assert delta.drops["relay-channel"] >= 2
    assert alpha.receive(path.prefix, STRANGER) == []
    assert alpha.drops["malformed"] == 1


def test_a_member_cannot_talk_others_into_ways_through_itself_or_to_itself() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    mesh.run(2)
    ghost = NodeId(b"g" * 16)
    for target in (beta.identity.id, alpha.identity.id, ghost):
        say(beta, alpha, control.RelayOpened(7, target))
    assert [p for peer in alpha.node.state.peers.values() for p in peer.paths if p.relay] == []
    say(beta, alpha, control.RelayOpened(8, gamma.identity.id))
    mesh.run(15)
    assert alpha.way(gamma) == "direct"
    assert alpha.ping(gamma)


def test_initiation_and_data_joined_by_gro_both_count() -> None:
    mesh = Mesh()
    _, gamma, delta = symmetric(mesh)
    mesh.run(3)
    mine = delta.peer(gamma).path
    assert mine is not None
    initiation = next(d.payload for d in mesh.sent if d.relayed and d.kind == INITIATION)
    delta.drops.clear()
    data = mine.prefix + seal(gamma, delta, encode_control(control.Probe(5)))
    joined = mine.prefix + initiation[RELAY_SIZE:] + data
    (answer,) = delta.receive(joined, mine.endpoint, segment=len(initiation))
    assert answer.kind == DATA
    assert delta.drops.total() == 1


def test_a_better_relay_is_found_within_half_a_minute_while_another_is_in_use() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    gamma, delta = (mesh.host(name, NatKind.SYMMETRIC) for name in ("gamma", "delta"))
    far = alpha.endpoints[0][0]
    home = mesh.network._homes[far]
    home.position = (0.1, 0.0)  # 200 ms away and back
    mesh.connect(alpha, gamma, delta)
    gamma.send(delta, b"hello")
    mesh.run(30)
    assert gamma.way(delta) == "relay"
    near = mesh.host("near")
    mesh.connect(near, gamma, delta)
    begun = mesh.world.now

    def through() -> NodeId | None:
        path = gamma.peer(delta).path
        return path.relay if path is not None else None

    while through() != near.identity.id and mesh.world.now < begun + 60:
        gamma.send(delta, b"on and on")
        mesh.run(0.5)
    assert mesh.world.now - begun < 30
    assert gamma.peer(delta).paths.choice.reason == QUICKER


def test_two_equal_relays_are_exchanged_once_a_minute_at_most() -> None:
    """A bufferbloat diamond: whichever is used gets slow by that, and the other one recovers."""
    mesh = Mesh()
    relays, gamma, delta = symmetric(mesh, relays=2)
    mesh.run(5)
    used: list[tuple[float, NodeId | None]] = []
    queues = {relay.identity.id: 0.0 for relay in relays}
    homes = {r.identity.id: mesh.network._homes[r.endpoints[0][0]] for r in relays}
    for _ in range(1500):
        path = gamma.peer(delta).path
        now_used = path.relay if path is not None else None
        if not used or used[-1][1] != now_used:
            used.append((mesh.world.now, now_used))
        for node, queue in queues.items():
            queues[node] = min(0.15, queue + 0.02) if node == now_used else max(0.0, queue - 0.01)
            homes[node].position = (queues[node], 0.0)
        gamma.send(delta, b"on and on")
        delta.send(gamma, b"and back")
        mesh.run(0.2)
    assert None not in [relay for _, relay in used]
    times = [at for at, _ in used[1:]]
    assert all(later - earlier >= 60 for earlier, later in pairwise(times))


def test_only_who_relays_for_us_is_followed_when_its_way_moves() -> None:
    mesh = Mesh()
    (alpha,), gamma, delta = symmetric(mesh)
    epsilon = mesh.host("epsilon", config=replace(CONFIG, relays=False))
    mesh.connect(gamma, epsilon)
    followed = gamma.node._channels._relays
    assert list(followed) == [alpha.identity.id]
    delta.kill()
    gamma.node.state.peers.pop(delta.identity.id)
    alpha.kill()
    mesh.until(lambda: gamma.peer(alpha).path is None, within=30)
    assert not followed
