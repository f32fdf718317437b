"""Certificates for the TLS port: made, read, read again."""

from __future__ import annotations

import os
import shutil
import ssl
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509

from meshd.host.tlscert import ServedCertificate, client_context, make_certificate
from meshd.node.errors import HostError
from tests.streams import certificate_files

NOW = datetime(2026, 11, 1, tzinfo=timezone.utc)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tuple(  # type: ignore[return-value]
        Path(shutil.copy(path, tmp_path / path.name)) for path in certificate_files()
    )


def test_a_made_certificate_is_one_that_browsers_take() -> None:
    pem, key = make_certificate("www.example.org", NOW)
    made = x509.load_pem_x509_certificate(pem)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["www.example.org"]
    assert made.subject == made.issuer
    assert made.public_key().curve.name == "secp256r1"  # type: ignore[union-attr]
    assert made.not_valid_before_utc < NOW < made.not_valid_after_utc - timedelta(days=3000)
    made.verify_directly_issued_by(made)
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_two_of_them_have_nothing_in_common() -> None:
    one, two = (make_certificate("a.example", NOW) for _ in range(2))
    assert one[1] != two[1]
    assert (
        x509.load_pem_x509_certificate(one[0]).serial_number
        != x509.load_pem_x509_certificate(two[0]).serial_number
    )


def test_a_pair_of_files_is_served_over_tls_1_3_only(files: tuple[Path, Path]) -> None:
    served = ServedCertificate(*files)
    leaf = ssl.PEM_cert_to_DER_cert(files[0].read_text())
    assert served.identity.fingerprint == sha256(leaf).digest()
    assert served.identity.context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert served.problem is None


def test_the_fingerprint_is_the_first_certificates_of_a_chain(files: tuple[Path, Path]) -> None:
    before = ServedCertificate(*files).identity.fingerprint
    other, _ = make_certificate("ca.example", NOW)
    files[0].write_bytes(b"a comment\n" + files[0].read_bytes() + other)
    assert ServedCertificate(*files).identity.fingerprint == before


def test_files_that_change_are_read_again_and_old_connections_keep_theirs(
    files: tuple[Path, Path],
) -> None:
    served = ServedCertificate(*files)
    old = served.identity
    served.refresh()
    assert served.identity is old
    for path, data in zip(files, make_certificate("new.example", NOW), strict=True):
        path.write_bytes(data)
    served.refresh()
    assert served.identity.context is not old.context
    assert served.identity.fingerprint != old.fingerprint


def test_what_was_read_stays_in_force_while_the_files_are_no_pair(
    files: tuple[Path, Path],
) -> None:
    served = ServedCertificate(*files)
    old = served.identity
    pem, key = make_certificate("new.example", NOW)
    files[0].write_bytes(pem)
    served.refresh()
    assert served.identity is old
    assert served.problem is not None
    assert "still shown" in served.problem
    files[1].write_bytes(key)
    served.refresh()
    assert served.identity is not old
    assert served.problem is None


def test_a_vanished_file_is_told_and_forgiven(files: tuple[Path, Path]) -> None:
    served = ServedCertificate(*files)
    moved = files[1].with_suffix(".away")
    os.rename(files[1], moved)
    served.refresh()
    assert served.problem is not None
    assert "No such file" in served.problem
    os.rename(moved, files[1])
    served.refresh()
    assert served.problem is None


@pytest.mark.parametrize("broken", [0, 1])
def test_what_is_no_certificate_or_key_is_refused(files: tuple[Path, Path], broken: int) -> None:
    files[broken].write_text("nothing\n")
    with pytest.raises(HostError, match="are no certificate and its unencrypted key"):
        ServedCertificate(*files)


def test_an_encrypted_key_is_refused_without_asking(files: tuple[Path, Path]) -> None:
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(files[1].read_bytes(), None)
    files[1].write_bytes(
        key.private_bytes(
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")
        )
    )
    with pytest.raises(HostError, match="unencrypted key"):
        ServedCertificate(*files)


def test_the_dialling_side_trusts_any_certificate() -> None:
    context = client_context()
    assert context.verify_mode == ssl.CERT_NONE
    assert not context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
