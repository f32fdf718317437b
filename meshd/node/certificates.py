"""X.509 certificates of a mesh, read with every field checked (`minting` builds them).

Three kinds (RFC 5280 profile; all Ed25519, RFC 8410)::

    root    CA, path length 1   IP name constraints: the mesh's prefixes
    issuer  CA, path length 0   the same or narrower; SAN uri: what it may grant
    node    no CA               SAN dns: its name; ip: its overlay addresses; uri: its grants

Grants are URIs, see `grants`. Subjects are O = the mesh's name, and CN. The subject key identifier
is the BLAKE2s-128 of the public key: for a node its id, for the root the mesh id. Serials have 8
bytes. Here a certificate is only well formed; `chain` decides whether it is to be trusted.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from gossip import NodeId
from meshd.node.addresses import node_id
from meshd.node.errors import LocalError, RemoteError
from meshd.node.grants import Grants, Network, parse_uris
from meshd.node.mesh import check_name

Address = IPv4Address | IPv6Address

MAX_CERTIFICATE = 4096
"""Bytes (DER) of the largest certificate or request that is looked at."""

_EXTENSIONS = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.SubjectKeyIdentifier,
    x509.AuthorityKeyIdentifier,
    x509.SubjectAlternativeName,
    x509.NameConstraints,
)
_P = 2**255 - 19
_ORDER8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER = frozenset({0, 1, _P - 1, _ORDER8, _P - _ORDER8})
"""The y coordinates of Ed25519's eight small-order points (RFC 8032, section 5.1)."""


class TrustError(RemoteError):
    """A certificate, request or revocation list was refused; `reason` says why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One well-formed certificate; all values are those of `der`. Times are Unix seconds."""

    der: bytes = field(repr=False)
    public_key: bytes
    """Raw Ed25519 key, 32 bytes."""
    node: NodeId
    """BLAKE2s-128 of the public key; of a CA: its key identifier."""
    authority: bytes
    """The `node` of the certificate that issued this one."""
    network: str
    """The mesh's name, the subject's O."""
    name: str
    """The subject's CN, and a node's SAN dns."""
    addresses: tuple[Address, ...]
    """A node's overlay addresses, IPv4 before IPv6."""
    roles: tuple[str, ...]
    routes: tuple[Network, ...]
    groups: tuple[str, ...]
    serial: int
    not_before: int
    not_after: int
    is_ca: bool
    path_length: int | None
    constraints: tuple[Network, ...]
    """A CA's IP name constraints: the prefixes its nodes' addresses lie in."""

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the DER, as handshakes name a chain by."""
        return sha256(self.der).digest()

    @property
    def grants(self) -> Grants:
        """The grants alone."""
        return Grants(self.name, self.roles, self.routes, self.groups)

    @property
    def address4(self) -> IPv4Address:
        """A node's overlay IPv4 address. Raises LookupError for a CA."""
        for address in self.addresses:
            if isinstance(address, IPv4Address):
                return address
        raise LookupError("a CA has no overlay address")

    @property
    def address6(self) -> IPv6Address:
        """A node's overlay IPv6 address. Raises LookupError for a CA."""
        for address in self.addresses:
            if isinstance(address, IPv6Address):
                return address
        raise LookupError("a CA has no overlay address")


def load_public_key(raw: bytes) -> Ed25519PublicKey:
    """The key for these 32 raw bytes, of a certificate, a record, any signer.

    Raises TrustError("key-weak") for points of small order and for encodings of y >= p: under
    them one signature fits any message, and the library takes them.
    """
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if len(raw) != 32 or y >= _P or y in _SMALL_ORDER:
        raise TrustError("key-weak")
    return Ed25519PublicKey.from_public_bytes(raw)


def parse_certificate(der: bytes) -> Certificate:
    """Read one certificate. Raises TrustError("certificate-malformed" or "key-weak").

    No signature but a self-signed one's is checked here, and nothing that depends on the time.
    """
    if len(der) > MAX_CERTIFICATE:
        raise TrustError("certificate-malformed", "too large")
    with reading("certificate-malformed"):
        return _read(x509.load_der_x509_certificate(der), der)


@contextmanager
def reading(reason: str) -> Iterator[None]:
    """Make TrustError(reason) of all that the library raises over bytes it was given, and keep
    its warnings, which a peer could provoke at will, out of the log."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (
        ValueError,
        TypeError,
        LookupError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise TrustError(reason, str(error)[:200]) from None


def check_encoding(der: bytes, signature: bytes) -> None:
    """Raises ValueError unless `der` ends with its signature in the one right encoding.

    The library ignores the count of unused bits, so that each signed object would have eight
    encodings and as many hashes.
    """
    if not der.endswith(b"\x03\x41\x00" + signature):
        raise ValueError("the signature is not 512 whole bits")


def _read(loaded: x509.Certificate, der: bytes) -> Certificate:
    if loaded.signature_algorithm_oid != SignatureAlgorithmOID.ED25519:
        raise ValueError("not signed with Ed25519")
    check_encoding(der, loaded.signature)
    public_key = loaded.public_key()
    if not isinstance(public_key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")
    raw = public_key.public_bytes_raw()
    load_public_key(raw)
    extensions = loaded.extensions
    if any(item.critical and not isinstance(item.value, _EXTENSIONS) for item in extensions):
        raise ValueError("an unknown critical extension")
    basic = extensions.get_extension_for_class(x509.BasicConstraints).value
    _check_usage(extensions.get_extension_for_class(x509.KeyUsage).value, basic.ca)
    identifier = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    node = node_id(raw)
    if identifier != node:
        raise ValueError("the subject key identifier is another key's")
    authority = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    if authority is None or len(authority) != len(node):
        raise ValueError("no authority key identifier")
    if not 0 < loaded.serial_number < 1 << 64:
        raise ValueError("the serial has more than 8 bytes")
    name = _attribute(loaded.subject, NameOID.COMMON_NAME)
    names, addresses, uris = _alternative_names(extensions)
    if basic.ca != (not addresses) or names != ([] if basic.ca else [name]):
        raise ValueError("the alternative names do not fit the kind of certificate")
    roles, routes, groups = parse_uris(uris)
    return Certificate(
        der=der,
        public_key=raw,
        node=node,
        authority=authority,
        network=_attribute(loaded.subject, NameOID.ORGANIZATION_NAME),
        name=name if basic.ca else _label(name),
        addresses=addresses,
        roles=roles,
        routes=routes,
        groups=groups,
        serial=loaded.serial_number,
        not_before=int(loaded.not_valid_before_utc.timestamp()),
        not_after=int(loaded.not_valid_after_utc.timestamp()),
        is_ca=basic.ca,
        path_length=basic.path_length,
        constraints=_constraints(extensions) if basic.ca else (),
    )


def _check_usage(usage: x509.KeyUsage, is_ca: bool) -> None:
    if usage.key_cert_sign != is_ca or usage.crl_sign != is_ca or usage.digital_signature == is_ca:
        raise ValueError("the key usage does not fit the kind of certificate")


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    if len(found) != 1 or not isinstance(found[0].value, str) or len(name) != 2:
        raise ValueError("the subject is not one O and one CN")
    return found[0].value


def _label(name: str) -> str:
    try:
        return check_name(name, "the node's name")
    except LocalError as error:
        raise ValueError(str(error)) from None


def _alternative_names(
    extensions: x509.Extensions,
) -> tuple[list[str], tuple[Address, ...], list[str]]:
    """Names, addresses (none, or one IPv4 and then one IPv6) and URIs."""
    try:
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], (), []
    names = found.get_values_for_type(x509.DNSName)
    addresses = found.get_values_for_type(x509.IPAddress)
    uris = found.get_values_for_type(x509.UniformResourceIdentifier)
    if len(names) + len(addresses) + len(uris) != len(list(found)):
        raise ValueError("an alternative name of another kind")
    match addresses:
        case []:
            return names, (), uris
        case [IPv4Address() as four, IPv6Address() as six]:
            return names, (four, six), uris
        case _:
            raise ValueError("a node has one IPv4 and one IPv6 address")


def _constraints(extensions: x509.Extensions) -> tuple[Network, ...]:
    value = extensions.get_extension_for_class(x509.NameConstraints).value
    networks: list[Network] = []
    for item in value.permitted_subtrees or []:
        if not isinstance(item, x509.IPAddress):
            raise ValueError("a name constraint that is not on addresses")
        if not isinstance(item.value, IPv4Network | IPv6Network):
            raise ValueError("a name constraint that is not a prefix")
        networks.append(item.value)
    if value.excluded_subtrees or not networks:
        raise ValueError("a CA names the prefixes of its nodes, and excludes none")
    return tuple(networks)


def read_csr(der: bytes) -> tuple[bytes, str]:
    """The raw public key and the wished name of a request whose signature is right.

    Raises TrustError("request-malformed" or "key-weak"). Whatever else it asks for is ignored.
    """
    if len(der) > MAX_CERTIFICATE:
        raise TrustError("request-malformed", "too large")
    with reading("request-malformed"):
        request = x509.load_der_x509_csr(der)
        check_encoding(der, request.signature)
        public_key = request.public_key()
        if not isinstance(public_key, Ed25519PublicKey):
            raise ValueError("not an Ed25519 key")
        raw = public_key.public_bytes_raw()
        load_public_key(raw)
        if not request.is_signature_valid:
            raise ValueError("the signature is wrong")
        found = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if len(found) != 1 or not isinstance(found[0].value, str):
            raise ValueError("the subject is not one CN")
        return raw, _label(found[0].value)
