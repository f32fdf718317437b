"""Who asks why a peer is reached as it is, between whole nodes."""

from __future__ import annotations

from meshd.node.account import ORIGINS, View
from meshd.node.control import Why, WhyAnswer
from meshd.node.explaining import ANSWER_INTERVAL, MAX_ASKED, reason
from meshd.node.outputs import Explained
from simulations.nat import NatKind
from tests.node.virtual import Host, Mesh


def view(host: Host, other: Host) -> View:
    return host.node.explaining.view(host.peer(other), host.mesh.world.now)


def ask(host: Host, other: Host, token: int = 1) -> bool:
    asked = host.node.explaining.ask(host.peer(other), token, host.mesh.world.now)
    host.settle()
    return asked


def test_a_direct_way_is_explained_with_what_was_tried() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(1.0)
    seen = view(alpha, beta)
    assert seen.reason == (
        "direct ways go first, and it is the only one that answers; "
        "taken 1 s ago: the first that worked"
    )
    assert [c.endpoint for c in seen.candidates] == ["198.51.100.1:443"]
    (way,) = seen.tried
    assert (way.kind, way.target, way.stands) == ("direct", "198.51.100.2:443", "used")
    assert way.rtt is not None
    assert way.heard is not None
    assert way.error == ""


def test_a_relayed_way_says_that_no_direct_one_answers() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    beta = mesh.host("beta", NatKind.SYMMETRIC)
    gamma = mesh.host("gamma", NatKind.SYMMETRIC)
    mesh.connect(beta, gamma, within=20.0)
    mesh.run(20.0)
    seen = view(beta, gamma)
    assert "direct ways answers, and it is the only one that answers" in seen.reason
    used, *others = seen.tried
    assert (used.kind, used.target) == ("relay", alpha.identity.id.hex())
    assert others
    assert all(way.stands == "tried" and way.error for way in others)


def test_without_a_session_it_says_who_was_called() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    beta.kill()
    mesh.until(lambda: not alpha.ready(beta), 200.0)
    mesh.until(lambda: alpha.peer(beta).attempt is not None, 60.0)
    seen = view(alpha, beta)
    assert seen.reason.startswith(("there is no session: ", "no way answers: "))
    assert all(way.stands != "used" for way in seen.tried)
    assert not ask(alpha, beta)


def test_where_we_may_be_found_says_how_that_is_known() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    alpha.node.places.set_mapped([("203.0.113.9", 4000)], mesh.world.now)
    alpha.node.state.reflexive[("203.0.113.8", 5000)] = {beta.identity.id: mesh.world.now}
    known = {c.endpoint: c.origin for c in view(alpha, beta).candidates}
    assert known["203.0.113.9:4000"] == "port mapping"
    assert known["203.0.113.8:5000"] == "seen by peers"
    assert known["198.51.100.1:443"] == "own address"
    assert set(known.values()) <= set(ORIGINS)


def test_the_other_end_tells_its_view() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    assert ask(alpha, beta, 7)
    mesh.until(lambda: bool(alpha.told(Explained)), 1.0)
    (told,) = alpha.told(Explained)
    assert told.token == 7
    assert told.view.tried[0].target == "198.51.100.1:443"


def test_who_asks_too_often_gets_no_answer_for_a_while() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    for token in range(10):
        ask(alpha, beta, token)
    mesh.run(1.0)
    assert len(alpha.told(Explained)) == 1
    mesh.run(ANSWER_INTERVAL)
    ask(alpha, beta, 11)
    mesh.run(1.0)
    assert [told.token for told in alpha.told(Explained)] == [0, 11]


def test_who_goes_on_asking_too_often_is_answered_now_and_then() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    for token in range(10):
        ask(alpha, beta, token)
        mesh.run(0.8 * ANSWER_INTERVAL)
    assert len(alpha.told(Explained)) == 5


def test_an_answer_that_nobody_asked_for_is_dropped() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    answer = view(alpha, beta).encode()
    alpha.node._dialogue.send(alpha.peer(beta), WhyAnswer(5, answer), mesh.world.now)
    alpha.node._dialogue.send(alpha.peer(beta), WhyAnswer(6, b"junk"), mesh.world.now)
    alpha.settle()
    drops = sum(beta.drops.values())
    mesh.run(1.0)
    assert beta.told(Explained) == []
    assert sum(beta.drops.values()) == drops + 1
    assert beta.drops["control"] == 1


def test_questions_that_wait_are_bounded() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.filters.append(lambda datagram: None)
    for token in range(MAX_ASKED + 9):
        ask(alpha, beta, token)
    assert list(alpha.node.explaining._asked) == list(range(9, MAX_ASKED + 9))


def test_a_question_is_small_and_its_answer_bounded() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    sent: list[object] = []
    dialogue = beta.node._dialogue
    dialogue.send = lambda peer, message, now, path=None: sent.append(message)  # type: ignore[method-assign]
    beta.node.explaining._why(beta.peer(alpha), Why(1), mesh.world.now)
    (answer,) = sent
    assert isinstance(answer, WhyAnswer)
    assert len(answer.view) < 300


def test_the_reason_follows_the_path() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    peer, now = alpha.peer(beta), mesh.world.now
    alpha.node._dialogue.closed(peer, now)
    assert reason(peer, now) == "there is no session: nobody has called yet"
