"""Reading certificates and requests: every field, and every way to be wrong."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from meshd.node.addresses import node_id, overlay6
from meshd.node.certificates import (
    TrustError,
    load_public_key,
    parse_certificate,
    read_csr,
)
from meshd.node.grants import Grants
from meshd.node.minting import make_csr
from tests.node.meshes import Forgery, admit, issuer_of, make_key, make_mesh, names, raw

MESH = make_mesh()
ISSUER = issuer_of(MESH)
KEY = make_key(2)
P = 2**255 - 19
SMALL_ORDER = (
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
)


def forge() -> Forgery:
    """A sound node's certificate, to be spoilt."""
    address6 = overlay6(MESH.mesh.mesh_id, node_id(raw(KEY)))
    return Forgery(
        ISSUER.key,
        ISSUER.certificate,
        raw(KEY),
        names=names("mallory", "100.64.1.1", address6),
    )


def refused(der: bytes) -> str:
    with pytest.raises(TrustError) as caught:
        parse_certificate(der)
    return caught.value.reason


def test_a_nodes_certificate_says_what_was_granted() -> None:
    grants = Grants("beta", ("exit",), (ip_network("10.0.0.0/8"),), ("web",))
    certificate = admit(MESH, 2, grants=grants)
    assert certificate == parse_certificate(certificate.der)
    assert certificate.grants == grants
    assert certificate.public_key == raw(KEY)
    assert certificate.node == node_id(raw(KEY))
    assert certificate.authority == ISSUER.certificate.node
    assert certificate.network == "home"
    assert certificate.addresses == (certificate.address4, certificate.address6)
    assert certificate.address6 == overlay6(MESH.mesh.mesh_id, certificate.node)
    assert not certificate.is_ca
    assert certificate.constraints == ()
    assert len(certificate.fingerprint) == 32


def test_a_ca_has_no_overlay_address() -> None:
    with pytest.raises(LookupError):
        _ = ISSUER.certificate.address4
    with pytest.raises(LookupError):
        _ = ISSUER.certificate.address6


def test_the_forgery_is_sound_until_it_is_spoilt() -> None:
    assert parse_certificate(forge().sign()).name == "mallory"


@pytest.mark.parametrize(
    "spoil",
    [
        {"is_ca": True},
        {"key_cert_sign": True},
        {"names": ()},
        {"name": "other"},
        {"name": "Mallory"},
        {"identifier": bytes(16)},
        {"authority": bytes(20)},
        {"serial": 1 << 64},
        {"names": names("mallory", "100.64.1.1", overlay6(bytes(16), node_id(raw(KEY))))[:2]},
        {"extra": ((x509.InhibitAnyPolicy(0), True),)},
    ],
)
def test_a_certificate_of_another_shape_is_refused(spoil: dict[str, object]) -> None:
    assert refused(replace(forge(), **spoil).sign()) == "certificate-malformed"  # type: ignore[arg-type]


def test_an_unknown_extension_that_is_not_critical_is_let_through() -> None:
    extra = ((x509.OCSPNoCheck(), False),)
    assert parse_certificate(replace(forge(), extra=extra).sign()).name == "mallory"


@pytest.mark.parametrize(
    "name",
    [
        x509.RFC822Name("a@example.org"),
        x509.DNSName("second"),
        x509.IPAddress(IPv4Address("100.64.1.2")),
        x509.UniformResourceIdentifier("https://example.org"),
        x509.UniformResourceIdentifier("aegisray:role:ex it"),
    ],
)
def test_an_alternative_name_too_many_is_refused(name: x509.GeneralName) -> None:
    forgery = forge()
    forgery.names = [*forgery.names, name]
    assert refused(forgery.sign()) == "certificate-malformed"


def test_a_ca_without_name_constraints_is_refused() -> None:
    forgery = replace(forge(), names=(), is_ca=True, path_length=0, key_cert_sign=True)
    assert refused(forgery.sign()) == "certificate-malformed"
    forgery.constraints = (IPv4Network("100.64.0.0/16"),)
    assert parse_certificate(forgery.sign()).path_length == 0


@pytest.mark.parametrize("der", [b"", b"\x30", bytes(100), ISSUER.certificate.der + b"\x00"])
def test_other_bytes_are_no_certificate(der: bytes) -> None:
    assert refused(der) == "certificate-malformed"


def test_a_signed_object_has_one_encoding_only() -> None:
    leaf, request = admit(MESH, 2).der, make_csr(KEY, "beta")
    for unused in range(1, 8):
        assert refused(leaf[:-65] + bytes([unused]) + leaf[-64:]) == "certificate-malformed"
        with pytest.raises(TrustError, match="request-malformed"):
            read_csr(request[:-65] + bytes([unused]) + request[-64:])


def test_a_large_certificate_is_not_read() -> None:
    assert refused(bytes(5000)) == "certificate-malformed"


def test_a_certificate_for_a_key_of_another_kind_is_refused() -> None:
    key = ec.derive_private_key(5, ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    loaded = x509.load_der_x509_certificate(ISSUER.certificate.der)
    signed = (
        builder.public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(loaded.not_valid_before_utc)
        .not_valid_after(loaded.not_valid_after_utc)
        .sign(ISSUER.key, None)
    )
    assert refused(signed.public_bytes(Encoding.DER)) == "certificate-malformed"


def add(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """The sum of two points of edwards25519 (RFC 8032, section 5.1.4, affine)."""
    d = -121665 * pow(121666, -1, P) % P
    (x1, y1), (x2, y2) = first, second
    product = d * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P
    return x, y


def point(encoded: bytes) -> tuple[int, int]:
    """Decode a point (RFC 8032, section 5.1.3)."""
    number = int.from_bytes(encoded, "little")
    y, sign = number & (2**255 - 1), number >> 255
    d = -121665 * pow(121666, -1, P) % P
    square = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return (P - x if x & 1 != sign else x), y


@pytest.mark.parametrize("text", SMALL_ORDER)
def test_keys_of_small_order_are_weak(text: str) -> None:
    encoded = bytes.fromhex(text)
    total = point(encoded)
    for _ in range(3):
        total = add(total, total)
    assert total == (0, 1), "eight times the point is the neutral element"
    with pytest.raises(TrustError, match="key-weak"):
        load_public_key(encoded)


def test_there_are_eight_points_of_small_order() -> None:
    assert len({point(bytes.fromhex(text)) for text in SMALL_ORDER}) == 8


@pytest.mark.parametrize("y", [P, P + 1, P + 5, 2**255 - 1])
def test_an_encoding_that_is_not_reduced_is_weak(y: int) -> None:
    for sign in (0, 1 << 255):
        with pytest.raises(TrustError, match="key-weak"):
            load_public_key((y | sign).to_bytes(32, "little"))


def test_a_weak_key_would_verify_anything() -> None:
    weak = bytes.fromhex(SMALL_ORDER[0])
    Ed25519PublicKey.from_public_bytes(weak).verify(weak + bytes(32), b"whatever")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_weak(size: int) -> None:
    with pytest.raises(TrustError, match="key-weak"):
        load_public_key(b"\x05" * size)


@pytest.mark.parametrize("text", SMALL_ORDER)
def test_a_certificate_for_a_weak_key_is_refused(text: str) -> None:
    forgery = replace(forge(), subject_key=bytes.fromhex(text))
    assert refused(forgery.sign()) == "key-weak"


def test_a_request_yields_key_and_name() -> None:
    assert read_csr(make_csr(KEY, "beta")) == (raw(KEY), "beta")


def test_a_request_with_a_broken_signature_is_refused() -> None:
    der = bytearray(make_csr(KEY, "beta"))
    der[-1] ^= 1
    with pytest.raises(TrustError, match="request-malformed"):
        read_csr(bytes(der))


@pytest.mark.parametrize("name", ["Beta", "a b", "a.b"])
def test_a_request_for_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(TrustError, match="request-malformed"):
        read_csr(make_csr(KEY, name))


def test_a_request_of_another_kind_of_key_is_refused() -> None:
    key = ec.derive_private_key(5, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "beta")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    with pytest.raises(TrustError, match="request-malformed"):
        read_csr(request.public_bytes(Encoding.DER))


@pytest.mark.parametrize("der", [b"", b"\x30\x00", bytes(5000)])
def test_other_bytes_are_no_request(der: bytes) -> None:
    with pytest.raises(TrustError, match="request-malformed"):
        read_csr(der)
