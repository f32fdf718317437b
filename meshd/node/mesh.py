"""The mesh document: what all nodes of a mesh must agree on, signed by the mesh's root key.

On disk it is `mesh.toml`, TOML with one fixed set of keys. The signature is Ed25519 over
`b"aegisray mesh\\x00"` and the canonical text: the document as `MeshDocument.render` writes it,
without the last line, `signature`. So spaces and comments may change, values may not.
"""

from __future__ import annotations

import base64
import re
import sys
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from meshd.node.addresses import LARGEST_PREFIX4, mesh_id, mesh_prefix6
from meshd.node.errors import LocalError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROTOCOL = 1
"""The document's version, and the wire protocol's that its mesh speaks."""

CIPHERS = ("aes256gcm", "chacha20poly1305")
"""The AEADs a mesh can be made with; the first is the default. Never negotiated."""

MAX_TEXT = 4096
"""Characters of a document: enough for some 60 regions."""

_DOMAIN = b"aegisray mesh\x00"
_KEYS = {"name", "cidr", "cipher", "protocol", "root", "regions", "signature"}
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class MeshDocument:
    """What a mesh is: its name, overlay prefixes, cipher, protocol and root key.

    `regions` are (name, prefix) pairs, sorted, each prefix inside `cidr`. `signature` is empty
    until `sign`.
    """

    name: str
    cidr: IPv4Network
    cipher: str
    root_public_key: bytes
    regions: tuple[tuple[str, IPv4Network], ...] = ()
    protocol: int = PROTOCOL
    signature: bytes = b""

    @property
    def mesh_id(self) -> bytes:
        """16 bytes that name the mesh: BLAKE2s-128 of its root key."""
        return mesh_id(self.root_public_key)

    @property
    def prefix6(self) -> IPv6Network:
        """The mesh's IPv6 /64."""
        return mesh_prefix6(self.mesh_id)

    def sign(self, root_key: Ed25519PrivateKey) -> MeshDocument:
        """This document, signed. Raises LocalError when it is not one a mesh can have."""
        _check(self)
        if root_key.public_key().public_bytes_raw() != self.root_public_key:
            raise LocalError("the mesh document can only be signed by its own root key")
        return replace(self, signature=root_key.sign(_DOMAIN + self._body().encode()))

    def render(self) -> str:
        """The text of `mesh.toml`."""
        return f'{self._body()}signature = "{_base64(self.signature)}"\n'

    def _body(self) -> str:
        regions = ", ".join(
            f'{{ name = "{name}", cidr = "{cidr}" }}' for name, cidr in self.regions
        )
        return (
            "# What every node of this mesh agrees on, signed by its root key. Do not edit.\n"
            f'name = "{self.name}"\n'
            f'cidr = "{self.cidr}"\n'
            f'cipher = "{self.cipher}"\n'
            f"protocol = {self.protocol}\n"
            f"regions = [{regions}]\n"
            f'root = "{_base64(self.root_public_key)}"\n'
        )


def parse_mesh(text: str) -> MeshDocument:
    """Read `mesh.toml` and check its signature. Raises LocalError: what is wrong with it."""
    if len(text) > MAX_TEXT:
        raise LocalError(f"the mesh document is longer than {MAX_TEXT} characters")
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LocalError(f"the mesh document is not TOML: {error}") from None
    if fields.keys() != _KEYS:
        wrong = ", ".join(sorted(fields.keys() ^ _KEYS))
        raise LocalError(f"the mesh document lacks or does not know: {wrong}")
    document = MeshDocument(
        name=_text(fields, "name"),
        cidr=_prefix(_text(fields, "cidr")),
        cipher=_text(fields, "cipher"),
        root_public_key=_bytes(fields, "root", 32),
        regions=_regions(fields["regions"]),
        protocol=_protocol(fields["protocol"]),
        signature=_bytes(fields, "signature", 64),
    )
    _check(document)
    key = Ed25519PublicKey.from_public_bytes(document.root_public_key)
    try:
        key.verify(document.signature, _DOMAIN + document._body().encode())
    except InvalidSignature:
        raise LocalError("the mesh document's signature is wrong: it was changed") from None
    return document


def parse_cidr(text: str) -> IPv4Network:
    """A prefix that a mesh can have, such as `100.64.0.0/16`. Raises LocalError."""
    prefix = _prefix(text)
    if not 8 <= prefix.prefixlen <= LARGEST_PREFIX4:
        raise LocalError(f"{prefix} cannot be a mesh's prefix: give one from /8 to /30")
    if prefix.is_multicast or prefix.is_loopback or prefix.is_link_local or prefix.is_reserved:
        raise LocalError(f"{prefix} is set aside for other uses: give one such as 100.64.0.0/16")
    return prefix


def check_name(name: str, what: str) -> str:
    """`name`, when it is a DNS label (RFC 1123) in lower case. Raises LocalError.

    `what` says whose name it is: "the node's name", "the network's name".
    """
    if _NAME.fullmatch(name) is None:
        raise LocalError(
            f"{what} {name[:80]!r} must be 1 to 63 of a-z, 0-9 and '-', "
            "and begin and end with a letter or digit"
        )
    return name


def _check(document: MeshDocument) -> None:
    check_name(document.name, "the network's name")
    parse_cidr(str(document.cidr))
    if document.cipher not in CIPHERS:
        raise LocalError(f"the cipher {document.cipher[:40]!r} is not one of {', '.join(CIPHERS)}")
    if document.protocol != PROTOCOL:
        raise LocalError(
            f"this mesh speaks protocol {document.protocol}, this meshd {PROTOCOL}: "
            "install the version of meshd that the other nodes have"
        )
    for name, prefix in document.regions:
        check_name(name, "the region's name")
        if not prefix.subnet_of(document.cidr) or prefix.prefixlen > LARGEST_PREFIX4:
            raise LocalError(f"the region {name}'s prefix {prefix} is not within {document.cidr}")


def _prefix(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except (AddressValueError, NetmaskValueError, ValueError):
        raise LocalError(
            f"{text[:40]!r} is not an IPv4 prefix such as 100.64.0.0/16 "
            "(the bits after the prefix must be zero)"
        ) from None


def _regions(value: object) -> tuple[tuple[str, IPv4Network], ...]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise LocalError("the mesh document's regions are not a list of tables")
    return tuple((_text(item, "name"), _prefix(_text(item, "cidr"))) for item in value)


def _protocol(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise LocalError("the mesh document's protocol is not a number")
    return value


def _text(fields: dict[str, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise LocalError(f"the mesh document's {key} is not a text")
    return value


def _bytes(fields: dict[str, object], key: str, size: int) -> bytes:
    try:
        value = base64.b64decode(_text(fields, key), validate=True)
    except ValueError:
        value = b""
    if len(value) != size:
        raise LocalError(f"the mesh document's {key} is not {size} bytes of base64")
    return value


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
