"""Revocation lists (RFC 5280 section 5): each CA names the serials it takes back, and the keys.

An entry whose serial has 17 bytes, 1 and a key identifier, names that key: whatever certificate it
has, of whichever CA (certificates of a mesh have serials of 8 bytes). `TrustStore` says whose word
counts for whom.

A list never goes out of force: the one with the highest number stands until a higher one comes,
whatever its next update says. So withholding a list brings nothing back that was revoked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2s

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from gossip import NodeId
from meshd.node.addresses import ID_SIZE
from meshd.node.certificates import (
    Certificate,
    TrustError,
    check_encoding,
    load_public_key,
    reading,
)
from meshd.node.minting import moment

MAX_LIST = 256 * 1024
"""Bytes (DER) of the largest list that is looked at: some 7,000 entries."""
KEY_MARK = b"\x01"
"""The first byte of an entry's serial that names a key."""


@dataclass(frozen=True, slots=True)
class RevocationList:
    """One CA's list. `authority` is the CA's key identifier."""

    der: bytes = field(repr=False)
    authority: bytes
    number: int
    serials: frozenset[int] = field(repr=False)
    nodes: frozenset[NodeId] = field(default=frozenset(), repr=False)
    """The key identifiers it names."""

    @property
    def digest(self) -> bytes:
        """16 bytes that name this very list: BLAKE2s-128 of the DER."""
        return blake2s(self.der, digest_size=16).digest()


def make_list(
    key: Ed25519PrivateKey,
    issuer: Certificate,
    number: int,
    revoked: Mapping[int, float],
    unix_time: float,
) -> RevocationList:
    """The CA's list number `number`: serial (or `key_entry`) -> Unix time of its revocation."""
    subject = x509.load_der_x509_certificate(issuer.der).subject
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(subject)
        .last_update(moment(unix_time))
        .next_update(moment(max(unix_time + 1, issuer.not_after)))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(issuer.node, None, None), critical=False)
    )
    for serial in sorted(revoked):
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        builder = builder.add_revoked_certificate(
            entry.revocation_date(moment(revoked[serial])).build()
        )
    return parse_list(builder.sign(key, None).public_bytes(Encoding.DER), issuer)


def key_entry(node: bytes) -> int:
    """The serial that stands for the key with this identifier, and for all its certificates."""
    return int.from_bytes(KEY_MARK + node, "big")


def split_shown(shown: bytes) -> tuple[bytes, bytes]:
    """A list as it travels: its DER, and behind it the CA's certificate (or nothing).

    Raises TrustError("list-malformed") if there is no DER in front.
    """
    first = shown[1] if len(shown) > 1 else 0
    count = first & 0x7F if first & 0x80 else 0
    length = int.from_bytes(shown[2 : 2 + count], "big") if count else first
    end = 2 + count + length
    if count > 4 or not 2 < end <= len(shown):
        raise TrustError("list-malformed")
    return shown[:end], shown[end:]


def revoked_at(der: bytes) -> dict[int, float]:
    """Serial (or `key_entry`) -> Unix time of its revocation, of a list that was read before."""
    loaded = _load(der)[0]
    return {entry.serial_number: entry.revocation_date_utc.timestamp() for entry in loaded}


def list_authority(der: bytes) -> bytes:
    """Which CA a list says it is of: its key identifier. Raises TrustError("list-malformed")."""
    return _load(der)[1]


def parse_list(der: bytes, issuer: Certificate) -> RevocationList:
    """Read a list of `issuer`, its signature checked.

    Raises TrustError("list-malformed" or "list-signature").
    """
    loaded, authority, number = _load(der)
    with reading("list-malformed"):
        check_encoding(der, loaded.signature)
        key = load_public_key(issuer.public_key)
        signed = authority == issuer.node and loaded.is_signature_valid(key)
        entries = [entry.serial_number for entry in loaded]
    if not signed:
        raise TrustError("list-signature")
    first = int.from_bytes(KEY_MARK + bytes(ID_SIZE), "big")
    named = {entry - first for entry in entries if first <= entry < 2 * first}
    nodes = frozenset(NodeId(key.to_bytes(ID_SIZE, "big")) for key in named)
    serials = frozenset(entry for entry in entries if not first <= entry < 2 * first)
    return RevocationList(der, authority, number, serials, nodes)


def _load(der: bytes) -> tuple[x509.CertificateRevocationList, bytes, int]:
    if len(der) > MAX_LIST:
        raise TrustError("list-malformed", "too large")
    with reading("list-malformed"):
        loaded = x509.load_der_x509_crl(der)
        extensions = loaded.extensions
        number = extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        authority = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        if authority.key_identifier is None or not 0 <= number < 1 << 63:
            raise ValueError("no authority, or no sensible number")
        return loaded, authority.key_identifier, number
