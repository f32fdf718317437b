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
from meshd.node.revocation import make_list
from meshd.node.revoking import Revocation, plan
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
            (entry.serial,),
        )
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
    assert set(planned(state, "beta").serials) == expected
    late = NOW + NODE_LIFETIME + 4
    assert planned(state, "beta", late).serials == (entry.serial, entry.earlier[0].serial)


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
    assert planned(state, "beta").serials == (certificate.serial,)
    assert planned(state, str(certificate.address6)).serials == (certificate.serial,)


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
    (only,) = planned(state, authority.node.hex()).lists
    assert only.serials == root_list.serials
    issuer_of(mesh).root_key = None
    with pytest.raises(LocalError, match=r"takes root\.key"):
        planned(state, authority.node.hex())
    found = planned(state, "second")
    assert [item.authority for item in found.lists] == [leaf_list.authority]
    assert authority.node.hex() in found.elsewhere[0]


def test_who_renewed_elsewhere_is_to_be_revoked_there_too() -> None:
    mesh = make_mesh()
    second = second_issuer(mesh)
    held = admit(mesh, 5, "beta")
    csr = make_csr(make_key(5), "beta")
    renewed = renew(issuer_of(second), held, csr, NOW + 9, bytes_of(6))
    state = make_state(second)
    found = plan("beta", state, lambda authority: ["alpha"], NOW)
    assert found.serials == (renewed.serial,)
    assert found.elsewhere == (
        "a certificate of beta was issued by alpha: run `meshd revoke beta` there",
    )
    (listed,) = planned(make_state(mesh), "beta").lists
    second.trust.add_crl(listed.der)
    assert plan("beta", state, holders, NOW).elsewhere == ()


def test_who_is_not_the_issuer_is_told_where_to_go() -> None:
    mesh = make_mesh()
    second = second_issuer(mesh)
    certificate = admit(mesh, 5, "beta")
    peer = make_peer(mesh)
    peer.id = certificate.node
    peer.certify(certificate, (certificate.der,))
    state = make_state(second)
    state.peers[peer.id] = peer
    with pytest.raises(LocalError, match="issued by alpha: run `meshd revoke beta` there"):
        plan("beta", state, lambda authority: ["alpha"], NOW)
    with pytest.raises(LocalError, match="which no node here says it holds"):
        planned(state, "beta")
    plain = make_state(replace(second, issuer=None))
    plain.peers[peer.id] = peer
    with pytest.raises(LocalError, match=r"this node is no issuer: .*issued by alpha"):
        plan("beta", plain, lambda authority: ["alpha"], NOW)
    peer.certificate = None
    with pytest.raises(LocalError, match="no certificate of"):
        planned(plain, certificate.node.hex())


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
