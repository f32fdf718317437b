"""What nodes say in sessions: roaming, relaying, pings, goodbyes, and nonsense."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossip import GossipProtocol, NodeId
from meshd.node import control
from meshd.node.control import Control, encode_control
from meshd.node.dialogue import MAX_REFLEXIVE
from meshd.node.outputs import PeerChanged
from meshd.node.wire import (
    BASE_SEGMENT,
    CONTROL,
    DATA,
    INITIATION,
    RELAY_SIZE,
    Endpoint,
    Frame,
    entry,
)
from simulations.nat import NatKind
from tests.node.virtual import CONFIG, PORT, Datagram, Host, Mesh, lose

STRANGER: Endpoint = ("192.0.2.66", 4000)


def seal(speaker: Host, listener: Host, data: bytes) -> bytes:
    """One datagram of `speaker`'s session with `listener`: a frame of these entries."""
    session, path = speaker.peer(listener).current, speaker.peer(listener).path
    assert session is not None
    assert path is not None
    frame: Frame = session.seal(
        data, memoryview(bytearray(len(data) + 16)), BASE_SEGMENT, b"", path.endpoint
    )
    return b"".join(bytes(part) for part in frame.parts)


def say(speaker: Host, listener: Host, message: Control) -> list[Datagram]:
    """Let `speaker`, who may be malicious, say something; what `listener` sends at once."""
    datagram = seal(speaker, listener, encode_control(message))
    return listener.receive(datagram, speaker.endpoints[0])


def symmetric(mesh: Mesh, relays: int = 1) -> tuple[list[Host], Host, Host]:
    """Relays in the open, and two hosts behind symmetric NATs that can only use those."""
    open_ones = [mesh.alpha(), *(mesh.host(f"relay-{n}") for n in range(1, relays))]
    one, other = (mesh.host(name, NatKind.SYMMETRIC) for name in ("gamma", "delta"))
    mesh.connect(*open_ones, one, other)
    return open_ones, one, other


# Roaming


def test_a_session_follows_who_moves_and_nothing_is_negotiated_anew() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(3)
    session, begun = alpha.peer(beta).current, mesh.kinds()[INITIATION]
    beta.move("198.51.100.77")
    beta.send(alpha, b"I am here now")
    mesh.run(3)
    alpha.send(beta, b"welcome")
    mesh.run(0.5)
    assert beta.packets[0].endswith(b"welcome")
    assert alpha.packets[0].endswith(b"I am here now")
    assert alpha.peer(beta).current is session
    assert mesh.kinds()[INITIATION] == begun


def test_a_move_is_followed_before_the_old_way_has_timed_out() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(3)
    beta.move("198.51.100.77")
    moved = mesh.world.now
    while mesh.world.now < moved + 8 and not beta.packets:
        beta.send(alpha, b"up")
        alpha.send(beta, b"down")
        mesh.run(0.1)
    assert mesh.world.now - moved < 1
    path = alpha.peer(beta).path
    assert path is not None
    assert path.endpoint == ("198.51.100.77", PORT)


def test_only_authenticated_frames_move_a_peer() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(3)
    path, before = alpha.peer(beta).path, alpha.drops.total()
    datagrams = [d for d in mesh.sent if d.host == "beta" and d.kind == DATA]
    for datagram in datagrams:
        flipped = bytearray(datagram.payload)
        flipped[-1] ^= 1
        assert alpha.receive(datagram.payload, STRANGER) == []
        assert alpha.receive(bytes(flipped), STRANGER) == []
    assert alpha.drops.total() == before + 2 * len(datagrams)
    assert alpha.peer(beta).path is path
    assert alpha.peer(beta).paths.direct(STRANGER) is None


def test_a_frame_that_a_thief_forwards_first_brings_him_probes_and_no_packets() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(3)
    path = alpha.peer(beta).path
    alpha.receive(seal(beta, alpha, encode_control(control.Probe(1))), STRANGER)
    for _ in range(20):
        alpha.send(beta, b"secret" * 100)
        mesh.run(0.1)
    mesh.run(10)
    stolen = [len(d.payload) for d in mesh.sent if d.destination == STRANGER]
    assert stolen
    assert max(stolen) < 100
    assert sum(stolen) < 1000
    assert alpha.peer(beta).path is path
    assert len(beta.packets) == 20


# Relays


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


# Endpoints that others see


def test_what_peers_see_of_us_is_remembered_within_bounds() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    for number in range(100):
        nonce = 1000 + number
        path = alpha.peer(beta).path
        assert path is not None
        path.waiting[nonce] = (mesh.world.now, 0)
        say(beta, alpha, control.ProbeAck(nonce, ("192.0.2.1", 1 + number)))
    assert len(alpha.node.state.reflexive) == MAX_REFLEXIVE
    assert ("192.0.2.1", 100) in alpha.node.state.reflexive
    say(beta, alpha, control.ProbeAck(7, ("192.0.2.1", 5000)))
    assert ("192.0.2.1", 5000) not in alpha.node.state.reflexive


# Goodbyes and nonsense


def test_a_goodbye_ends_the_session_at_once() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(2)
    say(beta, alpha, control.Close())
    assert alpha.peer(beta).sessions() == []
    assert not alpha.ready(beta)
    assert alpha.told(PeerChanged)[-1].event == "lost"
    mesh.until(lambda: alpha.ready(beta), 5)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (entry(CONTROL, b"\xff"), "control"),
        (entry(CONTROL, b"\x81\x18\x63"), "control"),
        (encode_control(control.Enrol(b"")), "control"),
        (encode_control(control.Enrolled(b"")), "control"),
        (encode_control(control.CertificateChain((b"x",))), "control"),
    ],
)
def test_what_makes_no_sense_in_a_session_is_counted(data: bytes, reason: str) -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    before = alpha.drops[reason]
    assert alpha.receive(seal(beta, alpha, data), beta.endpoints[0]) == []
    assert alpha.drops[reason] == before + 1
    assert alpha.ping(beta)


def test_gossip_that_makes_no_sense_is_counted_by_gossip() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    data = encode_control(control.Gossip(b"nonsense"))
    assert alpha.receive(seal(beta, alpha, data), beta.endpoints[0]) == []
    assert alpha.node.gossip.statistics().refused["malformed"] == 1


def test_one_bad_message_does_not_keep_the_next_from_being_heard() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    both = entry(CONTROL, b"\xff") + encode_control(control.Probe(9))
    (answer,) = alpha.receive(seal(beta, alpha, both), beta.endpoints[0])
    assert answer.kind == DATA
    assert alpha.drops["control"] == 1


def test_what_is_said_before_there_is_a_session_is_kept_within_bounds() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    say(beta, alpha, control.Close())
    peer = alpha.peer(beta)
    for nonce in range(100):
        alpha.node._dialogue.send(peer, control.Probe(nonce), mesh.world.now)
    assert len(peer.waiting) == 32
    mesh.filters.append(lose(INITIATION, 1))
    alpha.settle()
    mesh.until(lambda: alpha.ready(beta), 10)
    assert len(peer.waiting) == 0


def test_gossip_that_comes_together_is_acted_on_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alpha, beta = Mesh().pair()
    acted: list[bytes] = []

    def receive(self: GossipProtocol, payload: bytes, sender: NodeId, now: float) -> None:
        acted.append(payload)

    monkeypatch.setattr(GossipProtocol, "receive", receive)
    now = alpha.mesh.world.now
    sealed = [
        seal(beta, alpha, encode_control(control.Gossip(b"%d" % number))) for number in range(3)
    ]
    for data in sealed:
        alpha.node.receive(memoryview(bytearray(data)), len(data), beta.endpoints[0], now)
    assert acted == [b"0"]
    wakeup = alpha.node.next_wakeup()
    assert wakeup is not None
    assert wakeup.at <= now
    alpha.node.handle_timer(now)
    assert acted == [b"0", b"1"]
    alpha.node.handle_timer(now)
    assert acted == [b"0", b"1", b"2"]
