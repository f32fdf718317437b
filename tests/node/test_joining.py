"""Joining by a token: over a bad network, again, late, and many at once."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from gossip import RecordKind
from gossip.records import decode as decode_record
from meshd.node.errors import RemoteError
from meshd.node.grants import Grants
from meshd.node.invitation import Token
from meshd.node.joining import MAX_ASKED, MAX_NEARBY, RETRY, Joiner
from meshd.node.wire import COOKIE, DATA, INITIATION, RESPONSE, STREAM
from tests.node.meshes import NOW, bytes_of, make_key
from tests.node.test_handshaking import flood
from tests.node.virtual import QUIET, Candidate, Host, Mesh, lose


def invited(mesh: Mesh, grants: Grants | None = None) -> tuple[Host, Token]:
    alpha = mesh.alpha()
    return alpha, mesh.invite(alpha, grants)[0]


def finish(mesh: Mesh, *candidates: Candidate, within: float = 20.0) -> None:
    mesh.until(lambda: all(candidate.joiner.done for candidate in candidates), within)


def test_a_token_makes_a_member_in_two_round_trips() -> None:
    mesh = Mesh()
    alpha, token = invited(mesh, Grants(name="beta", groups=("web",)))
    candidate = mesh.candidate(token, 50, "wished")
    finish(mesh, candidate)
    assert mesh.world.now < 0.045
    identity = candidate.identity()
    assert identity.certificate.groups == ("web",)
    assert (identity.name, identity.mesh_secret) == ("beta", alpha.identity.mesh_secret)
    known = [decode_record(record) for record in candidate.reply.records]
    assert [(r.subject, r.kind) for r in known] == [
        (alpha.identity.id, RecordKind.CERTIFICATE),
        (alpha.identity.id, RecordKind.MEMBER),
    ]
    mesh.network.detach(candidate.endpoint[0])
    host = mesh.host("beta", identity=identity, addresses=(candidate.endpoint[0],), start=False)
    host.disk.records = candidate.reply.records
    host.start()
    mesh.connect(alpha, host)
    assert host.ping(alpha)


@pytest.mark.parametrize(("kind", "count"), [(INITIATION, 2), (RESPONSE, 2), (DATA, 1), (DATA, 5)])
def test_lost_messages_are_sent_again(kind: int, count: int) -> None:
    mesh = Mesh()
    _, token = invited(mesh)
    mesh.filters.append(lose(kind, count))
    candidate = mesh.candidate(token, 50)
    finish(mesh, candidate)
    assert candidate.identity().name == "joiner"


def test_a_join_succeeds_though_a_third_of_everything_is_lost() -> None:
    for seed in range(5):
        mesh = Mesh(seed, replace(QUIET, loss=0.33, duplicate=0.2, reorder=0.3))
        _, token = invited(mesh)
        candidate = mesh.candidate(token, 50)
        finish(mesh, candidate)
        assert candidate.joiner.reply


def test_a_join_succeeds_while_the_inviter_is_under_load() -> None:
    mesh = Mesh()
    alpha, token = invited(mesh)
    flood(alpha)
    candidate = mesh.candidate(token, 50)
    finish(mesh, candidate)
    assert mesh.world.now < 0.065
    assert mesh.kinds()[COOKIE] > 40


def test_a_join_that_broke_off_can_be_repeated_with_the_same_key() -> None:
    mesh = Mesh()
    _, token = invited(mesh)
    mesh.filters.append(lambda d: None if d.host == "alpha" and d.kind == DATA else d.payload)
    first = mesh.candidate(token, 50, "beta")
    mesh.run(5)
    assert first.joiner.answered
    assert not first.joiner.done
    mesh.network.detach(first.endpoint[0])
    mesh.filters.clear()
    second = mesh.candidate(token, 50, "beta")
    finish(mesh, second)
    identity = second.identity()
    assert identity.name == "beta"
    third = mesh.candidate(token, 50, "beta")
    finish(mesh, third)
    again = third.identity().certificate
    assert (again.name, again.addresses) == (identity.name, identity.certificate.addresses)


def test_a_join_outlives_the_inviters_restart() -> None:
    mesh = Mesh()
    alpha, token = invited(mesh)
    mesh.filters.append(lambda d: None if d.host == "joiner" and d.kind == DATA else d.payload)
    candidate = mesh.candidate(token, 50)
    mesh.run(0.5)
    assert candidate.joiner.answered
    alpha.kill()
    mesh.filters.clear()
    alpha.start()
    finish(mesh, candidate, within=MAX_ASKED + 2)
    assert candidate.joiner.reply


def test_another_key_is_told_that_the_invitation_was_used() -> None:
    mesh = Mesh()
    alpha, token = invited(mesh)
    finish(mesh, mesh.candidate(token, 50))
    for restart in (False, True):
        if restart:
            alpha.kill()
            alpha.start()
        late = mesh.candidate(token, 51 + restart)
        finish(mesh, late)
        assert late.joiner.reply is None
        assert late.joiner.refusal is not None
        assert "used by another node" in late.joiner.refusal
        assert alpha.node.state.auth_failures["invitation-used"] == 1


def test_an_expired_or_unknown_invitation_is_not_even_answered() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    expired, _ = mesh.invite(alpha, lifetime=10.0)
    unknown = replace(expired, secret=bytes(16))
    mesh.run(11)
    for token, reason in ((expired, "invitation-expired"), (unknown, "invitation-unknown")):
        candidate = mesh.candidate(token, 50)
        mesh.run(5)
        assert not candidate.joiner.answered
        assert alpha.drops[reason] > 3
        assert alpha.node.state.auth_failures[reason] == alpha.drops[reason]
    assert mesh.kinds()[RESPONSE] == 0


def test_an_invitation_that_expires_during_the_join_is_refused() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    token, _ = mesh.invite(alpha, lifetime=10.0)
    mesh.filters.append(lambda d: None if d.host == "joiner" and d.kind == DATA else d.payload)
    mesh.run(9)
    candidate = mesh.candidate(token, 50)
    mesh.run(1.5)
    mesh.filters.clear()
    finish(mesh, candidate)
    assert candidate.joiner.refusal is not None
    assert "expired" in candidate.joiner.refusal


def test_of_twenty_who_race_with_one_token_exactly_one_succeeds() -> None:
    for seed in range(3):
        mesh = Mesh(seed, replace(QUIET, jitter_s=0.02, loss=0.05))
        alpha, token = invited(mesh)
        racers = [mesh.candidate(token, 50 + number, f"racer-{number}") for number in range(20)]
        finish(mesh, *racers, within=60)
        won = [racer for racer in racers if racer.joiner.reply]
        assert len(won) == 1
        lost = {racer.joiner.refusal for racer in racers if racer not in won}
        assert lost == {"this invitation was used by another node: ask for a new one"}
        issuer = alpha.identity.issuer
        assert issuer is not None
        members = {entry.name for entry in issuer.ledger.entries()}
        assert members == {"alpha", won[0].identity().name}


def test_a_disk_that_is_full_admits_nobody_and_the_invitation_stays_good() -> None:
    mesh = Mesh()
    alpha, token = invited(mesh)
    alpha.disk.full = True
    candidate = mesh.candidate(token, 50)
    mesh.run(3)
    assert candidate.joiner.answered
    assert not candidate.joiner.done
    (kept,) = alpha.disk.invitations.values()
    assert kept.used_by is None
    alpha.disk.full = False
    finish(mesh, candidate)
    assert candidate.joiner.reply
    (kept,) = alpha.disk.invitations.values()
    assert kept.used_by == candidate.identity().id


def test_replayed_enrolments_take_no_room() -> None:
    mesh = Mesh()
    alpha, token = invited(mesh)
    candidate = mesh.candidate(token, 50)
    finish(mesh, candidate)
    first = next(d for d in mesh.sent if d.host == "joiner" and d.kind == INITIATION)
    held = len(alpha.node.state.sessions)
    for port in range(50):
        assert alpha.receive(first.payload, ("192.0.2.99", 1000 + port)) == []
    assert len(alpha.node.state.sessions) == held
    assert alpha.drops["handshake-replay"] == 50


def test_one_token_cannot_hold_the_room_for_strangers() -> None:
    mesh = Mesh()
    alpha, token = invited(mesh)
    mesh.filters.append(lambda d: None if d.kind == DATA else d.payload)
    for number in range(40):
        mesh.candidate(token, 100 + number)
        mesh.run(0.05)
    assert len(alpha.node._handshakes.unproven) <= 4


def test_a_joiner_believes_nobody_but_its_inviter() -> None:
    mesh = Mesh()
    _, token = invited(mesh)
    joiner = Joiner(token, make_key(50), "beta", bytes_of(1), NOW)
    joiner.handle_timer(0.0)
    (initiation,) = joiner.drain()
    for datagram in (b"", b"\x02" * 1200, b"\x03" * 64, initiation.payload, b"\x04" * 40):
        try:
            joiner.receive(datagram, ("192.0.2.9", 9), 0.0)
        except RemoteError:
            continue
    assert joiner.drain() == []
    assert not joiner.answered
    assert not joiner.done


def test_the_joiner_asks_again_each_second_and_begins_anew_when_nobody_answers() -> None:
    mesh = Mesh()
    _, token = invited(mesh)
    mesh.filters.append(lambda d: None if d.host == "alpha" and d.kind == DATA else d.payload)
    mesh.candidate(token, 50)
    mesh.run(7.5)
    sent = [(round(d.time), d.kind) for d in mesh.sent if d.host == "joiner"]
    begun, asked = [t for t, kind in sent if kind == INITIATION], [t for t, k in sent if k == DATA]
    assert begun == [0, 3, 6]
    assert asked == [0, 1, 2, 3, 4, 5, 6, 7]


def test_from_the_second_try_on_streams_are_tried_beside_udp() -> None:
    mesh = Mesh()
    _, token = invited(mesh)
    joiner = Joiner(token, make_key(7), "seven", Random(7).randbytes, NOW)
    joiner.handle_timer(0.0)
    first = [output.endpoint for output in joiner.drain()]
    joiner.handle_timer(RETRY)
    second = [output.endpoint for output in joiner.drain()]
    assert first == list(token.endpoints)
    assert second == first + [(STREAM + host, port) for host, port in first]


def test_an_inviter_that_has_moved_is_tried_where_nodes_are_near() -> None:
    mesh = Mesh()
    alpha, token = invited(mesh)
    moved = replace(token, endpoints=(("203.0.113.99", 443),))
    candidate = mesh.candidate(moved, 50)
    mesh.run(0.5)
    candidate.joiner.consider([("192.168.7.9", 443), *alpha.endpoints])
    candidate._drain()
    finish(mesh, candidate, within=0.3)
    assert candidate.joiner.reply is not None


def test_few_nodes_nearby_are_tried_each_once_a_second() -> None:
    token = Token(bytes(16), b"\x09" + bytes(31), bytes(16), 1 << 31, (("192.0.2.1", 443),))
    joiner = Joiner(token, make_key(50), "x", bytes_of(1), NOW)
    joiner.handle_timer(0.0)
    joiner.drain()
    near = [(f"192.168.7.{number}", 443) for number in range(1, 99)]
    for _ in range(5):
        joiner.consider([*token.endpoints, *near])
    tried = [output.endpoint for output in joiner.drain()]
    assert tried == near[:MAX_NEARBY]
    joiner.handle_timer(RETRY)
    udp = [e for e in (o.endpoint for o in joiner.drain()) if not e[0].startswith(STREAM)]
    assert udp == [*token.endpoints, *near[:MAX_NEARBY]]
