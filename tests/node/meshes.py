"""Meshes in memory, and certificates that no honest issuer would sign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from meshd.node.addresses import node_id
from meshd.node.certificates import Certificate
from meshd.node.grants import Grants
from meshd.node.identity import Identity, found, new_node_key
from meshd.node.issuing import EnrolmentReply, Issuer
from meshd.node.minting import make_csr, moment

NOW = 1_800_000_000.0
"""Unix seconds: the time of every test that does not say another."""
CIDR = IPv4Network("100.64.0.0/16")


def bytes_of(seed: int) -> Callable[[int], bytes]:
    """A source of bytes that is the same for the same seed."""
    return Random(seed).randbytes


def make_mesh(seed: int = 1, cidr: IPv4Network = CIDR) -> Identity:
    """A mesh's first node, `alpha`, with all its keys."""
    return found("alpha", "home", cidr, "aes256gcm", NOW, bytes_of(seed))


def issuer_of(identity: Identity) -> Issuer:
    """The issuer of a node that has one."""
    assert identity.issuer is not None
    return identity.issuer


def make_key(seed: int) -> Ed25519PrivateKey:
    """A node key."""
    return new_node_key(bytes_of(seed))


def raw(key: Ed25519PrivateKey) -> bytes:
    """Its public half."""
    return key.public_key().public_bytes_raw()


def admit(
    first: Identity, seed: int, name: str = "beta", grants: Grants | None = None
) -> Certificate:
    """A certificate for the key of `seed`, issued by `first`."""
    return issuer_of(first).issue(
        make_csr(make_key(seed), name), grants or Grants(), (), NOW, bytes_of(seed + 1000)
    )


def make_reply(first: Identity, certificate: Certificate, issuer: bytes = b"") -> EnrolmentReply:
    """What `first` would answer to a joiner."""
    return EnrolmentReply(
        certificate.der,
        tuple(item.der for item in first.trust.issuers),
        first.trust.root.der,
        first.mesh.render(),
        first.mesh_secret,
        issuer=issuer,
    )


@dataclass(slots=True)
class Forgery:
    """A certificate to be signed by `key` as if by `issuer`; every field may be wrong."""

    key: Ed25519PrivateKey
    issuer: Certificate
    subject_key: bytes
    name: str = "mallory"
    network: str = "home"
    names: Sequence[x509.GeneralName] = ()
    is_ca: bool = False
    path_length: int | None = None
    key_cert_sign: bool = False
    not_before: float = NOW - 60
    not_after: float = NOW + 3600
    serial: int = 1 << 62
    identifier: bytes | None = None
    authority: bytes | None = None
    constraints: tuple[IPv4Network, ...] = ()
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()

    def sign(self) -> bytes:
        """The DER."""
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.network),
                x509.NameAttribute(NameOID.COMMON_NAME, self.name),
            ]
        )
        builder = (
            x509.CertificateBuilder()
            .serial_number(self.serial)
            .subject_name(name)
            .issuer_name(x509.load_der_x509_certificate(self.issuer.der).subject)
            .public_key(Ed25519PublicKey.from_public_bytes(self.subject_key))
            .not_valid_before(moment(self.not_before))
            .not_valid_after(moment(self.not_after))
        )
        identifier = self.identifier or node_id(self.subject_key)
        authority = self.authority or self.issuer.node
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.SubjectKeyIdentifier(identifier), False),
            (x509.AuthorityKeyIdentifier(authority, None, None), False),
            (x509.BasicConstraints(self.is_ca, self.path_length), True),
            (usage(self.key_cert_sign), True),
            *self.extra,
        ]
        if self.names:
            extensions.append((x509.SubjectAlternativeName(self.names), False))
        if self.constraints:
            permitted = [x509.IPAddress(item) for item in self.constraints]
            extensions.append((x509.NameConstraints(permitted, None), True))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, None).public_bytes(Encoding.DER)


def usage(key_cert_sign: bool) -> x509.KeyUsage:
    """A CA's key usage, or a node's."""
    return x509.KeyUsage(
        digital_signature=not key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def names(name: str, address4: str, address6: IPv6Address, *uris: str) -> list[x509.GeneralName]:
    """A node's alternative names."""
    return [
        x509.DNSName(name),
        x509.IPAddress(IPv4Address(address4)),
        x509.IPAddress(address6),
        *(x509.UniformResourceIdentifier(uri) for uri in uris),
    ]
