"""Building certificates; OpenSSL is asked whether it agrees."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Network, ip_network
from pathlib import Path

import pytest

from meshd.node.certificates import Certificate, TrustError
from meshd.node.grants import Grants
from meshd.node.keyring import write_authorities, write_pem
from meshd.node.minting import (
    BACKDATE,
    NODE_LIFETIME,
    make_csr,
    make_issuer,
    make_node,
    serial_number,
)
from tests.node.meshes import NOW, admit, bytes_of, issuer_of, make_key, make_mesh, raw

MESH = make_mesh()
ISSUER = issuer_of(MESH)
GRANTS = Grants(
    "beta", ("exit", "relay"), (ip_network("10.0.0.0/8"), ip_network("fd00::/8")), ("web",)
)


def openssl(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    run = subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=False)
    return subprocess.CompletedProcess(
        run.args, run.returncode, run.stdout.decode(), run.stderr.decode()
    )


def verified(leaf: Certificate, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "ca.crt").write_bytes(write_authorities(MESH.trust))
    (folder / "node.crt").write_bytes(write_pem([leaf.der]))
    when = ("-attime", str(int(NOW)))
    files = ("-CAfile", str(folder / "ca.crt"), str(folder / "node.crt"))
    return openssl("verify", "-x509_strict", *when, *options, *files)


def test_openssl_verifies_every_members_certificate_strictly(tmp_path: Path) -> None:
    for leaf in (MESH.certificate, admit(MESH, 2, grants=GRANTS), admit(MESH, 3)):
        result = verified(leaf, tmp_path)
        assert result.returncode == 0, result.stderr
        assert result.stdout.endswith("node.crt: OK\n")


def test_openssl_refuses_a_certificate_of_another_mesh(tmp_path: Path) -> None:
    assert verified(make_mesh(9).certificate, tmp_path).returncode != 0


def test_openssl_refuses_an_address_outside_the_mesh(tmp_path: Path) -> None:
    own = MESH.certificate
    outside = (own.address4 + (1 << 24), own.address6)
    leaf = make_node(
        ISSUER.key, ISSUER.certificate, own.public_key, Grants("x"), outside, NOW, bytes_of(5)
    )
    result = verified(leaf, tmp_path)
    assert result.returncode != 0
    assert "permitted subtree violation" in result.stderr


def test_openssl_prints_the_grants(tmp_path: Path) -> None:
    leaf = admit(MESH, 2, grants=GRANTS)
    text = openssl("x509", "-text", "-noout", given=write_pem([leaf.der])).stdout
    assert "Subject: O = home, CN = beta" in text
    assert "DNS:beta" in text
    assert f"IP Address:{leaf.address4}" in text
    for uri in GRANTS.uris():
        assert f"URI:{uri}" in text
    assert leaf.node.hex(":").upper() in text
    assert "CA:FALSE" in text


def test_openssl_prints_path_lengths_and_constraints() -> None:
    root = openssl("x509", "-text", "-noout", given=write_pem([MESH.trust.root.der])).stdout
    issuer = openssl("x509", "-text", "-noout", given=write_pem([ISSUER.certificate.der])).stdout
    assert "CA:TRUE, pathlen:1" in root
    assert "CA:TRUE, pathlen:0" in issuer
    assert "IP:100.64.0.0/255.255.0.0" in root
    assert "URI:aegisray:*" in issuer


def test_openssl_reads_a_request() -> None:
    result = openssl(
        "req",
        "-inform",
        "DER",
        "-verify",
        "-noout",
        "-subject",
        given=make_csr(make_key(2), "beta"),
    )
    assert result.returncode == 0
    assert "CN = beta" in result.stdout


def test_a_plain_chain_fits_into_a_handshake() -> None:
    leaf = admit(MESH, 2)
    assert len(leaf.der) <= 420
    assert len(leaf.der) + len(ISSUER.certificate.der) <= 900


def test_validity_begins_a_little_early_and_ends_with_the_issuers() -> None:
    leaf = admit(MESH, 2)
    assert leaf.not_before == NOW - BACKDATE
    assert leaf.not_after == NOW + NODE_LIFETIME
    late = ISSUER.certificate.not_after - 100.0
    address = (leaf.address4, leaf.address6)
    last = make_node(
        ISSUER.key, ISSUER.certificate, leaf.public_key, Grants("x"), address, late, bytes_of(5)
    )
    assert last.not_after == ISSUER.certificate.not_after


@pytest.mark.parametrize("drawn", [bytes(8), b"\xff" * 8, bytes(range(8))])
def test_serials_have_eight_bytes_whatever_is_drawn(drawn: bytes) -> None:
    def draw(size: int) -> bytes:
        return drawn[:size]

    assert serial_number(draw).bit_length() == 63


def test_an_issuer_can_be_held_to_a_region() -> None:
    assert ISSUER.root_key is not None
    prefixes = (IPv4Network("100.64.0.0/18"), MESH.trust.prefix6)
    made = make_issuer(
        ISSUER.root_key,
        MESH.trust.root,
        raw(make_key(3)),
        Grants(groups=("web",)),
        NOW,
        bytes_of(5),
        prefixes,
    )
    assert made.constraints == prefixes
    assert made.groups == ("web",)
    assert made.roles == ()


def test_nothing_is_signed_for_a_weak_key() -> None:
    assert ISSUER.root_key is not None
    weak = bytes([1]) + bytes(31)
    address = (MESH.certificate.address4, MESH.certificate.address6)
    with pytest.raises(TrustError, match="key-weak"):
        make_node(ISSUER.key, ISSUER.certificate, weak, Grants("x"), address, NOW, bytes_of(5))
    with pytest.raises(TrustError, match="key-weak"):
        make_issuer(ISSUER.root_key, MESH.trust.root, weak, Grants(), NOW, bytes_of(5))
