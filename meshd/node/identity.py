"""A node's identity: its keys, its certificate, and what it trusts.

One Ed25519 key signs (certificate, records, the static key); the Noise static key is X25519 and
derived from it (HKDF-BLAKE2s of the seed, info `aegisray static`), so a node has one secret key to
keep. The binding that a peer checks is `static_signature`, see `payloads.static_statement`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gossip import NodeId
from meshd.node.addresses import mesh_id, mesh_prefix6
from meshd.node.certificates import Certificate, TrustError, parse_certificate
from meshd.node.chain import TrustStore
from meshd.node.errors import LocalError
from meshd.node.grants import EVERYTHING, Grants
from meshd.node.issuing import EnrolmentReply, Issuer
from meshd.node.mesh import CIPHERS, MeshDocument, check_name, parse_mesh
from meshd.node.minting import make_csr, make_issuer, make_root
from meshd.node.payloads import static_statement

SECRET_SIZE = 32
"""Bytes of the mesh secret: the psk of every handshake between members."""

_STATIC = b"aegisray static"


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything that makes a member. `found`, `join` and `assemble` make it, and check it."""

    node_key: Ed25519PrivateKey = field(repr=False)
    static: X25519PrivateKey = field(repr=False)
    certificate: Certificate
    issuer_certificates: tuple[bytes, ...] = field(repr=False)
    """DER of the CAs between the certificate and the root, the issuer of the leaf first."""
    trust: TrustStore = field(repr=False)
    mesh: MeshDocument
    mesh_secret: bytes = field(repr=False)
    issuer: Issuer | None = field(default=None, repr=False)
    """What this node admits others with, when it has the role `issuer`."""

    @property
    def id(self) -> NodeId:
        """The node id."""
        return self.certificate.node

    @property
    def name(self) -> str:
        """The node's name in the mesh."""
        return self.certificate.name

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The DER certificates that a peer needs: leaf first, then its issuers."""
        return (self.certificate.der, *self.issuer_certificates)

    @property
    def revoked(self) -> bool:
        """Whether this node's certificate was revoked, or what it issues with."""
        if self.issuer is not None and self.trust.is_revoked(self.issuer.certificate):
            return True
        return self.trust.is_revoked(self.certificate)

    @property
    def static_public(self) -> bytes:
        """The raw X25519 public key, 32 bytes."""
        return self.static.public_key().public_bytes_raw()

    @property
    def static_signature(self) -> bytes:
        """64 bytes by which the certificate's key vouches for `static_public` in this mesh."""
        return self.node_key.sign(static_statement(self.mesh.mesh_id, self.static_public))


def new_node_key(random_bytes: Callable[[int], bytes]) -> Ed25519PrivateKey:
    """A new signing key from 32 random bytes."""
    return Ed25519PrivateKey.from_private_bytes(random_bytes(32))


def derive_issuer_key(node_key: Ed25519PrivateKey) -> Ed25519PrivateKey:
    """The issuer key of a node that may become an issuer: asked for again, it is the same one."""
    return Ed25519PrivateKey.from_private_bytes(_derive(node_key, b"aegisray issuer"))


def derive_static(node_key: Ed25519PrivateKey) -> X25519PrivateKey:
    """The Noise static key that belongs to a signing key."""
    return X25519PrivateKey.from_private_bytes(_derive(node_key, _STATIC))


def found(
    name: str,
    network: str,
    cidr: IPv4Network,
    cipher: str,
    unix_time: float,
    random_bytes: Callable[[int], bytes],
) -> Identity:
    """A new mesh and its first member, which is its first issuer and holds the root's key.

    `cipher` is one of `mesh.CIPHERS`. Raises LocalError.
    """
    check_name(name, "the node's name")
    check_name(network, "the network's name")
    if cipher not in CIPHERS:
        raise LocalError(f"the cipher {cipher[:40]!r} is not one of {', '.join(CIPHERS)}")
    root_key, node_key = new_node_key(random_bytes), new_node_key(random_bytes)
    root_public = root_key.public_key().public_bytes_raw()
    mesh = MeshDocument(network, cidr, cipher, root_public).sign(root_key)
    prefixes = (cidr, mesh_prefix6(mesh_id(root_public)))
    root = make_root(root_key, network, prefixes, unix_time, random_bytes)
    issuer_key = derive_issuer_key(node_key)
    issuer_public = issuer_key.public_key().public_bytes_raw()
    certificate = make_issuer(root_key, root, issuer_public, EVERYTHING, unix_time, random_bytes)
    issuer = Issuer(issuer_key, certificate, root=root, root_key=root_key)
    leaf = issuer.issue(
        make_csr(node_key, name), Grants(roles=("issuer",)), (), unix_time, random_bytes
    )
    trust = TrustStore(root.der, [certificate.der])
    return assemble(
        node_key,
        leaf.der,
        [certificate.der],
        trust,
        mesh,
        random_bytes(SECRET_SIZE),
        unix_time,
        issuer,
    )


def join(
    node_key: Ed25519PrivateKey, mesh: bytes, reply: EnrolmentReply, unix_time: float
) -> Identity:
    """The identity that an issuer's reply gives to `node_key`.

    `mesh` is the id in the invitation's token: nothing in the reply is believed that does not
    follow from it. Raises TrustError: `verify`'s reasons, or "reply-mismatch".
    """
    if parse_certificate(reply.root).node != mesh:
        raise TrustError("reply-mismatch", "the root is another mesh's")
    trust = TrustStore(reply.root, reply.issuers, reply.crls)
    try:
        document = parse_mesh(reply.mesh)
    except LocalError as error:
        raise TrustError("reply-mismatch", str(error)) from None
    issuer = None
    if reply.issuer:
        trust.add_issuer(reply.issuer)
        issuer = Issuer(derive_issuer_key(node_key), parse_certificate(reply.issuer))
    return assemble(
        node_key,
        reply.certificate,
        reply.issuers[:1],
        trust,
        document,
        reply.mesh_secret,
        unix_time,
        issuer,
    )


def assemble(
    node_key: Ed25519PrivateKey,
    leaf_der: bytes,
    issuer_ders: Sequence[bytes],
    trust: TrustStore,
    mesh: MeshDocument,
    mesh_secret: bytes,
    unix_time: float,
    issuer: Issuer | None = None,
) -> Identity:
    """Put an identity together, and check that its parts belong together.

    `trust` learns the issuers in `issuer_ders`. Raises TrustError: `TrustStore.verify`'s reasons,
    "key-mismatch", "mesh-mismatch", "secret-malformed", "issuer-mismatch".
    """
    if mesh.mesh_id != trust.mesh_id or (mesh.name, mesh.cidr) != (trust.root.network, trust.cidr):
        raise TrustError("mesh-mismatch")
    if len(mesh_secret) != SECRET_SIZE:
        raise TrustError("secret-malformed")
    for der in issuer_ders:
        trust.add_issuer(der)
    certificate = trust.verify(leaf_der, (), unix_time)
    if certificate.public_key != node_key.public_key().public_bytes_raw():
        raise TrustError("key-mismatch")
    if issuer is not None:
        known = {item.der for item in trust.issuers}
        own = issuer.key.public_key().public_bytes_raw()
        if issuer.certificate.der not in known or issuer.certificate.public_key != own:
            raise TrustError("issuer-mismatch")
    return Identity(
        node_key=node_key,
        static=derive_static(node_key),
        certificate=certificate,
        issuer_certificates=(trust.issuer_of(certificate).der,),
        trust=trust,
        mesh=mesh,
        mesh_secret=mesh_secret,
        issuer=issuer,
    )


def _derive(node_key: Ed25519PrivateKey, info: bytes) -> bytes:
    kdf = HKDF(algorithm=hashes.BLAKE2s(32), length=32, salt=None, info=info)
    return kdf.derive(node_key.private_bytes_raw())
