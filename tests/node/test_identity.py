"""A node's identity, and how it is put together."""

from __future__ import annotations

import hmac
from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from meshd.node.certificates import TrustError, load_public_key
from meshd.node.errors import LocalError, RemoteError
from meshd.node.grants import Grants
from meshd.node.identity import (
    Identity,
    assemble,
    derive_issuer_key,
    derive_static,
    found,
    join,
)
from meshd.node.minting import make_csr
from meshd.node.payloads import MemberPayload
from tests.node.meshes import (
    CIDR,
    NOW,
    admit,
    bytes_of,
    issuer_of,
    make_key,
    make_mesh,
    make_reply,
    raw,
)

MESH = make_mesh()
MESH_ID = MESH.mesh.mesh_id


def joined(seed: int = 2) -> Identity:
    reply = make_reply(MESH, admit(MESH, seed))
    return join(make_key(seed), MESH_ID, reply, NOW)


def test_the_founder_is_a_member_an_issuer_and_holds_the_root_key() -> None:
    assert MESH.name == "alpha"
    assert MESH.certificate.roles == ("issuer",)
    assert MESH.mesh.mesh_id == MESH.trust.mesh_id
    assert issuer_of(MESH).root_key is not None
    assert MESH.trust.verify(MESH.chain[0], MESH.chain[1:], NOW) == MESH.certificate
    assert MESH.id == MESH.certificate.node


def test_the_same_bytes_make_the_same_mesh() -> None:
    again = make_mesh()
    assert again.chain == MESH.chain
    assert again.mesh == MESH.mesh
    assert make_mesh(2).mesh.mesh_id != MESH_ID


@pytest.mark.parametrize(
    ("name", "network", "cipher", "said"),
    [
        ("A b", "home", "aes256gcm", "node's name"),
        ("alpha", "", "aes256gcm", "network's name"),
        ("alpha", "home", "rot13", "cipher"),
    ],
)
def test_a_mesh_of_wrong_values_is_not_founded(
    name: str, network: str, cipher: str, said: str
) -> None:
    with pytest.raises(LocalError, match=said):
        found(name, network, CIDR, cipher, NOW, bytes_of(1))


def test_the_static_key_is_the_hkdf_of_the_seed() -> None:
    seed = bytes(range(32))
    extracted = hmac.digest(bytes(32), seed, "blake2s")
    expanded = hmac.digest(extracted, b"aegisray static\x01", "blake2s")
    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert derive_static(key).private_bytes_raw() == expanded
    assert derive_issuer_key(key).private_bytes_raw() not in (expanded, seed)


def test_the_certificates_key_vouches_for_the_static_key_in_this_mesh_only() -> None:
    payload = MemberPayload(0, 0, MESH.static_signature, MESH.chain)
    key = load_public_key(MESH.certificate.public_key)
    payload.verify(MESH_ID, MESH.static_public, key)
    other = load_public_key(raw(make_key(5)))
    for mesh_id, static, signer in (
        (MESH_ID, MESH.static_public, other),
        (bytes(16), MESH.static_public, key),
        (MESH_ID, bytes(32), key),
    ):
        with pytest.raises(RemoteError, match="handshake-signature"):
            payload.verify(mesh_id, static, signer)


def test_secrets_are_in_no_repr() -> None:
    shown = repr(MESH)
    assert "Private" not in shown
    assert repr(MESH.mesh_secret) not in shown
    assert MESH.mesh_secret.hex() not in shown


def test_a_joiner_becomes_a_member_of_the_same_mesh() -> None:
    member = joined()
    assert member.name == "beta"
    assert member.issuer is None
    assert member.mesh == MESH.mesh
    assert member.mesh_secret == MESH.mesh_secret
    assert MESH.trust.verify(member.chain[0], member.chain[1:], NOW).node == member.id
    assert member.trust.verify(MESH.chain[0], [], NOW).node == MESH.id


def test_a_joiner_may_become_an_issuer() -> None:
    first, key = make_mesh(), make_key(2)
    csr = make_csr(derive_issuer_key(key), "beta")
    made = issuer_of(first).issue_issuer(csr, NOW, bytes_of(5))
    certificate = admit(first, 2, grants=Grants(roles=("issuer",)))
    second = join(key, MESH_ID, make_reply(first, certificate, made.der), NOW)
    third = issuer_of(second).issue(make_csr(make_key(3), "gamma"), Grants(), (), NOW, bytes_of(6))
    assert second.trust.verify(third.der, [], NOW).name == "gamma"
    assert issuer_of(second).root_key is None


def test_a_joiner_believes_nothing_but_the_tokens_mesh() -> None:
    other = make_mesh(9)
    reply = make_reply(other, admit(other, 2))
    with pytest.raises(TrustError, match="reply-mismatch"):
        join(make_key(2), MESH_ID, reply, NOW)


def test_a_reply_whose_parts_do_not_fit_is_refused() -> None:
    other = make_mesh(9)
    good = make_reply(MESH, admit(MESH, 2))
    elsewhere = issuer_of(other).certificate.der
    cases = [
        (replace(good, certificate=admit(MESH, 3).der), "key-mismatch"),
        (replace(good, certificate=admit(other, 2).der), "certificate-foreign"),
        (replace(good, mesh=other.mesh.render()), "mesh-mismatch"),
        (replace(good, mesh=good.mesh.replace("home", "hope")), "reply-mismatch"),
        (replace(good, mesh_secret=b"short"), "secret-malformed"),
        (replace(good, issuers=(elsewhere,)), "certificate-foreign"),
        (replace(good, issuer=issuer_of(MESH).certificate.der), "issuer-mismatch"),
        (replace(good, root=b"rubbish"), "certificate-malformed"),
    ]
    for reply, reason in cases:
        with pytest.raises(TrustError) as caught:
            join(make_key(2), MESH_ID, reply, NOW)
        assert caught.value.reason == reason


def test_the_document_and_the_root_agree_on_the_prefix() -> None:
    root_key = issuer_of(MESH).root_key
    assert root_key is not None
    moved = replace(MESH.mesh, cidr=IPv4Network("10.0.0.0/16")).sign(root_key)
    with pytest.raises(TrustError, match="mesh-mismatch"):
        assemble(
            MESH.node_key, MESH.chain[0], MESH.chain[1:], MESH.trust, moved, MESH.mesh_secret, NOW
        )
