"""X.509 certificates and certificate requests of a mesh, built from plain values.

Each is signed as told and then read back with `certificates`, so nothing leaves here that the
other nodes would call malformed. What may be signed is `issuing`'s to decide.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from meshd.node.addresses import node_id
from meshd.node.certificates import Certificate, load_public_key, parse_certificate
from meshd.node.grants import Grants, Network

DAY = 86_400
ROOT_LIFETIME = 20 * 365 * DAY
ISSUER_LIFETIME = 5 * 365 * DAY
NODE_LIFETIME = 90 * DAY
BACKDATE = 2 * 3600
"""Seconds a certificate is valid before it was made: for hosts whose clock is slow."""


def make_root(
    key: Ed25519PrivateKey,
    network: str,
    prefixes: tuple[Network, ...],
    unix_time: float,
    random_bytes: Callable[[int], bytes],
) -> Certificate:
    """A mesh's root. `prefixes`: what all overlay addresses lie in."""
    raw = key.public_key().public_bytes_raw()
    subject = _subject(network, "root")
    builder = _builder(raw, subject, subject, node_id(raw), random_bytes)
    builder = _valid(builder, unix_time, unix_time + ROOT_LIFETIME)
    return _sign(_authority(builder, 1, prefixes), key)


def make_issuer(
    root_key: Ed25519PrivateKey,
    root: Certificate,
    public_key: bytes,
    grants: Grants,
    unix_time: float,
    random_bytes: Callable[[int], bytes],
    prefixes: tuple[Network, ...] = (),
) -> Certificate:
    """An issuer's certificate, signed by the root: it may grant what `grants` holds.

    `prefixes` narrows the overlay addresses it may give out (a region's), default the mesh's.
    Raises TrustError("key-weak").
    """
    load_public_key(public_key)
    subject = _subject(root.network, f"issuer {node_id(public_key)[:4].hex()}")
    builder = _builder(public_key, subject, _issued_by(root), root.node, random_bytes)
    builder = _valid(builder, unix_time, min(unix_time + ISSUER_LIFETIME, root.not_after))
    names = [x509.UniformResourceIdentifier(uri) for uri in grants.uris()]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _sign(_authority(builder, 0, prefixes or root.constraints), root_key)


def make_node(
    issuer_key: Ed25519PrivateKey,
    issuer: Certificate,
    public_key: bytes,
    grants: Grants,
    addresses: tuple[IPv4Address, IPv6Address],
    unix_time: float,
    random_bytes: Callable[[int], bytes],
) -> Certificate:
    """A node's certificate for `grants.name`, valid NODE_LIFETIME or as long as its issuer's.

    Signs what it is told: `issuing.Issuer` decides. Raises TrustError("key-weak").
    """
    load_public_key(public_key)
    subject = _subject(issuer.network, grants.name)
    builder = _builder(public_key, subject, _issued_by(issuer), issuer.node, random_bytes)
    builder = _valid(builder, unix_time, min(unix_time + NODE_LIFETIME, issuer.not_after))
    names: list[x509.GeneralName] = [x509.DNSName(grants.name)]
    names += [x509.IPAddress(address) for address in addresses]
    names += [x509.UniformResourceIdentifier(uri) for uri in grants.uris()]
    builder = (
        builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_ca=False), critical=True)
    )
    return _sign(builder, issuer_key)


def make_csr(key: Ed25519PrivateKey, name: str) -> bytes:
    """A certificate request (PKCS #10, RFC 2986), DER: the key proves itself, CN is `name`."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, None)
    return request.public_bytes(Encoding.DER)


def serial_number(random_bytes: Callable[[int], bytes]) -> int:
    """A random serial of exactly 8 bytes in DER: 62 random bits below a one."""
    return int.from_bytes(random_bytes(8), "big") >> 2 | 1 << 62


def moment(unix_time: float) -> datetime:
    """`unix_time` as X.509 has it: UTC, whole seconds."""
    return datetime.fromtimestamp(int(unix_time), timezone.utc)


def _builder(
    public_key: bytes,
    subject: x509.Name,
    issuer: x509.Name,
    authority: bytes,
    random_bytes: Callable[[int], bytes],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .serial_number(serial_number(random_bytes))
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(Ed25519PublicKey.from_public_bytes(public_key))
        .add_extension(x509.SubjectKeyIdentifier(node_id(public_key)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(authority, None, None), critical=False)
    )


def _valid(
    builder: x509.CertificateBuilder, unix_time: float, not_after: float
) -> x509.CertificateBuilder:
    start = moment(unix_time - BACKDATE)
    return builder.not_valid_before(start).not_valid_after(moment(not_after))


def _authority(
    builder: x509.CertificateBuilder, path_length: int, prefixes: tuple[Network, ...]
) -> x509.CertificateBuilder:
    permitted = [x509.IPAddress(prefix) for prefix in prefixes]
    return (
        builder.add_extension(x509.BasicConstraints(True, path_length), critical=True)
        .add_extension(_usage(is_ca=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
    )


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(network: str, name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, network),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _issued_by(issuer: Certificate) -> x509.Name:
    return x509.load_der_x509_certificate(issuer.der).subject


def _sign(builder: x509.CertificateBuilder, key: Ed25519PrivateKey) -> Certificate:
    return parse_certificate(builder.sign(key, None).public_bytes(Encoding.DER))
