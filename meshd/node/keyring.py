"""The files of the certificates directory, as bytes: an identity into files, and back.

| file                     | holds                                                           |
|--------------------------|-----------------------------------------------------------------|
| `ca.crt`                 | PEM: the root, then every known issuer                          |
| `node.crt`               | PEM: this node's certificate, then its issuer's                 |
| `node.key`, `issuer.key`, `root.key` | PEM, PKCS #8: Ed25519 keys, readable by their owner |
| `issuer.crt`             | PEM: what this node issues with                                 |
| `mesh.toml`              | what all nodes agree on, see `mesh`                             |
| `mesh.secret`            | one line: the mesh secret, and a check of it for this mesh      |
| `mesh.seeds`             | the first members' gossip records: whom to ask, state or none   |

Whatever is missing, damaged, of another mesh or out of its time is told in one sentence.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2s
from hmac import compare_digest

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from meshd.node.certificates import Certificate, TrustError, parse_certificate
from meshd.node.chain import TrustStore, check_validity
from meshd.node.errors import LocalError
from meshd.node.identity import SECRET_SIZE, Identity, assemble
from meshd.node.invitation import show_time
from meshd.node.issuing import Issuer
from meshd.node.ledger import Ledger
from meshd.node.mesh import parse_mesh

CA, MESH, MESH_SECRET, SEEDS = "ca.crt", "mesh.toml", "mesh.secret", "mesh.seeds"
NODE_CERTIFICATE, NODE_KEY = "node.crt", "node.key"
ISSUER_CERTIFICATE, ISSUER_KEY, ROOT_KEY = "issuer.crt", "issuer.key", "root.key"

REQUIRED = (NODE_KEY, NODE_CERTIFICATE, CA, MESH, MESH_SECRET)
OPTIONAL = (ISSUER_KEY, ISSUER_CERTIFICATE, ROOT_KEY)
SECRET = frozenset({NODE_KEY, ISSUER_KEY, ROOT_KEY, MESH_SECRET})
"""Files that nobody but their owner may read."""

NOT_A_MEMBER = (
    "this host is in no mesh yet: `meshd init` makes a new one, `meshd join TOKEN` joins one"
)

_PEM = re.compile(
    rb"\s*-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]+)\s-----END CERTIFICATE-----\s*"
)
_SECRET_PREFIX = b"aegisray-mesh-secret-1 "
_CHECK = 8


def write_files(identity: Identity) -> dict[str, bytes]:
    """Name -> content, in the order to write them: a directory with `node.crt` is complete."""
    trust, issuer = identity.trust, identity.issuer
    files = {NODE_KEY: write_key(identity.node_key)}
    if issuer is not None:
        files[ISSUER_KEY] = write_key(issuer.key)
        files[ISSUER_CERTIFICATE] = write_pem([issuer.certificate.der])
    files[CA] = write_authorities(trust)
    files[MESH] = identity.mesh.render().encode()
    files[MESH_SECRET] = _write_secret(identity.mesh_secret, trust.mesh_id)
    if issuer is not None and issuer.root_key is not None:
        files[ROOT_KEY] = write_key(issuer.root_key)
    files[NODE_CERTIFICATE] = write_pem(identity.chain)
    return files


def write_authorities(trust: TrustStore) -> bytes:
    """The content of `ca.crt`."""
    return write_pem([trust.root.der, *(issuer.der for issuer in trust.issuers)])


def write_pem(certificates: Sequence[bytes]) -> bytes:
    """DER certificates as PEM (RFC 7468)."""
    blocks = []
    for der in certificates:
        text = base64.b64encode(der).decode()
        lines = [text[start : start + 64] for start in range(0, len(text), 64)]
        blocks.append(
            "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])
        )
    return "".join(blocks).encode()


def write_key(key: Ed25519PrivateKey) -> bytes:
    """A private key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_key(data: bytes, path: str) -> Ed25519PrivateKey:
    """The inverse of `write_key`. Raises LocalError."""
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        raise _damaged(path, "not an unencrypted private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _damaged(path, "not an Ed25519 key")
    return key


def read_files(
    files: Mapping[str, bytes], folder: str, ledger: Ledger, unix_time: float
) -> Identity:
    """The identity in `files`, which come from `folder`; `ledger` is what it issued so far.

    Raises LocalError, with the file's path in it.
    """
    if NODE_CERTIFICATE not in files and CA not in files:
        raise LocalError(NOT_A_MEMBER)
    for name in REQUIRED:
        if name not in files:
            raise LocalError(f"{folder}/{name} is missing: {_remedy(folder)}")
    trust, root = _read_authorities(files[CA], f"{folder}/{CA}")
    try:
        mesh = parse_mesh(files[MESH].decode())
    except (LocalError, UnicodeDecodeError) as error:
        raise _damaged(f"{folder}/{MESH}", str(error)) from None
    if mesh.mesh_id != root.node or (mesh.name, mesh.cidr) != (root.network, trust.cidr):
        raise LocalError(
            f"{folder}/{MESH} and {folder}/{CA} are of different meshes: {_remedy(folder)}"
        )
    secret = _read_secret(files[MESH_SECRET], f"{folder}/{MESH_SECRET}", mesh.mesh_id)
    node_key = read_key(files[NODE_KEY], f"{folder}/{NODE_KEY}")
    chain = _read_pem(files[NODE_CERTIFICATE], f"{folder}/{NODE_CERTIFICATE}")
    issuer = _read_issuer(files, folder, trust, ledger)
    try:
        return assemble(node_key, chain[0], chain[1:], trust, mesh, secret, unix_time, issuer)
    except TrustError as error:
        raise _explain(error, chain, trust, folder, unix_time) from None


def is_expired(node_certificate: bytes, unix_time: float) -> bool:
    """Whether the content of `node.crt` is a certificate that has ended by this clock."""
    try:
        leaf = parse_certificate(_read_pem(node_certificate, NODE_CERTIFICATE)[0])
    except (LocalError, TrustError):
        return False
    return unix_time > leaf.not_after


def _read_authorities(data: bytes, path: str) -> tuple[TrustStore, Certificate]:
    certificates = _read_pem(data, path)
    try:
        trust = TrustStore(certificates[0], certificates[1:])
    except TrustError as error:
        raise _damaged(path, f"not a root and its issuers: {error}") from None
    return trust, trust.root


def _read_issuer(
    files: Mapping[str, bytes], folder: str, trust: TrustStore, ledger: Ledger
) -> Issuer | None:
    """What the node issues with, or None where it has neither key nor certificate."""
    if ISSUER_KEY not in files and ISSUER_CERTIFICATE not in files:
        return None
    for name in (ISSUER_KEY, ISSUER_CERTIFICATE):
        if name not in files:
            raise LocalError(f"{folder}/{name} is missing: {_remedy(folder)}")
    path = f"{folder}/{ISSUER_CERTIFICATE}"
    key = read_key(files[ISSUER_KEY], f"{folder}/{ISSUER_KEY}")
    try:
        certificate = parse_certificate(_read_pem(files[ISSUER_CERTIFICATE], path)[0])
        trust.add_issuer(certificate.der)
    except TrustError as error:
        raise _damaged(path, f"not an issuer's certificate of this mesh: {error}") from None
    if certificate.public_key != key.public_key().public_bytes_raw():
        raise LocalError(f"{folder}/{ISSUER_KEY} is not the key of {path}: {_remedy(folder)}")
    root_key = None
    if ROOT_KEY in files:
        root_key = read_key(files[ROOT_KEY], f"{folder}/{ROOT_KEY}")
        if root_key.public_key().public_bytes_raw() != trust.root.public_key:
            raise LocalError(
                f"{folder}/{ROOT_KEY} is not the key of this mesh's root: "
                "put the right one there, or move it away"
            )
    return Issuer(key, certificate, ledger, trust.root, root_key)


def _read_pem(data: bytes, path: str) -> list[bytes]:
    """At least one DER certificate, and nothing between them."""
    certificates: list[bytes] = []
    position = 0
    while position < len(data) or not certificates:
        block = _PEM.match(data, position)
        if block is None:
            raise _damaged(path, "not certificates in PEM, or cut off")
        try:
            certificates.append(base64.b64decode(b"".join(block[1].split()), validate=True))
        except ValueError:
            raise _damaged(path, "not base64") from None
        position = block.end()
    return certificates


def _write_secret(secret: bytes, mesh_id: bytes) -> bytes:
    return _SECRET_PREFIX + base64.b64encode(secret + _check(secret, mesh_id)) + b"\n"


def _read_secret(data: bytes, path: str, mesh_id: bytes) -> bytes:
    try:
        if not data.startswith(_SECRET_PREFIX):
            raise ValueError
        both = base64.b64decode(data[len(_SECRET_PREFIX) :].strip(), validate=True)
    except ValueError:
        raise _damaged(path, "not a mesh secret") from None
    secret = both[:SECRET_SIZE]
    if len(both) != SECRET_SIZE + _CHECK or not compare_digest(
        both[SECRET_SIZE:], _check(secret, mesh_id)
    ):
        raise _damaged(path, "its check does not fit this mesh")
    return secret


def _check(secret: bytes, mesh_id: bytes) -> bytes:
    return blake2s(b"aegisray mesh secret" + mesh_id, key=secret, digest_size=_CHECK).digest()


def _explain(
    error: TrustError, chain: Sequence[bytes], trust: TrustStore, folder: str, unix_time: float
) -> LocalError:
    """The sentence for a certificate of our own that does not verify."""
    path = f"{folder}/{NODE_CERTIFICATE}"
    match error.reason:
        case "certificate-expired" | "certificate-not-yet-valid":
            return _out_of_time(chain, trust, path, unix_time)
        case "certificate-foreign":
            return LocalError(
                f"{path} was not issued in the mesh of {folder}/{CA}: {_remedy(folder)}"
            )
        case "key-mismatch":
            return LocalError(f"{folder}/{NODE_KEY} is not the key of {path}: {_remedy(folder)}")
        case "certificate-revoked":
            return LocalError(
                f"{path} was revoked: this host is no member any more; ask an administrator of "
                f"the mesh, then move {folder} away and join with a new invitation"
            )
        case _:
            return _damaged(path, str(error))


def _out_of_time(
    chain: Sequence[bytes], trust: TrustStore, path: str, unix_time: float
) -> LocalError:
    for certificate in [parse_certificate(der) for der in chain] + [trust.root]:
        try:
            check_validity(certificate, unix_time)
        except TrustError:
            break
    return LocalError(
        f"this host's clock says {show_time(unix_time)}, but {path} is valid from "
        f"{show_time(certificate.not_before)} to {show_time(certificate.not_after)}: set the clock "
        "if it is wrong (`timedatectl`), otherwise join again with a new invitation"
    )


def _damaged(path: str, why: str) -> LocalError:
    folder = path.rpartition("/")[0]
    return LocalError(f"{path} is damaged ({why}): {_remedy(folder)}")


def _remedy(folder: str) -> str:
    return (
        "put it back from a backup, or move "
        f"{folder or 'the directory'} away and join again with a new invitation"
    )
