"""Revocation lists between whole nodes: taking effect, spreading, lasting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gossip import Record, RecordKind
from gossip.records import signed
from meshd.node.addresses import node_id
from meshd.node.authority import MAX_HOLDERS, MeshAuthority
from meshd.node.control import RevocationPiece, RevocationRequest
from meshd.node.errors import LocalError
from meshd.node.grants import Grants
from meshd.node.identity import Identity
from meshd.node.lists import FETCH_AGAIN, OWN, PIECE_SIZE, REVOKED
from meshd.node.minting import make_csr
from meshd.node.outputs import AuthFailure, PeerChanged, Warned
from meshd.node.records import (
    MAX_RECORD_BODY,
    ListNote,
    decode_revocations,
    encode_chain,
    encode_revocations,
)
from meshd.node.revocation import RevocationList, key_entry, make_list
from tests.node.meshes import NOW, bytes_of, issuer_of, make_key, make_mesh, raw
from tests.node.test_renewer import second_issuer
from tests.node.virtual import CONFIG, Host, Mesh


def revoke(host: Host, text: str) -> None:
    """What `meshd revoke` does: plan, to disk, in force."""
    now, node = host.mesh.world.now, host.node
    planned = node.credentials.plan_revocation(text, now)
    assert planned.lists
    known = {item.authority: item for item in host.identity.trust.lists}
    known.update({item.authority: item for item in planned.lists})
    host.disk.lists = tuple(item.der for item in known.values())
    node.credentials.revoke(planned, now)
    node.handle_timer(now)
    host.settle()


def list_of(founder: Identity, number: int, serials: Sequence[int]) -> RevocationList:
    """A list of the founder's CA."""
    issuer = issuer_of(founder)
    return make_list(issuer.key, issuer.certificate, number, dict.fromkeys(serials, NOW), NOW)


def sessions(host: Host, other: Host) -> int:
    peer = host.node.state.peers.get(other.identity.id)
    return 0 if peer is None else len(peer.sessions())


def knows(host: Host) -> bool:
    """Whether a list of the founder's CA is in force."""
    return bool(host.identity.trust.lists)


def record_of(host: Host, notes: Sequence[ListNote], sequence: int = 90) -> Record:
    """A REVOCATIONS record that `host` signs."""
    own = host.identity
    authority = host.node._authority
    body = encode_revocations(notes)
    key = own.certificate.public_key
    return signed(authority, RecordKind.REVOCATIONS, key, own.id, sequence, body)


def ghost_of(mesh: Mesh, host: Host, notes: Sequence[ListNote]) -> None:
    """Let `host` hear of an issuer that does not run, and of what it publishes."""
    ghost = mesh.host("ghost", grants=Grants(roles=("issuer",)), start=False).identity
    chain = encode_chain(ghost.chain)
    assert chain is not None
    for kind, body in (
        (RecordKind.CERTIFICATE, chain),
        (RecordKind.REVOCATIONS, encode_revocations(notes)),
    ):
        authority = MeshAuthority(ghost, NOW)
        record = signed(authority, kind, ghost.certificate.public_key, ghost.id, 5, body)
        assert host.node.gossip.accept(record, mesh.world.now)
    host.node.handle_timer(mesh.world.now)
    host.settle()


def test_a_revoked_node_is_out_everywhere_within_seconds() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    delta = mesh.host("delta")
    mesh.connect(alpha, beta, gamma, delta)
    revoke(alpha, "gamma")
    others = (alpha, beta, delta)
    took = mesh.until(lambda: not any(sessions(host, gamma) for host in others), 3)
    assert took < 3
    mesh.until(lambda: not any(sessions(gamma, host) for host in others), 3)
    for host in others:
        peer = host.peer(gamma)
        assert (peer.state, peer.last_error) == ("left", REVOKED)
        assert gamma.identity.id not in [member.id for member in host.node.gossip.members()]
        assert host.node.gossip.record(gamma.identity.id, RecordKind.MEMBER) is None
        assert host.node.route(gamma.identity.certificate.address4)[0] is None
        assert PeerChanged(gamma.identity.id, "gamma", "revoked") in host.told(PeerChanged)
    mesh.run(30)
    assert not any(sessions(host, gamma) for host in others)
    assert beta.ping(delta)


def test_who_is_revoked_is_told_why() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    revoke(alpha, "gamma")
    mesh.until(lambda: gamma.node.credentials.lists.revoked, 3)
    assert gamma.told(Warned) == [Warned(OWN)]
    assert gamma.node.credentials.notices(mesh.world.now) == [OWN]
    assert gamma.disk.lists
    mesh.run(1)
    before = len(mesh.sent)
    mesh.run(60)
    assert [d for d in list(mesh.sent)[before:] if d.host == "gamma"] == []


def test_handshakes_of_the_revoked_are_refused_and_counted() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    gamma.kill()  # it hears of nothing
    revoke(alpha, "gamma")
    mesh.until(lambda: knows(beta), 5)
    gamma.start()
    mesh.run(10)
    assert not sessions(alpha, gamma)
    assert not sessions(beta, gamma)
    assert beta.drops["certificate-revoked"] + alpha.drops["certificate-revoked"] > 0
    assert AuthFailure("certificate-revoked", None) in [*alpha.events, *beta.events]


def test_who_was_away_when_it_was_revoked_is_told_when_it_calls() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    gamma.kill()
    revoke(alpha, "gamma")
    mesh.until(lambda: knows(beta), 5)
    gamma.start()
    mesh.until(lambda: gamma.node.credentials.lists.revoked, 10)
    assert gamma.told(Warned) == [Warned(OWN)]
    assert gamma.disk.lists
    assert beta.drops["certificate-revoked"] + alpha.drops["certificate-revoked"] > 0
    mesh.run(30)
    assert not any(host.node.state.peers[gamma.identity.id].sessions() for host in (alpha, beta))
    assert len(beta.node._handshakes.unproven) == 0


def test_a_revocation_holds_after_a_restart_of_all() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    gamma.kill()
    revoke(alpha, "gamma")
    mesh.until(lambda: knows(beta), 5)
    for host in (alpha, beta):
        host.kill()
        host.start()
    gamma.start()
    mesh.connect(alpha, beta)
    mesh.run(20)
    assert not sessions(alpha, gamma)
    assert not sessions(beta, gamma)
    assert alpha.drops["certificate-revoked"] + beta.drops["certificate-revoked"] > 0


def test_who_was_away_hears_of_it_before_or_after_the_certificate() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    beta.kill()
    revoke(alpha, "gamma")
    beta.start()  # it remembers gamma, and not the list
    assert not knows(beta)
    mesh.until(lambda: knows(beta) and not sessions(beta, gamma), 20)
    delta = mesh.host("delta")  # it never heard of gamma
    mesh.until(lambda: knows(delta), 20)
    chain = gamma.identity.chain
    with pytest.raises(Exception, match="certificate-revoked"):
        delta.identity.trust.verify(chain[0], chain[1:], NOW + mesh.world.now)


def test_packets_of_a_revoked_relay_find_another_way_and_its_channels_end() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    number = alpha.node.relay.open(
        beta.identity.id, gamma.identity.id, mesh.world.now, alpha.node.state.random_bytes
    )
    assert number is not None
    assert alpha.node.relay.carries(number)
    revoke(alpha, "gamma")
    assert not alpha.node.relay.carries(number)


def test_an_issuer_whose_ca_is_revoked_takes_its_nodes_with_it() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    token, _ = mesh.invite(alpha, Grants(name="second", roles=("issuer",)))
    candidate = mesh.candidate(token, 60)
    mesh.until(lambda: candidate.joiner.done, 10)
    second = mesh.host("second", identity=candidate.identity())
    mesh.connect(alpha, beta, second)
    token, _ = mesh.invite(second, Grants(name="third"))
    candidate = mesh.candidate(token, 61)
    mesh.until(lambda: candidate.joiner.done, 10)
    third = mesh.host("third", identity=candidate.identity())
    mesh.connect(alpha, beta, second, third)
    what = f"`meshd revoke {third.identity.id.hex()}` on alpha or second"
    with pytest.raises(LocalError, match=f"no issuer: run {what}"):
        beta.node.credentials.plan_revocation("third", mesh.world.now)
    revoke(alpha, "second")
    mesh.until(lambda: not any(sessions(beta, host) for host in (second, third)), 5)
    assert not sessions(alpha, second)
    assert not sessions(alpha, third)
    mesh.until(lambda: second.node.credentials.lists.revoked, 5)
    token, _ = mesh.invite(second, Grants(name="fourth"))
    late = mesh.candidate(token, 62)
    mesh.run(12)
    assert late.joiner.reply is None


def test_the_lists_of_a_node_that_is_gone_last() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    revoke(alpha, "gamma")
    mesh.until(lambda: knows(beta), 5)
    alpha.kill()
    beta.kill()
    beta.start()
    delta = mesh.host("delta", start=False)
    delta.disk.records = mesh.first_records()
    delta.start()
    mesh.until(lambda: knows(delta), 20)


# Lists that do not fit into a record


def test_a_large_list_is_fetched_piece_by_piece() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    serials = [gamma.identity.certificate.serial, *range(1 << 62, (1 << 62) + 2000)]
    listed = list_of(mesh.founder, 5, serials)
    assert len(listed.der) > 3 * PIECE_SIZE
    alpha.node.credentials.lists.put_in_force(listed, mesh.world.now)
    alpha.node.handle_timer(mesh.world.now)
    alpha.settle()
    mesh.until(lambda: knows(beta) and not sessions(beta, gamma), 5)
    assert beta.disk.lists == (listed.der,)


def test_a_large_list_is_fetched_of_others_when_its_publisher_is_gone() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    listed = list_of(mesh.founder, 5, range(1 << 62, (1 << 62) + 2000))
    alpha.node.credentials.lists.put_in_force(listed, mesh.world.now)
    alpha.node.handle_timer(mesh.world.now)
    alpha.settle()
    mesh.until(lambda: knows(beta) and knows(gamma), 5)
    alpha.kill()
    beta.kill()
    beta.disk.lists = ()
    beta.start()
    mesh.until(lambda: knows(beta), 30)


def test_a_list_that_nobody_has_is_asked_for_again_and_again_but_slower() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    note = ListNote(mesh.founder.certificate.authority, 7, b"d" * 16)
    ghost_of(mesh, beta, [note])
    fetches = beta.node.credentials.lists._fetches
    ((_, fetch),) = fetches.items()
    mesh.run(300)
    assert 5 <= fetch.tries <= 12
    assert fetch.number == 7
    assert beta.ping(alpha)


# Bad lists and bad records


def test_pieces_that_make_no_sense_change_nothing() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    authority = mesh.founder.certificate.authority
    good = list_of(mesh.founder, 5, [1 << 62]).der
    forged = good[:-1] + bytes([good[-1] ^ 1])
    lists = beta.node.credentials.lists
    now, peer = mesh.world.now, beta.peer(alpha)
    lists._arrived(peer, RevocationPiece(authority, 5, len(forged), 0, forged), now)
    assert beta.drops["list-signature"] == 1
    with pytest.raises(Exception, match="control"):
        lists._arrived(peer, RevocationPiece(authority, 5, 100, 0, b"part"), now)
    lists._arrived(peer, RevocationPiece(authority, 0, 0, 0, b""), now)
    lists._arrived(peer, RevocationPiece(b"u" * 16, 5, len(good), 0, good), now)
    assert knows(beta)  # the list itself says whose it is
    lists._arrived(peer, RevocationPiece(authority, 5, len(good), 0, good), now)
    assert beta.drops["list-signature"] == 1


def test_a_transfer_begins_anew_when_a_piece_does_not_follow() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    listed = list_of(mesh.founder, 5, range(1 << 62, (1 << 62) + 2000))
    authority, size = listed.authority, len(listed.der)
    lists, peer = beta.node.credentials.lists, beta.peer(alpha)
    note = ListNote(authority, 5, listed.digest)
    beta.node.gossip.accept(record_of(alpha, [note]), mesh.world.now)
    beta.node.handle_timer(mesh.world.now)
    now = mesh.world.now
    piece = listed.der[:PIECE_SIZE]
    lists._arrived(peer, RevocationPiece(authority, 5, size, 0, piece), now)
    for wrong in (
        RevocationPiece(authority, 5, size, 5, piece),
        RevocationPiece(authority, 6, size, PIECE_SIZE, piece),
        RevocationPiece(authority, 5, size + 1, PIECE_SIZE, piece),
    ):
        lists._arrived(peer, wrong, now)
    short = RevocationPiece(authority, 5, size, PIECE_SIZE, piece[:1])
    with pytest.raises(Exception, match="control"):  # byte by byte it would take for ever
        lists._arrived(peer, short, now)
    (fetch,) = lists._fetches.values()
    assert len(fetch.got) == PIECE_SIZE
    for start in range(PIECE_SIZE, size, PIECE_SIZE):
        piece = listed.der[start : start + PIECE_SIZE]
        lists._arrived(peer, RevocationPiece(authority, 5, size, start, piece), now)
    assert knows(beta)
    assert not lists._fetches


def test_records_of_who_is_no_issuer_or_that_are_wrong_are_not_admitted() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    authority = gamma.node._authority
    listed = list_of(mesh.founder, 5, [1 << 62])
    whole = ListNote(listed.authority, 5, listed.digest, listed.der)
    assert authority.admits(record_of(alpha, [whole]))
    assert authority.admits(record_of(alpha, [replace(whole, shown=None)]))
    assert not authority.admits(record_of(beta, [whole]))
    for wrong in (
        replace(whole, number=6),
        replace(whole, digest=bytes(16)),
        replace(whole, shown=listed.der[:-1] + b"?"),
        replace(whole, authority=mesh.founder.trust.mesh_id),
    ):
        assert not authority.admits(record_of(alpha, [wrong]))
    record = record_of(alpha, [whole])
    assert not authority.admits(replace(record, body=b"", withdrawn=True))
    assert not authority.admits(replace(record, body=b"\x80"))


def test_without_a_certificate_it_takes_the_word_of_the_ca_that_the_subject_holds_it() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    authority, ca = gamma.node._authority, issuer_of(mesh.founder)
    listed = list_of(mesh.founder, 5, [1 << 62])
    mesh_id = mesh.founder.mesh.mesh_id
    proof = ca.prove_holder(mesh_id, alpha.identity.id)
    whole = ListNote(listed.authority, 5, listed.digest, listed.der, proof)
    bare = replace(whole, shown=None)
    authority.forget(alpha.identity.id)
    for wrong in (
        replace(whole, proof=b""),  # the list is public, and good
        replace(whole, proof=bytes(64)),
        replace(whole, proof=ca.prove_holder(bytes(16), alpha.identity.id)),
        replace(whole, proof=ca.prove_holder(mesh_id, beta.identity.id)),
        replace(bare, authority=mesh.founder.trust.mesh_id),
        replace(bare, authority=bytes(16)),
    ):
        assert not authority.admits(record_of(alpha, [wrong]))
    assert not authority.admits(record_of(alpha, [replace(whole, proof=b""), whole]))
    assert not authority.admits(record_of(beta, [whole])), "it says who holds it"
    assert authority.admits(record_of(alpha, [bare]))
    assert authority.unknown() == [alpha.identity.id]
    again = MeshAuthority(gamma.identity, NOW)
    assert again.admits(record_of(alpha, [whole])), "after a restart, too"


def test_who_copies_a_public_list_under_keys_of_its_own_finds_nobody_to_keep_them() -> None:
    founder = make_mesh()
    listed = list_of(founder, 5, [1 << 62])
    proof = issuer_of(founder).prove_holder(founder.mesh.mesh_id, founder.id)
    body = encode_revocations([ListNote(listed.authority, 5, listed.digest, listed.der, proof)])
    authority = MeshAuthority(second_issuer(founder), NOW)
    for number in range(200):
        key = make_key(5000 + number)
        copier = replace(founder, node_key=key)
        public = raw(key)
        told = signed(
            MeshAuthority(copier, NOW), RecordKind.REVOCATIONS, public, node_id(public), 1, body
        )
        assert not authority.admits(told)
    assert authority.unknown() == []
    told = signed(
        MeshAuthority(founder, NOW),
        RecordKind.REVOCATIONS,
        founder.certificate.public_key,
        founder.id,
        1,
        body,
    )
    assert authority.admits(told)


def test_a_ca_gives_its_word_for_few() -> None:
    founder = make_mesh()
    listed = list_of(founder, 5, [1 << 62])
    authority = MeshAuthority(second_issuer(founder), NOW)
    admitted = []
    for number in range(MAX_HOLDERS + 2):
        public = raw(make_key(5000 + number))
        proof = issuer_of(founder).prove_holder(founder.mesh.mesh_id, node_id(public))
        note = ListNote(listed.authority, 5, listed.digest, listed.der, proof)
        copier = MeshAuthority(replace(founder, node_key=make_key(5000 + number)), NOW)
        body = encode_revocations([note])
        told = signed(copier, RecordKind.REVOCATIONS, public, node_id(public), 1, body)
        admitted.append(authority.admits(told))
    assert admitted == [True] * MAX_HOLDERS + [False] * 2


def test_a_list_whose_ca_is_learnt_later_is_taken_then() -> None:
    mesh = Mesh()
    _, beta = mesh.pair()
    key = make_key(70)
    founder = issuer_of(mesh.founder)
    issuer = founder.issue_issuer(make_csr(key, "second"), NOW, bytes_of(71))
    trust = beta.identity.trust
    listed = make_list(key, issuer, 1, {1 << 62: NOW}, NOW)
    note = ListNote(listed.authority, 1, listed.digest, listed.der)
    ghost_of(mesh, beta, [note])
    mesh.run(6)
    assert trust.list_of(listed.authority) is None
    trust.add_issuer(issuer.der)
    mesh.run(6)
    assert trust.list_of(listed.authority) == listed


@pytest.mark.parametrize("entries", [1, 30])
def test_a_list_brings_the_certificate_of_its_ca_along(entries: int) -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    mesh.connect(alpha, beta, gamma)
    identity = second_issuer(mesh.founder)
    second = mesh.host("second", identity=identity)
    authority = issuer_of(identity).certificate.node
    mesh.connect(alpha, beta, gamma, second)
    # It admitted nobody, and takes back what another CA issued.
    assert not beta.identity.trust.knows(authority)
    others = range(1 << 62, (1 << 62) + entries)
    own = issuer_of(identity)
    revoked = dict.fromkeys([*others, key_entry(gamma.identity.id)], NOW)
    listed = make_list(own.key, own.certificate, 3, revoked, NOW)
    second.node.credentials.lists.put_in_force(listed, mesh.world.now)
    second.settle()
    mesh.until(lambda: not sessions(beta, gamma) and not sessions(alpha, gamma), 5)
    assert beta.identity.trust.knows(authority)
    assert beta.peer(gamma).last_error == REVOKED
    mesh.until(lambda: gamma.node.credentials.lists.revoked, 5)


def test_who_renewed_at_two_issuers_is_out_by_the_word_of_either_and_stays_out() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    identity = second_issuer(mesh.founder)
    second = mesh.host("second", identity=identity)
    mesh.connect(alpha, beta, gamma, second)
    revoke(second, "gamma")
    mesh.until(lambda: not any(sessions(host, gamma) for host in (alpha, beta, second)), 3)
    # Everybody forgets whose certificate it was: the lists say enough.
    for host in (alpha, beta, second, gamma):
        host.kill()
    gamma.disk.lists = ()
    for host in (alpha, beta, second, gamma):
        host.start()
    mesh.connect(alpha, beta, second)
    mesh.run(20)
    assert not any(sessions(host, gamma) for host in (alpha, beta, second))
    assert gamma.node.credentials.lists.revoked


def test_an_issuer_expels_no_other_issuer_and_its_word_ends_with_its_ca() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    identity = second_issuer(mesh.founder)
    second = mesh.host("second", identity=identity)
    third = mesh.host("third", identity=second_issuer(mesh.founder, 50))
    mesh.connect(alpha, beta, gamma, second, third)
    with pytest.raises(LocalError, match=r"is an issuer, whom root\.key alone expels"):
        second.node.credentials.plan_revocation(third.identity.id.hex(), mesh.world.now)
    # A thief of its key asks nobody.
    own = issuer_of(identity)
    named = [host.identity.id for host in (alpha, beta, gamma, third)]
    revoked = dict.fromkeys(map(key_entry, named), NOW)
    listed = make_list(own.key, own.certificate, 1, revoked, NOW)
    second.node.credentials.lists.put_in_force(listed, mesh.world.now)
    second.settle()
    mesh.until(lambda: beta.node.credentials.lists.revoked, 5)
    mesh.run(5)
    assert sessions(alpha, third)
    assert sessions(third, alpha)
    assert not sessions(alpha, beta)
    planned = alpha.node.credentials.plan_revocation("second", mesh.world.now)
    assert beta.identity.id.hex() in planned.elsewhere[0]
    revoke(alpha, "second")
    mesh.run(1)
    assert not alpha.identity.trust.is_revoked(beta.identity.certificate)
    for host in (beta, gamma):  # as by `meshd up`, once the list of the root has come
        host.kill()
        host.disk.lists = alpha.disk.lists
        host.start()
    mesh.connect(alpha, beta, gamma, third)
    assert not sessions(alpha, second)


def test_an_issuer_that_lost_its_lists_learns_them_back_and_counts_on() -> None:
    mesh = Mesh()
    alpha, beta, gamma = mesh.trio()
    delta = mesh.host("delta")
    mesh.connect(alpha, beta, gamma, delta)
    revoke(alpha, "gamma")
    mesh.until(lambda: knows(beta), 5)
    alpha.kill()
    alpha.disk.lists, alpha.disk.records, alpha.disk.sequence = (), (), 1
    alpha.disk.records = mesh.first_records()
    alpha.start()
    mesh.connect(alpha, beta)
    mesh.until(lambda: knows(alpha), 20)
    revoke(alpha, "delta")
    (listed,) = alpha.identity.trust.lists
    assert listed.number == 2
    assert gamma.identity.certificate.serial in listed.serials
    mesh.until(lambda: beta.identity.trust.lists == (listed,), 10)


def test_what_an_issuer_publishes_fits_a_record_and_names_its_ca() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(2)
    record = beta.node.gossip.record(alpha.identity.id, RecordKind.REVOCATIONS)
    assert record is not None
    (note,) = decode_revocations(record.body)
    assert (note.authority, note.number) == (mesh.founder.certificate.authority, 0)
    beta.node._authority.forget(alpha.identity.id)
    assert beta.node._authority.admits(record), "it has the CA's word"
    assert beta.node.credentials.lists.holders(note.authority) == ["alpha"]
    assert beta.node.gossip.record(beta.identity.id, RecordKind.REVOCATIONS) is None
    large = list_of(mesh.founder, 5, range(1 << 62, (1 << 62) + 50))
    small = list_of(mesh.founder, 4, [1 << 62])
    notes = [ListNote(x.authority, x.number, x.digest, x.der) for x in (large, small)]
    body = encode_revocations(notes)
    assert len(body) <= MAX_RECORD_BODY
    assert decode_revocations(body) == (replace(notes[0], shown=None), notes[1])


def test_a_request_for_what_is_not_there_gets_an_empty_answer() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    authority = mesh.founder.certificate.authority
    lists = beta.node.credentials.lists
    before = len(beta.node.state.outputs)
    lists._requested(beta.peer(alpha), RevocationRequest(authority, 1), mesh.world.now)
    assert len(beta.node.state.outputs) == before + 1
    assert FETCH_AGAIN > 0
    assert CONFIG.relays


# A split


def test_a_revocation_in_a_split_reaches_the_other_half_soon_after_it_heals() -> None:
    mesh = Mesh(seed=5)
    alpha = mesh.alpha()
    others = [mesh.host(f"node{number}") for number in range(5)]
    hosts = [alpha, *others]
    mesh.until(lambda: all(a.ready(b) for a in hosts for b in hosts if a is not b), 30)
    ours, theirs = hosts[:3], hosts[3:]
    groups = [[address for h in half for address, _ in h.endpoints] for half in (ours, theirs)]
    mesh.network.split(groups)
    mesh.run(30)
    villain = theirs[0]
    revoke(alpha, villain.name)
    mesh.run(30)
    assert all(knows(host) for host in ours)
    assert not any(knows(host) for host in theirs)
    assert all(host.ready(villain) for host in theirs[1:])
    mesh.network.heal()
    took = mesh.until(
        lambda: all(knows(host) and not sessions(host, villain) for host in ours + theirs[1:]),
        30,
    )
    assert took < 30
    mesh.until(lambda: villain.node.credentials.lists.revoked, 30)
