"""Every message sealed as a session seals it, byte for byte, under keys that need no handshake.

A datagram is `meshd.node.wire`'s: a 16-byte header, then AES-256-GCM over one frame that holds one
GOSSIP control message, then the 16-byte tag. Only the keys differ: each pair of agents derives its
two from a constant, so the seal shows who sent a message but keeps no secret. The handshakes that
a real session begins with are not part of gossip, and are not counted.
"""

from __future__ import annotations

from hashlib import blake2s

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from meshd.node.control import Gossip, decode_control, encode_control
from meshd.node.errors import RemoteError
from meshd.node.wire import DATA, ENTRY_SIZE, HEADER, HEADER_SIZE, TAG_SIZE


class Sealer:
    """Seals for the others of `count` agents, and opens what they sealed for this one."""

    def __init__(self, number: int, count: int) -> None:
        self._number = number
        self._count = count
        self._counter = 0
        self._ciphers: dict[tuple[int, int], AESGCM] = {}

    def seal(self, receiver: int, message: bytes) -> bytes:
        """A datagram for agent `receiver`."""
        self._counter += 1
        header = HEADER.pack(DATA, 0, 1, 0, self._number, self._counter)
        plain = encode_control(Gossip(message))
        return header + self._cipher(self._number, receiver).encrypt(
            _nonce(self._counter), plain, header
        )

    def prepare(self, other: int) -> bytes:
        """Make both keys shared with `other`; a datagram from it with nothing in it."""
        self._cipher(self._number, other)
        header = HEADER.pack(DATA, 0, 1, 0, other, 0)
        plain = encode_control(Gossip(b""))
        return header + self._cipher(other, self._number).encrypt(_nonce(0), plain, header)

    def open(self, datagram: bytes) -> tuple[int, bytes] | None:
        """Who sealed it, and the message; None for what no agent sealed for this one."""
        if len(datagram) < HEADER_SIZE + ENTRY_SIZE + TAG_SIZE:
            return None
        header = datagram[:HEADER_SIZE]
        _, _, _, _, sender, counter = HEADER.unpack(header)
        if sender >= self._count:
            return None
        cipher = self._cipher(sender, self._number)
        try:
            plain = cipher.decrypt(_nonce(counter), datagram[HEADER_SIZE:], header)
            control = decode_control(plain[ENTRY_SIZE:])
        except (InvalidTag, RemoteError):
            return None
        return (sender, control.payload) if isinstance(control, Gossip) else None

    def _cipher(self, sender: int, receiver: int) -> AESGCM:
        pair = (sender, receiver)
        if pair not in self._ciphers:
            self._ciphers[pair] = AESGCM(blake2s(f"{sender} to {receiver}".encode()).digest())
        return self._ciphers[pair]


def _nonce(counter: int) -> bytes:
    return b"\0\0\0\0" + counter.to_bytes(8, "big")
