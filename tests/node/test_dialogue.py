"""What nodes say in sessions: roaming, relaying, pings, goodbyes, and nonsense."""

from __future__ import annotations

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
    Endpoint,
    Frame,
    entry,
)
from simulations.nat import NatKind
from tests.node.virtual import PORT, Datagram, Host, Mesh, lose

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
    mesh.run(1)
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
    assert list(alpha.node.state.reflexive) == [("192.0.2.1", 100)]
    for number in range(100):
        path = alpha.peer(beta).path
        assert path is not None
        path.waiting[5000 + number] = (mesh.world.now, 0)
        say(beta, alpha, control.ProbeAck(5000 + number, ("192.168.2.1", 1 + number)))
    assert len(alpha.node.state.reflexive) == MAX_REFLEXIVE
    assert ("192.168.2.1", 100) in alpha.node.state.reflexive
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
