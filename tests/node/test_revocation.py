"""Revocation lists."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gossip import NodeId
from meshd.node.certificates import TrustError
from meshd.node.keyring import write_authorities, write_pem
from meshd.node.minting import moment
from meshd.node.revocation import (
    MAX_LIST,
    key_entry,
    list_authority,
    make_list,
    parse_list,
    revoked_at,
    split_shown,
)
from tests.node.meshes import NOW, admit, issuer_of, make_mesh

MESH = make_mesh()
ISSUER = issuer_of(MESH)
CA = ISSUER.certificate


def test_a_list_reads_back() -> None:
    made = make_list(ISSUER.key, CA, 7, {5: NOW, 9: NOW - 5}, NOW)
    assert made == parse_list(made.der, CA)
    assert made.number == 7
    assert sorted(made.serials) == [5, 9]
    assert list_authority(made.der) == made.authority == CA.node
    assert len(made.digest) == 16


def test_the_same_list_is_the_same_bytes() -> None:
    first = make_list(ISSUER.key, CA, 7, {5: NOW, 9: NOW}, NOW)
    assert first == make_list(ISSUER.key, CA, 7, {9: NOW, 5: NOW}, NOW)


def test_a_list_of_another_ca_or_with_a_flipped_bit_is_refused() -> None:
    other = issuer_of(make_mesh(9))
    made = make_list(ISSUER.key, CA, 7, {5: NOW}, NOW)
    with pytest.raises(TrustError, match="list-signature"):
        parse_list(made.der, other.certificate)
    with pytest.raises(TrustError, match="list-signature"):
        parse_list(made.der[:-1] + bytes([made.der[-1] ^ 1]), CA)


def test_a_list_has_one_encoding_only() -> None:
    der = make_list(ISSUER.key, CA, 7, {5: NOW}, NOW).der
    for unused in range(1, 8):
        with pytest.raises(TrustError, match="list-malformed"):
            parse_list(der[:-65] + bytes([unused]) + der[-64:], CA)


def test_a_list_by_another_key_in_the_cas_name_is_refused() -> None:
    other = issuer_of(make_mesh(9))
    made = make_list(other.key, other.certificate, 7, {5: NOW}, NOW)
    swapped = made.der.replace(other.certificate.node, CA.node)
    with pytest.raises(TrustError, match="list-signature"):
        parse_list(swapped, CA)


@pytest.mark.parametrize("der", [b"", b"\x30\x00", CA.der, bytes(MAX_LIST + 1)])
def test_other_bytes_are_no_list(der: bytes) -> None:
    with pytest.raises(TrustError, match="list-malformed"):
        parse_list(der, CA)


def test_a_list_without_a_number_is_refused() -> None:
    bare = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.load_der_x509_certificate(CA.der).subject)
        .last_update(moment(NOW))
        .next_update(moment(NOW + 60))
        .sign(ISSUER.key, None)
    )
    with pytest.raises(TrustError, match="list-malformed"):
        parse_list(bare.public_bytes(Encoding.DER), CA)


def test_entries_name_serials_and_keys() -> None:
    nodes = [NodeId(bytes(16)), NodeId(b"\xff" * 16)]
    entries = dict.fromkeys([5, 1 << 129, *map(key_entry, nodes)], NOW)
    made = make_list(ISSUER.key, CA, 7, entries, NOW)
    assert made.nodes == frozenset(nodes)
    assert made.serials == {5, 1 << 129}
    assert revoked_at(made.der) == entries


def test_a_list_travels_with_its_cas_certificate() -> None:
    for count in (0, 1, 9, 500):
        made = make_list(ISSUER.key, CA, 7, dict.fromkeys(range(9, 9 + count), NOW), NOW)
        assert split_shown(made.der) == (made.der, b"")
        assert split_shown(made.der + CA.der) == (made.der, CA.der)


@pytest.mark.parametrize(
    "bad", [b"", b"0", b"0\x00", b"0\x05ab", b"0\x85" + bytes(9), b"0\x82\xff"]
)
def test_what_does_not_begin_with_der_is_no_list(bad: bytes) -> None:
    with pytest.raises(TrustError, match="list-malformed"):
        split_shown(bad)


def test_openssl_agrees_on_who_is_revoked(tmp_path: Path) -> None:
    good, bad = admit(MESH, 2), admit(MESH, 3)
    entries = {bad.serial: NOW, key_entry(bad.node): NOW}
    made = make_list(ISSUER.key, CA, 1, entries, NOW)
    (tmp_path / "ca.crt").write_bytes(write_authorities(MESH.trust))
    crl = x509.load_der_x509_crl(made.der).public_bytes(Encoding.PEM)
    (tmp_path / "list.crl").write_bytes(crl)
    results = []
    for leaf in (good, bad):
        (tmp_path / "node.crt").write_bytes(write_pem([leaf.der]))
        command = ["openssl", "verify", "-x509_strict", "-crl_check", "-attime", str(int(NOW + 1))]
        files = ["-CRLfile", "list.crl", "-CAfile", "ca.crt", "node.crt"]
        results.append(
            subprocess.run([*command, *files], cwd=tmp_path, capture_output=True, check=False)
        )
    assert results[0].returncode == 0, results[0].stderr
    assert results[1].returncode != 0
    assert b"certificate revoked" in results[1].stderr
