"""Noise_IKpsk2_25519_{AESGCM|ChaChaPoly}_BLAKE2s (The Noise Protocol Framework, revision 34).

IK, with the psk at the end of the second message::

    <- s
    ...
    -> e, es, s, ss
    <- e, ee, se, psk

The initiator knows the responder's static key beforehand and sends its own encrypted. One round
trip, then `HandshakeState.split` gives one key for each direction.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from meshd.node.errors import LocalError, RemoteError

KEY_SIZE: Final = 32
TAG_SIZE: Final = 16
HASH_SIZE: Final = 32

Aead = AESGCM | ChaCha20Poly1305


@dataclass(frozen=True, slots=True)
class CipherSuite:
    """An AEAD as Noise names and uses it."""

    name: str
    """As `mesh.toml` spells it."""
    noise_name: str
    """The whole Noise protocol name."""
    aead: Callable[[bytes], Aead]
    """Makes a cipher of a 32-byte key."""
    little_endian: bool
    """The counter's byte order in the nonce: ChaChaPoly little, AESGCM big (Noise, 12.3, 12.4)."""

    def nonce(self, counter: int) -> bytes:
        """The 12-byte nonce of a counter: four zero bytes, then the counter as u64."""
        return b"\0\0\0\0" + counter.to_bytes(8, "little" if self.little_endian else "big")


AES256GCM: Final = CipherSuite(
    "aes256gcm", "Noise_IKpsk2_25519_AESGCM_BLAKE2s", AESGCM, little_endian=False
)
CHACHA20POLY1305: Final = CipherSuite(
    "chacha20poly1305",
    "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s",
    ChaCha20Poly1305,
    little_endian=True,
)
SUITES: Final = {suite.name: suite for suite in (AES256GCM, CHACHA20POLY1305)}


def suite_by_name(name: str) -> CipherSuite:
    """The suite that `mesh.toml` names. Raises LocalError for any other name."""
    try:
        return SUITES[name]
    except KeyError:
        known = " or ".join(SUITES)
        raise LocalError(f"unknown cipher {name!r}: mesh.toml must say {known}") from None


_PATTERN: Final = (("e", "es", "s", "ss"), ("e", "ee", "se", "psk"))


class HandshakeState:
    """One side of one handshake: messages alternate, the initiator writes the first.

    A message that is refused leaves a half-mixed state behind: read into a `copy`.
    """

    __slots__ = (
        "_cipher",
        "_counter",
        "_ephemeral",
        "_hash",
        "_initiator",
        "_key",
        "_message",
        "_psk",
        "_remote_ephemeral",
        "_static",
        "_suite",
        "remote_static",
    )

    def __init__(
        self,
        suite: CipherSuite,
        *,
        initiator: bool,
        prologue: bytes,
        static: X25519PrivateKey,
        remote_static: bytes | None = None,
    ) -> None:
        """`remote_static` (32 bytes) is the initiator's to know; the responder learns it.

        Raises ValueError when the initiator has none, or one of another size.
        """
        if initiator and (remote_static is None or len(remote_static) != KEY_SIZE):
            raise ValueError("the initiator needs the responder's 32-byte static key")
        self._suite = suite
        self._initiator = initiator
        self._static = static
        self._ephemeral: X25519PrivateKey | None = None
        self._remote_ephemeral: bytes | None = None
        self._psk: bytes | None = None
        self._cipher: Aead | None = None
        self._counter = 0
        self._message = 0
        self.remote_static = remote_static
        """The peer's static key; the responder's to read once the first message is read."""
        name = suite.noise_name.encode()
        self._hash = name.ljust(HASH_SIZE, b"\0") if len(name) <= HASH_SIZE else _hash(name)
        self._key = self._hash
        self._mix_hash(prologue)
        responder_static = remote_static if initiator else _public(static)
        self._mix_hash(responder_static or b"")

    def copy(self) -> HandshakeState:
        """An independent state at the same point of the same handshake."""
        other = object.__new__(HandshakeState)
        for slot in self.__slots__:
            setattr(other, slot, getattr(self, slot))
        return other

    @property
    def handshake_hash(self) -> bytes:
        """32 bytes that name this handshake's whole transcript (Noise, 11.2)."""
        return self._hash

    def set_psk(self, psk: bytes) -> None:
        """The 32-byte pre-shared key, needed before the second message. Raises ValueError."""
        if len(psk) != KEY_SIZE:
            raise ValueError("a pre-shared key has 32 bytes")
        self._psk = psk

    def write_message(self, payload: bytes, ephemeral: X25519PrivateKey | None = None) -> bytes:
        """The next message; `ephemeral` must be fresh, for this one message.

        Raises RemoteError `handshake-key` when the peer's key has a low order.
        """
        out = bytearray()
        for token in self._tokens(writing=True):
            if token == "e":
                if ephemeral is None:
                    raise ValueError("this message needs an ephemeral key")
                self._ephemeral = ephemeral
                public = _public(ephemeral)
                out += public
                self._mix_ephemeral(public)
            elif token == "s":
                out += self._encrypt(_public(self._static))
            else:
                self._mix_token(token)
        out += self._encrypt(payload)
        self._message += 1
        return bytes(out)

    def read_message(self, message: bytes) -> bytes:
        """The payload of the peer's next message.

        Raises RemoteError: `handshake-length`, `handshake-key` or `handshake-decrypt`.
        """
        rest = memoryview(message)
        for token in self._tokens(writing=False):
            if token == "e":
                public, rest = _take(rest, KEY_SIZE)
                self._remote_ephemeral = public
                self._mix_ephemeral(public)
            elif token == "s":
                sealed, rest = _take(rest, KEY_SIZE + TAG_SIZE)
                self.remote_static = self._decrypt(sealed)
            else:
                self._mix_token(token)
        payload = self._decrypt(bytes(rest))
        self._message += 1
        return payload

    def split(self) -> tuple[bytes, bytes]:
        """The transport keys (32 bytes each): initiator to responder, then back."""
        if self._message != len(_PATTERN):
            raise ValueError("the handshake is not finished")
        first, second, _ = _hkdf(self._key, b"")
        return first, second

    def _tokens(self, *, writing: bool) -> tuple[str, ...]:
        ours = (self._message % 2 == 0) == self._initiator
        if self._message >= len(_PATTERN) or ours != writing:
            raise ValueError("not this side's turn in the handshake")
        return _PATTERN[self._message]

    def _mix_token(self, token: str) -> None:
        """Mix in the psk, or the DH of the two keys that the token names, initiator's first."""
        if token == "psk":
            if self._psk is None:
                raise ValueError("this message needs the pre-shared key")
            self._key, mixed, key = _hkdf(self._key, self._psk)
            self._mix_hash(mixed)
            self._set_cipher(key)
            return
        first, second = token[0], token[1]
        ours, theirs = (first, second) if self._initiator else (second, first)
        private = self._ephemeral if ours == "e" else self._static
        public = self._remote_ephemeral if theirs == "e" else self.remote_static
        assert private is not None, "a pattern sends a key before it is used"
        assert public is not None, "a pattern sends a key before it is used"
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:  # the library refuses the all-zero result of a low-order point
            raise RemoteError("handshake-key") from None
        self._mix_key(shared)

    def _mix_hash(self, data: bytes) -> None:
        self._hash = _hash(self._hash + data)

    def _mix_key(self, material: bytes) -> None:
        self._key, key, _ = _hkdf(self._key, material)
        self._set_cipher(key)

    def _mix_ephemeral(self, public: bytes) -> None:
        """A psk handshake mixes ephemeral keys into the key as well (Noise, 9.2)."""
        self._mix_hash(public)
        self._mix_key(public)

    def _set_cipher(self, key: bytes) -> None:
        self._cipher = self._suite.aead(key)
        self._counter = 0

    def _encrypt(self, plain: bytes) -> bytes:
        assert self._cipher is not None, "the pattern's first token sets a key"
        sealed = self._cipher.encrypt(self._suite.nonce(self._counter), plain, self._hash)
        self._counter += 1
        self._mix_hash(sealed)
        return sealed

    def _decrypt(self, sealed: bytes) -> bytes:
        assert self._cipher is not None, "the pattern's first token sets a key"
        try:
            plain = self._cipher.decrypt(self._suite.nonce(self._counter), sealed, self._hash)
        except InvalidTag:
            raise RemoteError("handshake-decrypt") from None
        self._counter += 1
        self._mix_hash(sealed)
        return plain


def _take(data: memoryview, size: int) -> tuple[bytes, memoryview]:
    if len(data) < size:
        raise RemoteError("handshake-length")
    return bytes(data[:size]), data[size:]


def _public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def _hash(data: bytes) -> bytes:
    return hashlib.blake2s(data).digest()


def _hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes, bytes]:
    """Noise's HKDF with three outputs (4.3); the first two are those of its two-output form."""
    secret = hmac.digest(chaining_key, material, "blake2s")
    first = hmac.digest(secret, b"\x01", "blake2s")
    second = hmac.digest(secret, first + b"\x02", "blake2s")
    third = hmac.digest(secret, second + b"\x03", "blake2s")
    return first, second, third
