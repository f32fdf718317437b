"""Whose records a node believes: those of members, saying what their certificates allow."""

from __future__ import annotations

import pytest

from gossip import NodeId, Record, RecordKind
from gossip.codec import encode
from gossip.records import signed, verified
from meshd.node.addresses import lookup_key, node_id
from meshd.node.authority import MAX_ASIDE, MeshAuthority
from meshd.node.grants import Grants, parse_route
from meshd.node.identity import Identity, join
from meshd.node.minting import make_csr
from meshd.node.records import NodeRecord, encode_chain, encode_routes
from tests.node.meshes import NOW, admit, bytes_of, make_key, make_mesh, make_reply, raw

ALPHA = make_mesh()


def member(seed: int, grants: Grants | None = None, first: Identity = ALPHA) -> Identity:
    reply = make_reply(first, admit(first, seed, f"node-{seed}", grants))
    return join(make_key(seed), first.mesh.mesh_id, reply, NOW)


BETA = member(2)
OTHERS = make_mesh(seed=9)


def record(
    of: Identity, kind: int, body: bytes, sequence: int = 1, withdrawn: bool = False
) -> Record:
    authority = MeshAuthority(of, NOW)
    return signed(authority, kind, of.certificate.public_key, of.id, sequence, body, withdrawn)


def certificate(of: Identity, sequence: int = 1) -> Record:
    body = encode_chain(of.chain)
    assert body is not None
    return record(of, RecordKind.CERTIFICATE, body, sequence)


def whereabouts(of: Identity, sequence: int = 1, port: int = 443) -> Record:
    body = NodeRecord(of.static_public, (("192.0.2.1", port),)).encode()
    return record(of, RecordKind.MEMBER, body, sequence)


@pytest.fixture
def authority() -> MeshAuthority:
    return MeshAuthority(ALPHA, NOW)


def test_signatures_are_of_the_node_and_for_this_mesh(authority: MeshAuthority) -> None:
    assert authority.domain == ALPHA.mesh.mesh_id
    sound = whereabouts(BETA)
    assert verified(authority, sound)
    assert not verified(MeshAuthority(OTHERS, NOW), sound)
    key = BETA.certificate.public_key
    message, signature = b"message", BETA.node_key.sign(b"message")
    assert authority.verify(key, BETA.id, message, signature)
    assert not authority.verify(key, ALPHA.id, message, signature)
    assert not authority.verify(key, BETA.id, message + b".", signature)
    assert not authority.verify(raw(make_key(5)), BETA.id, message, signature)


def test_a_weak_key_signs_nothing(authority: MeshAuthority) -> None:
    weak = bytes([1]) + bytes(31)
    assert not authority.verify(weak, node_id(weak), b"message", weak + bytes(32))


def test_a_members_records_are_admitted_once_its_certificate_is(authority: MeshAuthority) -> None:
    assert not authority.admits(whereabouts(BETA))
    assert authority.admits(certificate(BETA))
    assert authority.admits(whereabouts(BETA))
    assert authority.certificates[BETA.id] == (BETA.certificate, BETA.chain)


def test_a_record_that_came_first_waits_and_only_its_newest(authority: MeshAuthority) -> None:
    old, new = whereabouts(BETA, 1, 1), whereabouts(BETA, 2, 2)
    for each in (old, new, old):
        assert not authority.admits(each)
    assert authority.waiting(BETA.id) == [new]
    assert authority.waiting(BETA.id) == []


def test_what_waits_is_bounded_and_the_oldest_goes(authority: MeshAuthority) -> None:
    def unknown(number: int) -> Record:
        return Record(2, bytes(32), NodeId(number.to_bytes(16, "big")), 1, False, b"", b"")

    first = whereabouts(BETA)
    authority.admits(first)
    for number in range(MAX_ASIDE - 1):
        authority.admits(unknown(number))
    assert authority.waiting(BETA.id) == [first]
    authority.admits(first)
    for number in range(1000, 1000 + MAX_ASIDE):
        authority.admits(unknown(number))
    assert authority.waiting(BETA.id) == []


def test_one_member_pushes_out_what_it_told_alone_and_holds_up_nobody(
    authority: MeshAuthority,
) -> None:
    liar = NodeId(b"l" * 16)

    def invent(first: int) -> None:
        authority.hear(liar)
        for number in range(first, first + 2 * MAX_ASIDE):
            subject = NodeId(number.to_bytes(16, "big"))
            authority.admits(Record(2, bytes(32), subject, 1, False, b"", b""))

    invent(0)
    authority.hear(ALPHA.id)
    authority.admits(whereabouts(BETA))
    assert authority.unknown()[1] == BETA.id, "one of each in turn"
    invent(1000)
    assert authority.waiting(BETA.id) == [whereabouts(BETA)]


def test_a_departure_is_kept_where_there_is_room_to_remember_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh = make_mesh()
    full = MeshAuthority(mesh, NOW)
    leavers = [member(seed, None, mesh) for seed in (3, 4)]
    first, second = (record(node, RecordKind.DEPARTURE, _body(node)) for node in leavers)
    monkeypatch.setattr("meshd.node.departed.MAX_DEPARTED", 1)
    assert [full.admits(told) for told in (first, second, first)] == [True, False, True]
    mesh.trust.departed.expire(NOW + 10 * 365 * 86_400)
    assert full.admits(second)


def test_certificates_of_others_or_out_of_time_are_not_admitted(authority: MeshAuthority) -> None:
    stranger = member(20, first=OTHERS)
    assert not authority.admits(certificate(stranger))
    assert not authority.admits(record(stranger, RecordKind.CERTIFICATE, _body(BETA)))
    assert not authority.admits(record(BETA, RecordKind.CERTIFICATE, _body(ALPHA)))
    assert not authority.admits(record(BETA, RecordKind.CERTIFICATE, b"junk"))
    late = MeshAuthority(ALPHA, NOW + 91 * 86_400)
    assert not late.admits(certificate(BETA))
    late.unix_time = NOW
    assert late.admits(certificate(BETA))


def _body(of: Identity) -> bytes:
    body = encode_chain(of.chain)
    assert body is not None
    return body


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (RecordKind.MEMBER, b""),
        (RecordKind.MEMBER, encode([1, 1, 0, bytes(31), []])),
        (RecordKind.MEMBER, encode([2, 1, 0, bytes(32), []])),
        (RecordKind.ROUTES, encode(["10.0.0.0/8"])),
        (RecordKind.ROUTES, encode([7])),
        (RecordKind.ROUTES, encode(["0.0.0.0/0"])),
    ],
)
def test_records_that_say_what_they_must_not_are_refused(
    authority: MeshAuthority, kind: int, body: bytes
) -> None:
    authority.admits(certificate(BETA))
    assert not authority.admits(record(BETA, kind, body))
    assert authority.waiting(BETA.id) == []


def test_granted_routes_and_withdrawals_are_admitted(authority: MeshAuthority) -> None:
    router = member(3, Grants(routes=(parse_route("10.0.0.0/8"),)))
    authority.admits(certificate(router))
    offered = encode_routes(["10.1.0.0/16", "10.0.0.0/8"])
    assert authority.admits(record(router, RecordKind.ROUTES, offered))
    assert authority.admits(record(router, RecordKind.ROUTES, b"", 2, withdrawn=True))
    assert authority.grants(router.id, "10.1.0.0/16")
    assert not authority.grants(router.id, "11.0.0.0/8")
    assert not authority.grants(BETA.id, "10.1.0.0/16")
    assert not authority.grants(ALPHA.id, "100.64.0.0/24")


def test_a_handshakes_certificate_counts_unless_a_newer_one_is_known(
    authority: MeshAuthority,
) -> None:
    authority.learn(BETA.certificate, BETA.chain)
    assert authority.admits(whereabouts(BETA))
    issuer = ALPHA.issuer
    assert issuer is not None

    csr = make_csr(make_key(2), "node-2")
    newer = issuer.issue(csr, Grants(name="node-2"), (), NOW + 60, bytes_of(4))
    authority.learn(newer, (newer.der,))
    authority.learn(BETA.certificate, BETA.chain)
    assert authority.certificates[BETA.id][0] == newer


def test_the_node_itself_is_always_admitted(authority: MeshAuthority) -> None:
    assert authority.admits(whereabouts(ALPHA))


def test_a_certificate_proves_its_name_and_addresses_to_be_its_own(
    authority: MeshAuthority,
) -> None:
    owned = (BETA.certificate.name, *BETA.certificate.addresses)
    assert authority.keys(certificate(BETA)) == tuple(lookup_key(text) for text in owned)
    assert BETA.id not in authority.certificates, "it remembers nothing of a stranger"


def test_a_certificate_that_is_not_trusted_or_another_s_proves_nothing(
    authority: MeshAuthority,
) -> None:
    body = certificate(BETA).body
    assert authority.keys(certificate(OTHERS)) == ()
    assert authority.keys(record(ALPHA, RecordKind.CERTIFICATE, body)) == ()
    assert authority.keys(record(BETA, RecordKind.CERTIFICATE, b"")) == ()
    authority.unix_time += 10 * 365 * 86400
    assert authority.keys(certificate(BETA)) == ()
