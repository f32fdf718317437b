"""Who is meant by `meshd revoke`, what is put on which list, and where else to run it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshd.node.errors import LocalError
from meshd.node.grants import Grants
from meshd.node.identity import Identity
from meshd.node.issuing import Issuer
from meshd.node.minting import NODE_LIFETIME, make_csr
from meshd.node.renewer import renew
from meshd.node.revocation import key_entry, make_list
from meshd.node.revoking import MAX_TOLD, Revocation, plan
from meshd.node.state import NodeState
from tests.node.couples import make_peer, make_state
from tests.node.meshes import NOW, admit, bytes_of, issuer_of, make_key, make_mesh, make_reply
from tests.node.test_renewer import second_issuer


def holders(authority: bytes) -> list[str]:
    return []


def planned(state: NodeState, text: str, unix_time: float = NOW) -> Revocation:
    return plan(text, state, holders, unix_time)


def with_beta() -> tuple[NodeState, Identity]:
    """The founder, and beta which it admitted but does not know as a peer."""
    mesh = make_mesh()
    admit(mesh, 2, "beta")
    return make_state(mesh), mesh


def test_a_node_is_found_in_the_ledger_by_name_id_and_address() -> None:
    state, mesh = with_beta()
    entry = issuer_of(mesh).ledger.entries()[1]
    for text in ("beta", "BETA", entry.node.hex(), str(entry.address4)):
        found = planned(state, text)
        (listed,) = found.lists
        assert (found.name, found.node, found.serials) == (
            "beta",
            entry.node.hex(),
            (entry.serial, key_entry(entry.node)),
        )
        assert listed.nodes == {entry.node}
        assert (listed.number, listed.serials) == (1, frozenset({entry.serial}))
        assert found.elsewhere == ()
    assert mesh.trust.lists == ()


def test_every_certificate_that_may_hold_goes_on_the_list() -> None:
    state, mesh = with_beta()
    issuer = issuer_of(mesh)
    csr = make_csr(make_key(2), "beta")
    for seed in (7, 8):
        issuer.issue(csr, Grants(), (), NOW + 5, bytes_of(seed))
    entry = issuer.ledger.entries()[1]
    expected = {entry.serial, *(item.serial for item in entry.earlier)}
    assert len(expected) == 3
    key = key_entry(entry.node)
    assert set(planned(state, "beta").serials) == {*expected, key}
    late = NOW + NODE_LIFETIME + 4
    assert planned(state, "beta", late).serials == (entry.serial, entry.earlier[0].serial, key)


def test_the_root_cannot_be_revoked() -> None:
    state, mesh = with_beta()
    with pytest.raises(LocalError, match="is the mesh itself, by its root"):
        planned(state, mesh.trust.root.node.hex())


def test_a_list_goes_on_with_what_was_revoked_before() -> None:
    state, mesh = with_beta()
    issuer = issuer_of(mesh)
    mesh.trust.add_crl(make_list(issuer.key, issuer.certificate, 6, {5: NOW - 9}, NOW).der)
    (listed,) = planned(state, "beta").lists
    assert listed.number == 7
    assert 5 in listed.serials
    mesh.trust.add_crl(listed.der)
    again = planned(state, "beta")
    assert (again.lists, again.serials) == ((), ())


def test_a_peer_counts_though_the_ledger_was_lost() -> None:
    mesh = make_mesh()
    certificate = admit(mesh, 2, "beta")
    issuer_of(mesh).ledger.release(certificate.node)
    state = make_state(mesh)
    with pytest.raises(LocalError, match="no node has the name"):
        planned(state, "beta")
    peer = make_peer(mesh)
    peer.id = certificate.node
    peer.certify(certificate, (certificate.der,))
    state.peers[peer.id] = peer
    expected = (certificate.serial, key_entry(certificate.node))
    assert planned(state, "beta").serials == expected
    assert planned(state, str(certificate.address6)).serials == expected


def test_a_node_of_which_nothing_is_known_is_revoked_by_its_id_with_a_warning() -> None:
    state, _ = with_beta()
    found = planned(state, "ab" * 16)
    (listed,) = found.lists
    assert listed.nodes == {bytes.fromhex("ab" * 16)}
    assert found.elsewhere == (
        "no certificate of it is known here: make sure that the id is right",
    )


def test_nobody_revokes_itself_by_mistake() -> None:
    state, mesh = with_beta()
    for text in ("alpha", mesh.id.hex(), str(mesh.certificate.address4)):
        with pytest.raises(LocalError, match="meshd leave"):
            planned(state, text)
    with pytest.raises(LocalError, match="all that it issued would end"):
        planned(state, issuer_of(mesh).certificate.node.hex())


def test_several_nodes_of_one_name_are_told_apart() -> None:
    state, mesh = with_beta()
    ledger = issuer_of(mesh).ledger
    twin = admit(mesh, 3, "gamma")
    ledger._entries[twin.node] = replace(ledger.entries()[-1], name="beta")
    with pytest.raises(LocalError, match=twin.node.hex()):
        planned(state, "beta")


def test_an_issuers_ca_is_revoked_by_the_root_and_its_id() -> None:
    mesh = make_mesh()
    second = second_issuer(mesh)
    state = make_state(mesh)
    found = planned(state, "second")
    root_list, leaf_list = found.lists
    assert root_list.authority == mesh.trust.mesh_id
    assert leaf_list.authority == issuer_of(mesh).certificate.node
    authority = issuer_of(second).certificate
    assert root_list.serials == frozenset({authority.serial})
    assert root_list.nodes == {authority.node, second.id}
    (only,) = planned(state, authority.node.hex()).lists
    assert (only.serials, only.nodes) == (root_list.serials, frozenset({authority.node}))
    issuer_of(mesh).root_key = None
    there = f"and run `meshd revoke {authority.node.hex()}` there"
    with pytest.raises(LocalError, match=rf"takes root\.key: put root\.key back .* {there}"):
        planned(state, authority.node.hex())
    found = planned(state, "second")
    assert [item.authority for item in found.lists] == [leaf_list.authority]
    assert f"and run `meshd revoke {second.id.hex()}` there" in found.elsewhere[0]


def test_a_ca_that_the_ledger_does_not_know_is_named_for_a_person_to_judge() -> None:
    mesh = make_mesh()
    second = second_issuer(mesh)
    entry = issuer_of(mesh).ledger.get(second.id)
    assert entry is not None
    issuer_of(mesh).ledger._entries[second.id] = replace(entry, own_issuer=b"")
    state = make_state(mesh)
    state.peers[second.id] = make_peer(second)
    authority = issuer_of(second).certificate.node
    found = plan("second", state, lambda node: ["second"] if node == authority else [], NOW)
    assert "says that it holds the CA" in found.elsewhere[0]
    assert f"run `meshd revoke {authority.hex()}`, too" in found.elsewhere[0]
    assert planned(state, "second").elsewhere == ()


def test_who_was_out_by_the_word_of_a_revoked_ca_is_named() -> None:
    mesh = make_mesh()
    second = second_issuer(mesh)
    own = issuer_of(second)
    nodes = [bytes([number]) * 16 for number in range(MAX_TOLD + 2)]
    listed = make_list(own.key, own.certificate, 1, {key_entry(node): NOW for node in nodes}, NOW)
    mesh.trust.add_crl(listed.der)
    state = make_state(mesh)
    for text in ("second", own.certificate.node.hex()):
        (told,) = planned(state, text).elsewhere
        assert nodes[0].hex() in told
        assert told.endswith("and 2 more")
        assert nodes[-1].hex() not in told


def test_any_issuer_revokes_who_was_admitted_or_renewed_elsewhere() -> None:
    mesh = make_mesh()
    second = second_issuer(mesh)
    held = admit(mesh, 5, "beta")
    renewed = renew(issuer_of(second), held, make_csr(make_key(5), "beta"), NOW + 9, bytes_of(6))
    found = planned(make_state(second), "beta")
    assert found.serials == (renewed.serial, key_entry(held.node))
    assert found.elsewhere == ()
    (listed,) = found.lists
    mesh.trust.add_crl(listed.der)
    assert mesh.trust.is_revoked(held)
    assert mesh.trust.is_revoked(renewed)


def test_who_is_no_issuer_is_told_where_to_go_and_what_to_type() -> None:
    mesh = make_mesh()
    second = second_issuer(mesh)
    certificate = admit(mesh, 5, "beta")
    plain = make_state(replace(second, issuer=None))
    peer = make_peer(mesh)
    peer.id = certificate.node
    peer.certify(certificate, (certificate.der,))
    plain.peers[peer.id] = peer
    what = f"run `meshd revoke {peer.id.hex()}`"
    with pytest.raises(LocalError, match=rf"no issuer is there now: .*root\.key.* {what} there"):
        planned(plain, "beta")
    plain.peers[mesh.id] = make_peer(mesh)
    with pytest.raises(LocalError, match=f"this node is no issuer: {what} on alpha"):
        planned(plain, "beta")
    with pytest.raises(LocalError, match=r"alpha is an issuer, whom root\.key alone expels"):
        planned(plain, "alpha")


def test_a_full_list_is_told() -> None:
    state, mesh = with_beta()
    issuer: Issuer = issuer_of(mesh)
    many = dict.fromkeys(range(1 << 62, (1 << 62) + 7000), NOW)
    mesh.trust.add_crl(make_list(issuer.key, issuer.certificate, 1, many, NOW).der)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meshd.node.revoking.MAX_LIST", 100_000)
        with pytest.raises(LocalError, match="full"):
            planned(state, "beta")
    assert make_reply(mesh, mesh.certificate).crls == ()
