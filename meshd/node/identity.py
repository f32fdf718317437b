"""A node's identity: its keys, its certificate, and what it trusts.

One Ed25519 key signs (certificate, records, the static key); the Noise static key is X25519 and
derived from it (HKDF-BLAKE2s of the seed, info `aegisray static`), so a node has one secret key to
keep. The binding that a peer checks is `static_signature`: Ed25519 over
`b"aegisray static\\x00"`, the mesh id and the static public key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gossip import NodeId
from meshd.node.certificates import Certificate, TrustError, load_public_key
from meshd.node.chain import TrustStore
from meshd.node.issuing import Issuer
from meshd.node.mesh import MeshDocument

SECRET_SIZE = 32
"""Bytes of the mesh secret: the psk of every handshake between members."""

_STATIC = b"aegisray static"


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything that makes a member: `assemble` checks that the parts belong together."""

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
    def static_public(self) -> bytes:
        """The raw X25519 public key, 32 bytes."""
        return self.static.public_key().public_bytes_raw()

    @property
    def static_signature(self) -> bytes:
        """64 bytes by which the certificate's key vouches for `static_public` in this mesh."""
        return self.node_key.sign(_static_message(self.mesh.mesh_id, self.static_public))


def new_node_key(random_bytes: Callable[[int], bytes]) -> Ed25519PrivateKey:
    """A new signing key from 32 random bytes."""
    return Ed25519PrivateKey.from_private_bytes(random_bytes(32))


def derive_static(node_key: Ed25519PrivateKey) -> X25519PrivateKey:
    """The Noise static key that belongs to a signing key."""
    kdf = HKDF(algorithm=hashes.BLAKE2s(32), length=32, salt=None, info=_STATIC)
    return X25519PrivateKey.from_private_bytes(kdf.derive(node_key.private_bytes_raw()))


def verify_static(
    public_key: bytes, mesh_id: bytes, static_public: bytes, signature: bytes
) -> None:
    """Check a peer's `static_signature`. Raises TrustError("static-signature" or "key-weak")."""
    try:
        load_public_key(public_key).verify(signature, _static_message(mesh_id, static_public))
    except InvalidSignature:
        raise TrustError("static-signature") from None


def _static_message(mesh_id: bytes, static_public: bytes) -> bytes:
    return _STATIC + b"\x00" + mesh_id + static_public
