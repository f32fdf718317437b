"""mac1, mac2 and cookies: what a stranger must show before a node spends a DH on it.

WireGuard's scheme (whitepaper, section 5.3 and 5.4.7), with BLAKE2s and without XChaCha20.
mac1 proves that the sender knows the receiver's static key. A node under load also asks for
mac2, keyed by a cookie that it sends to the source address: mac2 proves that the sender receives
what is sent there. Both end every handshake message::

    ... | mac1 16 | mac2 16          each over all bytes before itself

A cookie reply, 64 bytes, answers an initiation and is never larger than it::

     0       1         2               4               8           32                       64
    +-------+---------+---------------+---------------+-----------+------------------------+
    | 3     | version | zero          | receiver u32  | nonce 24  | sealed cookie 16 + tag |
    +-------+---------+---------------+---------------+-----------+------------------------+
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from meshd.node.errors import RemoteError
from meshd.node.wire import COOKIE, VERSION, Endpoint, format_endpoint

MAC_SIZE: Final = 16
MACS_SIZE: Final = 2 * MAC_SIZE
COOKIE_REPLY_SIZE: Final = 64
NO_MAC: Final = bytes(MAC_SIZE)

COOKIE_LIFETIME: Final = 120.0
"""Seconds that an initiator may use a cookie, and that a jar's secret is the newest."""

_HEADER: Final = struct.Struct(">BBHI")
_NONCE_SIZE: Final = 24
_SENDER: Final = struct.Struct(">4xI")
_ZERO_NONCE: Final = bytes(12)


def mac1_key(receiver_static: bytes) -> bytes:
    """The mac1 key (32 bytes) of all messages to the owner of `receiver_static` (32 bytes)."""
    return hashlib.blake2s(b"aegisray mac1" + receiver_static).digest()


def mac(key: bytes, data: bytes | memoryview) -> bytes:
    """Keyed BLAKE2s with 16 bytes of output: mac1, mac2 and cookies alike."""
    return hashlib.blake2s(data, key=key, digest_size=MAC_SIZE).digest()


def check_mac1(key: bytes, datagram: bytes | memoryview) -> bool:
    """Whether a handshake message's mac1 is right; False for what is too short to hold one."""
    if len(datagram) < MACS_SIZE:
        return False
    found = bytes(datagram[-MACS_SIZE:-MAC_SIZE])
    return hmac.compare_digest(found, mac(key, datagram[:-MACS_SIZE]))


def append_macs(key: bytes, message: bytes, cookie: bytes | None) -> bytes:
    """`message` with mac1, and with mac2 where there is a cookie (else zeros)."""
    message += mac(key, message)
    return message + (NO_MAC if cookie is None else mac(cookie, message))


def open_cookie_reply(datagram: bytes, responder_static: bytes, mac1: bytes, index: int) -> bytes:
    """The cookie (16 bytes) inside a reply to the initiation that had `mac1` and sender `index`.

    Raises RemoteError: `cookie-length`, `cookie-header` or `cookie-decrypt`.
    """
    if len(datagram) != COOKIE_REPLY_SIZE:
        raise RemoteError("cookie-length")
    if datagram[: _HEADER.size] != _HEADER.pack(COOKIE, VERSION, 0, index):
        raise RemoteError("cookie-header")
    nonce = datagram[_HEADER.size : _HEADER.size + _NONCE_SIZE]
    sealed = datagram[_HEADER.size + _NONCE_SIZE :]
    try:
        return _cookie_cipher(responder_static, nonce).decrypt(_ZERO_NONCE, sealed, mac1)
    except InvalidTag:
        raise RemoteError("cookie-decrypt") from None


class CookieJar:
    """Bakes cookies bound to a source address, and knows its own again.

    Keeps no state per source: a cookie is a MAC of the address under a secret renewed every
    `COOKIE_LIFETIME`. The secret before it still counts, so a cookie lives at least that long,
    and at most twice.
    """

    __slots__ = ("_made_at", "_random_bytes", "_secrets", "_static")

    def __init__(
        self, random_bytes: Callable[[int], bytes], responder_static: bytes, now: float
    ) -> None:
        """`responder_static` is the public key (32 bytes) that initiations are made for."""
        self._static = responder_static
        self._random_bytes = random_bytes
        self._made_at = now
        self._secrets = (random_bytes(32),)

    def check(self, datagram: bytes | memoryview, source: Endpoint, now: float) -> bool:
        """Whether mac2 of a handshake message proves that its sender receives at `source`."""
        if len(datagram) < MACS_SIZE:
            return False
        self._rotate(now)
        found = bytes(datagram[-MAC_SIZE:])
        covered = datagram[:-MAC_SIZE]
        name = format_endpoint(source).encode()
        right = False
        for secret in self._secrets:
            right |= hmac.compare_digest(found, mac(mac(secret, name), covered))
        return right

    def reply(self, initiation: bytes | memoryview, source: Endpoint, now: float) -> bytes:
        """The cookie reply (64 bytes) to an initiation whose length and mac1 were found right."""
        self._rotate(now)
        cookie = mac(self._secrets[0], format_endpoint(source).encode())
        (index,) = _SENDER.unpack_from(initiation)
        mac1 = bytes(initiation[-MACS_SIZE:-MAC_SIZE])
        nonce = self._random_bytes(_NONCE_SIZE)
        sealed = _cookie_cipher(self._static, nonce).encrypt(_ZERO_NONCE, cookie, mac1)
        return _HEADER.pack(COOKIE, VERSION, 0, index) + nonce + sealed

    def _rotate(self, now: float) -> None:
        age = now - self._made_at
        if age < COOKIE_LIFETIME:
            return
        kept = self._secrets[:1] if age < 2 * COOKIE_LIFETIME else ()
        self._secrets = (self._random_bytes(32), *kept)
        self._made_at = now


def _cookie_cipher(responder_static: bytes, nonce: bytes) -> ChaCha20Poly1305:
    """One key for one reply, so that its nonce can be zero; public, as WireGuard's is: it keeps
    out whoever does not know the responder, and binds the cookie to the initiation (mac1)."""
    label = b"aegisray cookie"
    return ChaCha20Poly1305(hashlib.blake2s(label + responder_static + nonce).digest())
