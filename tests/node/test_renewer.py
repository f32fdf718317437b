"""The issuer's side of a renewal."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from meshd.node.certificates import TrustError
from meshd.node.control import Renew
from meshd.node.errors import LocalError
from meshd.node.grants import Grants
from meshd.node.identity import Identity, derive_issuer_key, join
from meshd.node.ledger import MAX_EARLIER
from meshd.node.minting import BACKDATE, DAY, NODE_LIFETIME, make_csr, make_issuer
from meshd.node.outputs import PersistLedger
from meshd.node.renewer import MIN_INTERVAL, REPEATED_PART, renew
from meshd.node.revocation import make_list
from tests.node.meshes import NOW, admit, bytes_of, issuer_of, make_key, make_mesh, make_reply, raw
from tests.node.virtual import Mesh

CSR = make_csr(make_key(2), "whatever")
LATER = NOW + 70 * DAY
"""In the last third of a certificate made `NOW`."""


def second_issuer(mesh: Identity, seed: int = 40) -> Identity:
    """A node with the role issuer that `mesh` admitted, as an enrolment would make it."""
    issuer, key = issuer_of(mesh), make_key(seed)
    certificate = admit(mesh, seed, "second", Grants(roles=("issuer",)))
    made = issuer.issue_issuer(
        make_csr(derive_issuer_key(key), "second"), NOW, bytes_of(seed + 1), certificate.node
    )
    mesh.trust.add_issuer(made.der)
    return join(key, mesh.mesh.mesh_id, make_reply(mesh, certificate, made.der), NOW)


def test_a_renewed_certificate_is_the_same_but_for_its_time_and_serial() -> None:
    mesh = make_mesh()
    held = admit(mesh, 2, "beta", Grants(roles=("relay",), groups=("web",)))
    made = renew(issuer_of(mesh), held, CSR, LATER, bytes_of(9))
    assert made.not_after == LATER + NODE_LIFETIME
    for field in ("public_key", "node", "name", "addresses", "roles", "routes", "groups"):
        assert getattr(made, field) == getattr(held, field)
    assert made.serial != held.serial
    assert mesh.trust.verify(made.der, [], LATER) == made
    entry = issuer_of(mesh).ledger.get(held.node)
    assert entry is not None
    assert entry.serial == made.serial
    assert [item.serial for item in entry.earlier] == [held.serial]


def test_any_issuer_renews_and_remembers_what_it_replaced() -> None:
    mesh = make_mesh()
    second = second_issuer(mesh)
    held = admit(mesh, 2, "beta")
    made = renew(issuer_of(second), held, CSR, LATER, bytes_of(9))
    assert made.authority == issuer_of(second).certificate.node
    assert mesh.trust.verify(made.der, [], LATER) == made
    entry = issuer_of(second).ledger.get(held.node)
    assert entry is not None
    assert [item.authority for item in entry.earlier] == [held.authority]


def test_the_later_certificate_is_later_though_the_issuers_clock_is_behind() -> None:
    mesh = make_mesh()
    held = admit(mesh, 2, "beta")
    made = renew(issuer_of(mesh), held, CSR, NOW - 3600, bytes_of(9))
    assert made.not_before == held.not_before + 1
    with pytest.raises(LocalError, match="clock"):
        renew(issuer_of(mesh), held, CSR, NOW - BACKDATE - 60, bytes_of(9))
    with pytest.raises(TrustError, match="not-yet-valid"):
        renew(issuer_of(mesh), replace(held, not_before=int(NOW) + 9), CSR, NOW, bytes_of(9))


def test_nothing_is_renewed_that_the_issuer_may_not_give_or_that_has_ended() -> None:
    mesh = make_mesh()
    issuer, held = issuer_of(mesh), admit(mesh, 2, "beta", Grants(roles=("exit",)))
    with pytest.raises(TrustError, match="request-malformed"):
        renew(issuer, held, make_csr(make_key(3), "beta"), NOW, bytes_of(9))
    with pytest.raises(TrustError, match="certificate-expired"):
        renew(issuer, held, CSR, NOW + NODE_LIFETIME + 1, bytes_of(9))
    assert issuer.root_key is not None
    root = mesh.trust.root
    for grants, prefixes, why in (
        (Grants(roles=("relay",)), (), "grant"),
        (issuer.certificate.grants, (IPv4Network("100.64.0.0/30"), root.constraints[1]), "address"),
    ):
        narrow = make_issuer(
            issuer.root_key, root, raw(issuer.key), grants, NOW, bytes_of(4), prefixes
        )
        with pytest.raises(LocalError, match=why):
            renew(replace(issuer, certificate=narrow), held, CSR, NOW, bytes_of(9))


def test_another_address_is_given_where_it_is_asked_for() -> None:
    mesh = make_mesh()
    held = admit(mesh, 2, "beta")
    made = renew(issuer_of(mesh), held, CSR, LATER, bytes_of(9), [held.address4])
    assert made.address4 not in (held.address4, mesh.certificate.address4)
    assert made.address6 == held.address6


def test_members_get_one_and_strangers_the_revoked_and_the_hasty_do_not() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    now, peer = mesh.world.now, alpha.peer(beta)
    renewer = alpha.node.credentials.renewal._renewer
    message = Renew(make_csr(beta.identity.node_key, "beta"))
    leaf, _ = renewer.answer(peer, message, now)
    assert alpha.identity.trust.verify(leaf, (), NOW + now).node == beta.identity.id
    with pytest.raises(LocalError, match="just got one"):
        renewer.answer(peer, message, now + MIN_INTERVAL / 2)
    moved = replace(message, move=True)
    leaf, _ = renewer.answer(peer, moved, now + 2)
    made = alpha.identity.trust.verify(leaf, (), NOW + now)
    assert made.address4 != alpha.identity.certificate.address4
    with pytest.raises(LocalError, match="no issuer"):
        beta.node.credentials.renewal._renewer.answer(beta.peer(alpha), message, now)
    issuer = issuer_of(mesh.founder)
    listed = make_list(issuer.key, issuer.certificate, 1, {made.serial: NOW}, NOW)
    alpha.identity.trust.add_crl(listed.der)
    with pytest.raises(TrustError, match="certificate-revoked"):
        renewer.answer(peer, message, now + 9)


def test_an_issuer_that_was_revoked_renews_nobody() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    issuer = issuer_of(mesh.founder)
    assert issuer.root_key is not None
    root = mesh.founder.trust.root
    listed = make_list(issuer.root_key, root, 1, {issuer.certificate.serial: NOW}, NOW)
    message = Renew(make_csr(beta.identity.node_key, "beta"))
    held = beta.identity.certificate
    alpha.identity.trust.add_crl(listed.der)
    with pytest.raises(LocalError, match="was revoked"):
        alpha.node.credentials.renewal._renewer.make(held, message, 1.0)


def test_a_request_that_is_repeated_gets_the_same_certificate_and_uses_up_nothing() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    now, peer = mesh.world.now, alpha.peer(beta)
    renewer = alpha.node.credentials.renewal._renewer
    message = Renew(make_csr(beta.identity.node_key, "beta"))
    first = renewer.answer(peer, message, now)
    for turn in range(1, 3 * MAX_EARLIER):
        assert renewer.answer(peer, message, now + 30 * turn) == first
    assert any(isinstance(output, PersistLedger) for output in alpha.node.drain())
    entry = issuer_of(alpha.identity).ledger.get(beta.identity.id)
    assert entry is not None
    assert [item.serial for item in entry.earlier] == [beta.identity.certificate.serial]
    late = now + NODE_LIFETIME * REPEATED_PART
    assert renewer.answer(peer, message, late) != first, "it would end too soon"
