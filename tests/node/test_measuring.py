"""What two nodes tell each other of loss, and what the path in use makes of it."""

from __future__ import annotations

from random import Random

import pytest

from meshd.node import control
from meshd.node.metering import Mark, Tally
from meshd.node.path import Path
from meshd.node.peer import Peer
from meshd.node.wire import BASE_SEGMENT, DATA, MAX_SEGMENTS
from tests.node.test_dialogue import say
from tests.node.virtual import PORT, Datagram, Filter, Host, Mesh


def path_of(peer: Peer) -> Path:
    assert peer.path is not None
    return peer.path


def stream(mesh: Mesh, one: Host, other: Host, seconds: float, size: int = 6000) -> None:
    """Frames of five segments or so, 100 a second."""
    until = mesh.world.now + seconds
    while mesh.world.now < until:
        one.send(other, bytes(size))
        mesh.run(0.01)


def losing(share: float, host: str = "alpha") -> tuple[list[float], Filter]:
    """A filter that loses some of the datagrams of one host, and the share, to be changed."""
    rng, now = Random(5), [share]

    def lost(datagram: Datagram) -> bytes | None:
        gone = datagram.host == host and datagram.kind == DATA and rng.random() < now[0]
        return None if gone else datagram.payload

    return now, lost


def test_a_clean_path_stays_without_parity_though_it_is_measured() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    stream(mesh, alpha, beta, 6.0)
    path = path_of(alpha.peer(beta))
    assert path.control.known
    assert (path.parity, path.span, path.loss) == (None, MAX_SEGMENTS, 0.0)


def test_loss_brings_parity_and_its_end_takes_it_away() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    stream(mesh, alpha, beta, 1.0)
    share, lost = losing(0.03)
    mesh.filters.append(lost)
    stream(mesh, alpha, beta, 4.0)
    path = path_of(alpha.peer(beta))
    assert path.parity is not None
    assert path.parity[5] >= 2
    assert path.loss == pytest.approx(0.03, abs=0.02)
    before = len(beta.packets)
    stream(mesh, alpha, beta, 2.0)
    assert len(beta.packets) - before >= 199
    assert alpha.peer(beta).meter.saved > 0
    assert path_of(beta.peer(alpha)).control.share == 0
    share[0] = 0.0
    stream(mesh, alpha, beta, 20.0)
    assert path.parity is None
    assert path.span == MAX_SEGMENTS


def test_a_path_is_measured_as_often_as_its_loss_asks_for() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    answers: list[float] = []

    def count(datagram: Datagram) -> bytes | None:
        if datagram.host == "beta" and datagram.kind == DATA:
            answers.append(datagram.time)
        return datagram.payload

    mesh.filters.append(count)
    stream(mesh, alpha, beta, 2.0)
    answers.clear()
    stream(mesh, alpha, beta, 4.0)
    assert 12 <= len(answers) <= 30
    mesh.filters.append(losing(0.03)[1])
    stream(mesh, alpha, beta, 2.0)
    answers.clear()
    stream(mesh, alpha, beta, 4.0)
    assert 50 <= len(answers) <= 100


def test_what_is_sent_to_places_where_nobody_is_does_not_count() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    stream(mesh, alpha, beta, 1.0)
    peer = alpha.peer(beta)
    peer.paths.consider([(f"192.0.2.{n}", PORT) for n in range(1, 20)], mesh.world.now)
    stream(mesh, alpha, beta, 5.0)
    assert path_of(peer).control.loss == 0.0


def test_a_dead_path_among_others_is_noticed_as_before() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    stream(mesh, alpha, beta, 1.0)
    mesh.filters.append(losing(1.0, "beta")[1])
    begun = mesh.world.now
    while alpha.ready(beta) and mesh.world.now < begun + 10:
        alpha.send(beta, b"anybody?")
        mesh.run(0.01)
    assert 1.0 < mesh.world.now - begun < 6.0


@pytest.mark.parametrize("lie", [Tally(1 << 40, 1 << 40), Tally(1, 1, 1, 0, 0)])
def test_a_peer_that_tells_what_cannot_be_is_counted_and_not_believed(lie: Tally) -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    stream(mesh, alpha, beta, 1.0)
    peer = alpha.peer(beta)
    for nonce in range(1 << 63, (1 << 63) + 5):
        session, path = peer.current, path_of(peer)
        assert session is not None
        peer.meter.sent(nonce, Mark(path, session, session.frames_sent, 0, mesh.world.now))
        say(beta, alpha, control.ProbeAck(nonce, None, lie))
    assert alpha.drops["tally"] == 5
    assert alpha.ready(beta)
    assert path_of(peer).control.share == 0


def test_answers_to_probes_that_were_never_sent_change_nothing() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    stream(mesh, alpha, beta, 1.0)
    for nonce in range(1 << 63, (1 << 63) + 50):
        say(beta, alpha, control.ProbeAck(nonce, None, Tally(nonce & 7)))
    assert alpha.drops["tally"] == 0
    stream(mesh, alpha, beta, 2.0)
    assert path_of(alpha.peer(beta)).control.loss == 0.0


def test_a_path_that_becomes_narrow_under_a_transfer_is_found_out_before_the_third_try() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    stream(mesh, alpha, beta, 4.0)
    path = path_of(alpha.peer(beta))
    assert path.segment == 1472
    mesh.filters.append(lambda datagram: datagram.payload if len(datagram.payload) < 1272 else None)
    stream(mesh, alpha, beta, 0.1)
    before = len(beta.packets)
    # TCP's pauses double: what is lost at first is sent again 0.2, 0.6 and 1.4 s later.
    for pause in (0.2, 0.4, 0.8):
        mesh.run(pause)
        alpha.send(beta, bytes(6000))
    mesh.run(0.1)
    assert len(beta.packets) > before
    assert (path.segment, path.valid) == (BASE_SEGMENT, True)
    stream(mesh, alpha, beta, 1.0)
    assert len(beta.packets) > before + 95


def test_loss_that_takes_datagrams_of_any_size_leaves_the_width_alone() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    stream(mesh, alpha, beta, 4.0)
    _, lost = losing(0.05)
    mesh.filters.append(lost)
    stream(mesh, alpha, beta, 10.0, 500)
    assert path_of(alpha.peer(beta)).segment == 1472
