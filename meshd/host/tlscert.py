"""The certificate on the TLS port, and the TLS settings of both ends.

It proves nothing to members: whom a node talks to is proven inside the stream, by the same
handshake as over UDP. To everybody else it is the certificate of a website.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from meshd.node.errors import HostError

LIFETIME = timedelta(days=3650)
"""Of a certificate that we make: longer than it will be looked at."""
SERVER_PROTOCOLS = ["http/1.1"]
"""What the website speaks (ALPN, RFC 7301)."""
CLIENT_PROTOCOLS = ["h2", "http/1.1"]
"""What a browser offers."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What one connection shows: a certificate that was in force when it began."""

    context: ssl.SSLContext
    fingerprint: bytes
    """SHA-256 of the certificate (DER)."""


def make_certificate(name: str, now: datetime) -> tuple[bytes, bytes]:
    """A new self-signed certificate for the DNS name `name`, and its key: both PEM.

    As `openssl req -x509` makes it, with a key that browsers take (ECDSA, P-256).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), secret


class ServedCertificate:
    """The certificate and key in two files, read again when they change.

    Attributes:
        identity: what new connections show.
        made: when the certificate's file was last written, at the start; Unix time.
        problem: a sentence where the files have changed into something unusable, else None; what
            was read before stays in force.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read both. Raises HostError: missing, unreadable, or no pair."""
        self._files = (certificate, key)
        self._seen = self._stamps()
        self.identity = self._read()
        self.problem: str | None = None
        self.made = self._seen[0][0] // 1_000_000_000

    def refresh(self) -> None:
        """Read the files again if they changed since."""
        seen = self._stamps()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self.identity = self._read()
        except HostError as error:
            self.problem = f"{error}; the certificate read before is still shown"
        else:
            self.problem = None

    def _stamps(self) -> list[tuple[int, int, int]]:
        stamps = []
        for path in self._files:
            try:
                found = os.stat(path)
            except OSError:
                stamps.append((0, 0, 0))
            else:
                stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
        return stamps

    def _read(self) -> Identity:
        certificate, key = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(SERVER_PROTOCOLS)
        try:
            # without a password's callback OpenSSL would ask on the terminal
            context.load_cert_chain(certificate, key, password=lambda: b"")
            leaf = ssl.PEM_cert_to_DER_cert(_first(certificate.read_text()))
        except ssl.SSLError as error:
            raise HostError(
                f"{certificate} and {key} are no certificate and its unencrypted key, both PEM"
                f" ({error.reason or error})"
            ) from None
        except (OSError, ValueError) as error:
            raise HostError(
                f"the TLS certificate {certificate} with the key {key} cannot be read:"
                f" {getattr(error, 'strerror', None) or error}"
            ) from None
        return Identity(context, hashlib.sha256(leaf).digest())


def client_context() -> ssl.SSLContext:
    """TLS for dialling out.

    The server's certificate is not verified: it may be self-signed, made by the node itself, and
    a node is dialled by address. Who it is, the handshake inside proves, with keys of the mesh; a
    stranger in between sees ciphertext and cannot make any that counts.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(CLIENT_PROTOCOLS)
    return context


def _first(pem: str) -> str:
    """The first certificate of a chain. Raises ValueError."""
    end = pem.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")
    return pem[pem.index("-----BEGIN CERTIFICATE-----") : end]
