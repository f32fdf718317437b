"""Admitting joiners: what an inviter answers, in what order, and what it remembers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from gossip import NodeId, RecordKind
from gossip.records import decode as decode_record
from meshd.node.enroller import MAX_FIRST_RECORDS
from meshd.node.grants import Grants
from meshd.node.issuing import EnrolmentRequest
from meshd.node.joining import Joiner
from meshd.node.outputs import AuthFailure, PersistInvitation, PersistLedger, SendFrame
from meshd.node.wire import DATA, RELAY_SIZE
from simulations.nat import NatKind
from tests.node.meshes import NOW, bytes_of, issuer_of, make_key
from tests.node.virtual import Candidate, Datagram, Mesh


def finish(mesh: Mesh, candidate: Candidate) -> Candidate:
    mesh.until(lambda: candidate.joiner.done, 5)
    return candidate


def held_back(mesh: Mesh, candidate: Candidate) -> Datagram:
    """The candidate's certificate request, kept from the inviter."""
    found: list[Datagram] = []

    def keep(datagram: Datagram) -> bytes | None:
        if datagram.host == "joiner" and datagram.kind == DATA:
            found.append(datagram)
            return None
        return datagram.payload

    mesh.filters.append(keep)
    mesh.until(lambda: bool(found), 5)
    assert candidate.joiner.answered
    return found[0]


def test_invitation_and_ledger_come_before_the_certificate() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    token, _ = mesh.invite(alpha)
    asked = held_back(mesh, mesh.candidate(token, 50))
    data = memoryview(bytearray(asked.payload))
    alpha.node.receive(data, len(data), asked.source, mesh.world.now)
    kinds = [type(output) for output in alpha.node.drain()]
    assert kinds == [PersistInvitation, PersistLedger, SendFrame]


def test_a_refusal_is_counted_and_names_an_address_that_was_proven() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    token, _ = mesh.invite(alpha)
    finish(mesh, mesh.candidate(token, 50))
    late = finish(mesh, mesh.candidate(token, 51))
    assert alpha.node.state.auth_failures["invitation-used"] == 1
    assert alpha.told(AuthFailure) == [AuthFailure("invitation-used", late.endpoint)]


def test_a_refusal_through_a_relay_names_no_address() -> None:
    mesh = Mesh()
    hub = mesh.host("hub")
    alpha = mesh.host("alpha", NatKind.SYMMETRIC, identity=mesh.founder)
    beta = mesh.host("beta", NatKind.SYMMETRIC)
    mesh.connect(alpha, hub, beta)
    path = alpha.peer(beta).path
    assert path is not None
    assert path.relay == hub.identity.id
    token, invitation = mesh.invite(alpha)
    used = replace(invitation, used_by=beta.identity.id)
    alpha.node.add_invitation(used)
    joiner = Joiner(token, make_key(50), "gamma", bytes_of(1), NOW)
    joiner.handle_timer(0.0)
    for _ in range(2):
        (said,) = joiner.drain()
        for answer in alpha.receive(path.prefix + said.payload, path.endpoint):
            joiner.receive(answer.payload[RELAY_SIZE:], path.endpoint, 0.0)
    assert joiner.refusal is not None
    assert alpha.told(AuthFailure) == [AuthFailure("invitation-used", None)]


def test_a_node_that_is_no_issuer_says_so() -> None:
    mesh = Mesh()
    _, beta = mesh.pair()
    token, _ = mesh.invite(beta)
    candidate = finish(mesh, mesh.candidate(token, 50))
    assert candidate.joiner.refusal == "this node is no issuer: ask for an invitation elsewhere"


@pytest.mark.parametrize("request_", [b"", b"\x83\x01\x40\x40", EnrolmentRequest(b"csr").encode()])
def test_a_malformed_request_uses_nothing_up(
    request_: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    token, _ = mesh.invite(alpha)
    with monkeypatch.context() as patch:
        patch.setattr(EnrolmentRequest, "encode", lambda _: request_)
        candidate = mesh.candidate(token, 50)
    finish(mesh, candidate)
    assert candidate.joiner.refusal is not None
    assert candidate.joiner.refusal.startswith("refused: ")
    assert alpha.node.state.auth_failures.total() == 1
    assert finish(mesh, mesh.candidate(token, 51)).joiner.reply


def test_whoever_may_invite_gets_an_issuers_certificate() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    token, _ = mesh.invite(alpha, Grants(roles=("issuer", "relay")))
    identity = finish(mesh, mesh.candidate(token, 50, "beta")).identity()
    assert identity.certificate.roles == ("issuer", "relay")
    assert identity.issuer is not None
    beta = mesh.host("beta", identity=identity)
    mesh.connect(alpha, beta)
    further, _ = mesh.invite(beta, Grants(groups=("web",)))
    admitted = finish(mesh, mesh.candidate(further, 51, "gamma")).identity()
    assert admitted.certificate.groups == ("web",)
    gamma = mesh.host("gamma", identity=admitted)
    mesh.connect(alpha, beta, gamma)


def test_names_and_addresses_of_others_are_not_given_out() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(2)
    issuer = issuer_of(alpha.identity)
    issuer.ledger._entries.clear()
    token, _ = mesh.invite(alpha)
    identity = finish(mesh, mesh.candidate(token, 50, "beta")).identity()
    assert identity.name == "beta-2"
    other, _ = mesh.invite(alpha)
    assert finish(mesh, mesh.candidate(other, 51, "alpha")).identity().name == "alpha-2"
    taken = {alpha.identity.certificate.address4, beta.identity.certificate.address4}
    assert identity.certificate.address4 not in taken


def test_a_joiner_hears_of_the_inviter_first_and_then_of_those_alive() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    others = [mesh.host(f"node-{number}") for number in range(14)]
    mesh.run(3)
    others[0].kill()
    mesh.until(lambda: alpha.peer(others[0]).state == "dead", 60)
    token, _ = mesh.invite(alpha)
    candidate = finish(mesh, mesh.candidate(token, 50))
    records = [decode_record(record) for record in candidate.reply.records]
    assert len(records) == MAX_FIRST_RECORDS
    assert [r.subject for r in records[:2]] == [alpha.identity.id] * 2
    assert others[0].identity.id not in [record.subject for record in records]
    counts: dict[NodeId, list[int]] = {}
    for record in records:
        counts.setdefault(record.subject, []).append(record.kind)
    both = [RecordKind.CERTIFICATE, RecordKind.MEMBER]
    assert list(counts.values()) == [both] * (MAX_FIRST_RECORDS // 2)


def test_grants_that_fill_the_certificate_still_fit_into_the_reply() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    routes = tuple(IPv4Network((0x0A000000 + (n << 8), 24)) for n in range(64))
    token, _ = mesh.invite(alpha, Grants(routes=routes))
    identity = finish(mesh, mesh.candidate(token, 50, "beta")).identity()
    beta = mesh.host("beta", identity=identity)
    mesh.connect(alpha, beta)
