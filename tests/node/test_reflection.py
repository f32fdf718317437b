"""Members that would have us send to somebody else: by forged sources, and by claims.

Whatever is not proven gets at most three times the bytes that came from there, beside what members
claim: and that is bounded for each address (see `meshd.node.allowance`).
"""

from __future__ import annotations

import pytest

from meshd.node import control
from meshd.node.allowance import UNPROVEN_BURST, UNPROVEN_RATE
from meshd.node.control import encode_control
from meshd.node.path import REFLECTED_MAX
from meshd.node.wire import DATA, RESPONSE, Endpoint
from tests.node.test_dialogue import seal
from tests.node.virtual import Datagram, Host, Mesh

VICTIM: Endpoint = ("192.0.2.200", 443)


class Bystander:
    """A host that takes no part; its address is used by others."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.got = 0
        """Bytes that came to it."""
        self.claimed = 0
        """Bytes that were sent in its name."""
        mesh.network.place(VICTIM[0])
        mesh.network.attach(VICTIM[0], self._take)

    def _take(self, payload: bytes, source: Endpoint) -> None:
        self.got += len(payload)

    def forge(self, payload: bytes, destination: Endpoint) -> None:
        """Send what seems to come from it."""
        self.claimed += len(payload)
        self.mesh.network.send(VICTIM, destination, payload)

    def forging(self, liar: Host, kind: int) -> None:
        """Let all that `liar` sends of a kind seem to come from it."""

        def judge(datagram: Datagram) -> bytes | None:
            if datagram.host != liar.name or datagram.kind != kind:
                return datagram.payload
            self.forge(datagram.payload, datagram.destination)
            return None

        self.mesh.filters.append(judge)


@pytest.mark.parametrize("probes", [0, 1, 3])
def test_an_authentic_frame_from_a_forged_source_is_answered_by_little(probes: int) -> None:
    mesh = Mesh()
    alpha, liar = mesh.pair()
    victim = Bystander(mesh)
    mesh.run(30)
    entries = b"".join(encode_control(control.Probe(nonce)) for nonce in range(probes))
    for _ in range(20):
        victim.forge(seal(liar, alpha, entries or b"\xff\0\0\0"), alpha.endpoints[0])
        mesh.run(3)
    mesh.run(600)
    assert 0 < victim.got <= REFLECTED_MAX * victim.claimed
    assert alpha.way(liar) == "direct"
    assert alpha.peer(liar).path is not alpha.peer(liar).paths.direct(VICTIM)


def test_a_first_frame_from_a_forged_source_moves_no_session_there() -> None:
    """The liar gets our response, and goes on as if it were at the victim's."""
    mesh = Mesh()
    alpha = mesh.alpha()
    victim = Bystander(mesh)
    liar = mesh.host("liar", start=False)
    victim.forging(liar, DATA)
    liar.start()
    mesh.until(lambda: liar.identity.id in alpha.node.state.peers, 10)
    for _ in range(600):
        alpha.send(liar, bytes(1000))
        mesh.run(0.1)
        path = alpha.peer(liar).paths.direct(VICTIM)
        assert path is None or not path.valid
    assert 0 < victim.got <= REFLECTED_MAX * victim.claimed


def test_a_response_from_a_forged_source_moves_no_session_there() -> None:
    mesh = Mesh()
    alpha, liar = mesh.pair()
    victim = Bystander(mesh)
    victim.forging(liar, RESPONSE)
    mesh.run(1)
    for _ in range(20):
        peer = alpha.peer(liar)
        alpha.node._dialogue.closed(peer, mesh.world.now)
        alpha.node._handshakes.begin(peer, mesh.world.now)
        alpha.settle()
        for _ in range(20):
            alpha.send(liar, bytes(1000))
            mesh.run(0.1)
            path = peer.paths.direct(VICTIM)
            assert path is None or not path.valid
    assert 0 < victim.got <= REFLECTED_MAX * victim.claimed


def test_who_answers_from_elsewhere_is_reached_a_round_trip_later() -> None:
    """A host of several addresses may answer from another one than it was called at."""
    mesh = Mesh()
    alpha = mesh.alpha()
    beta = mesh.host("beta", addresses=("198.51.100.77", "198.51.100.78"))
    mesh.run(5)
    alpha.node._dialogue.closed(alpha.peer(beta), mesh.world.now)
    beta.node._dialogue.closed(beta.peer(alpha), mesh.world.now)
    begun = mesh.world.now

    def judge(datagram: Datagram) -> bytes | None:
        """Beta is called at its second address only, and answers from its first."""
        ours = datagram.host == "alpha" and datagram.destination == beta.endpoints[0]
        return None if ours and datagram.kind == 1 else datagram.payload

    mesh.filters.append(judge)
    alpha.send(beta, b"hello")
    took = mesh.until(lambda: alpha.ready(beta), 1.0)
    assert took == pytest.approx(0.04, abs=0.011)
    assert alpha.peer(beta).path is not None
    assert mesh.world.now - begun < 0.06


def test_a_cookie_from_a_forged_source_proves_nothing() -> None:
    mesh = Mesh()
    alpha, liar = mesh.pair()
    mesh.run(2)
    peer, now = alpha.peer(liar), mesh.world.now
    cookies = liar.node._handshakes._cookies
    liar.kill()
    alpha.node._dialogue.closed(peer, now)
    alpha.node._handshakes.begin(peer, now)
    alpha.settle()
    called = next(d for d in reversed(mesh.sent) if d.host == "alpha" and d.kind == 1)
    allowance = alpha.node.state.allowance
    for address in (VICTIM[0], liar.endpoints[0][0]):
        while allowance.take(address, 1000, now):
            pass
    reply = cookies.reply(called.payload, VICTIM, now)
    alpha.receive(reply, VICTIM)
    assert not allowance.take(VICTIM[0], 1000, now)
    alpha.receive(reply, liar.endpoints[0])
    assert allowance.take(liar.endpoints[0][0], 1000, now)


@pytest.mark.parametrize("liars", [1, 2])
def test_forged_reflexive_answers_send_little_elsewhere_and_cut_nobody_off(liars: int) -> None:
    """They say that they see alpha at a bystander's. One is told behind alpha's own endpoint; two
    that agree before it: who then tries the bystander finds alpha all the same."""
    mesh = Mesh()
    alpha, *others = mesh.alpha(), mesh.host("beta"), mesh.host("gamma")
    lying = [mesh.host(f"liar-{number}") for number in range(liars)]
    victim = Bystander(mesh)
    mesh.connect(alpha, *others, *lying)
    mesh.run(5)
    for _ in range(60):
        for liar in lying:
            alpha.node._dialogue._observed(alpha.peer(liar), VICTIM, mesh.world.now)
        alpha.node._dialogue.touched = True
        alpha.settle()
        mesh.run(1)
    told = alpha.node.state.told_endpoints or ()
    assert told.index(alpha.endpoints[0]) == (0 if liars == 1 else 1)
    assert VICTIM in told
    late = mesh.host("late")
    mesh.connect(late, alpha, within=5.0)
    mesh.run(60)
    assert all(host.way(alpha) == "direct" for host in (*others, late))
    members = 4 + liars
    assert victim.got <= members * (UNPROVEN_BURST + mesh.world.now * UNPROVEN_RATE)
