"""Two nodes' shared transport keys: sealing, opening, and when they end.

WireGuard's rules (whitepaper section 6.1): a session is renewed after two minutes and refused
after three, and never in use before its first authenticated frame has arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from gossip import NodeId
from meshd.node.errors import RemoteError
from meshd.node.handshake import TransportKeys
from meshd.node.noise import CipherSuite
from meshd.node.parity import encode
from meshd.node.reassembly import ByteBudget, Reassembler, Shape
from meshd.node.reception import Reception
from meshd.node.replay import ReplayWindow
from meshd.node.solving import SYMBOLS
from meshd.node.wire import (
    DATA,
    ENTRY,
    ENTRY_SIZE,
    HEADER,
    HEADER_SIZE,
    PADDING,
    TAG_SIZE,
    Buffer,
    Cutter,
    Endpoint,
    Frame,
    cut,
)

if TYPE_CHECKING:
    from meshd.node.path import Path

REKEY_AFTER = 120.0
"""Seconds until its initiator renews a session."""
REJECT_AFTER = 180.0
"""Seconds until a session neither sends nor receives."""
REKEY_AFTER_FRAMES = 1 << 23
"""Frames until a session is renewed: AES-GCM's limit for messages of 64 KiB (RFC 9001, appendix
B.1.1: so many keep an attacker's advantage below 2^-57)."""
REJECT_AFTER_FRAMES = (1 << 64) - (1 << 13) - 1


class Session:
    """Seals and opens frames under one handshake's keys. Not shared between threads."""

    __slots__ = (
        "_chacha",
        "_counter",
        "_open",
        "_seal",
        "confirmed",
        "created_at",
        "endpoint",
        "is_initiator",
        "last_pair",
        "local_index",
        "peer",
        "proven",
        "reassembler",
        "received_bytes",
        "reception",
        "remote_index",
        "replay",
        "segments_sent",
        "suite",
        "told_at",
        "usual",
        "usual_form",
        "usual_least",
    )

    def __init__(
        self,
        suite: CipherSuite,
        keys: TransportKeys,
        peer: NodeId | None,
        budget: ByteBudget,
        now: float,
    ) -> None:
        self.suite = suite
        self.peer = peer
        """Who is at the other end; None during an enrolment."""
        self.local_index = keys.local_index
        self.remote_index = keys.remote_index
        self.is_initiator = keys.is_initiator
        self.created_at = now
        self.confirmed = keys.is_initiator
        """Whether the peer has shown that it holds the keys: true for us by its response."""
        self.proven = True
        """Whether the peer's certificate is known; False while it follows inside the session."""
        self.replay = ReplayWindow()
        self.reassembler = Reassembler(budget)
        self.reception = Reception()
        self.endpoint: Endpoint | None = None
        """Where the last authenticated frame came from directly."""
        self.last_pair: object = None
        """The last inner (source, destination) that passed."""
        self.usual: tuple[int, ...] = ()
        """What the last packet that passed looked like, as `usual_form` reads it; a packet of at
        least `usual_least` bytes that looks the same passes too."""
        self.usual_form: Callable[[memoryview, int], tuple[int, ...]] = _nothing
        self.usual_least = 1 << 24
        self.told_at = -1.0
        """When the node last looked at an arrival in this session."""
        self.received_bytes = 0
        """Sealed bytes received, for the peer's counter."""
        self.segments_sent = 0
        """Of all frames sealed so far, parity included."""
        self._counter = 0
        self._seal = suite.aead(keys.send)
        self._open = suite.aead(keys.receive)
        self._chacha = suite.little_endian

    def forget_usual(self) -> None:
        """What the peer may send has changed: check its next packet in full."""
        self.last_pair = None
        self.usual_least = 1 << 24

    @property
    def frames_sent(self) -> int:
        """Frames sealed so far."""
        return self._counter

    def age(self, now: float) -> float:
        """Seconds since the handshake."""
        return now - self.created_at

    def wants_rekey(self, now: float) -> bool:
        """Whether it is time to renew; the responder waits longer, so that one side begins."""
        limit = REKEY_AFTER if self.is_initiator else REKEY_AFTER + 15
        return now - self.created_at > limit or self._counter > REKEY_AFTER_FRAMES

    def expired(self, now: float) -> bool:
        """Whether the keys must not be used any more."""
        return now - self.created_at > REJECT_AFTER or self._counter >= REJECT_AFTER_FRAMES

    def seal(
        self,
        plain: memoryview | bytes,
        out: memoryview,
        chunk: int,
        prefix: bytes,
        endpoint: Endpoint,
        cutter: Cutter | None = None,
    ) -> Frame:
        """Seal one frame into `out` (16 bytes longer than `plain`) and cut it into segments of
        `chunk` bytes each, every one with `prefix` before its header; `cutter` is that of `out`,
        if there is one."""
        total = len(plain) + TAG_SIZE
        count = -(-total // chunk)
        header = self._encrypt(plain, count, 0, out)
        if cutter is not None:
            parts = cutter.cut(total, header, chunk, prefix)
        else:
            parts = cut(out[:total], header, chunk, prefix)
        overhead = len(prefix) + HEADER_SIZE
        return Frame(parts, chunk + overhead, count, endpoint, total + count * overhead)

    def seal_protected(
        self, plain: memoryview, size: int, out: memoryview, path: Path, table: Sequence[int]
    ) -> Frame:
        """As `seal`, of the `size` bytes that `plain` begins with, for a path that loses some.

        `table` says how many parities there are for so many slices. All slices are equal: behind
        the bytes comes padding, for which `plain` must have room (52 bytes a slice and 4); what
        is there is there again afterwards.
        """
        least = size + ENTRY_SIZE + TAG_SIZE
        widest = path.chunk // SYMBOLS * SYMBOLS
        count = -(-least // widest)
        parities = table[count] if count < len(table) else 0
        if not parities:
            return self.seal(plain[:size], out, path.chunk, path.prefix, path.endpoint)
        chunk = -(-least // (count * SYMBOLS)) * SYMBOLS
        total = count * chunk
        padding = ENTRY.pack(PADDING << 24 | total - least) + bytes(total - least)
        end = total - TAG_SIZE
        behind = bytes(plain[size:end])  # the packet that did not fit is there already
        plain[size:end] = padding
        header = self._encrypt(plain[:end], count, parities, out)
        plain[size:end] = behind
        sealed = out[:total]
        parts = cut(sealed, header, chunk, path.prefix, encode(sealed, count, parities))
        segments, segment = count + parities, len(path.prefix) + HEADER_SIZE + chunk
        return Frame(parts, segment, segments, path.endpoint, segments * segment)

    def _encrypt(
        self, plain: memoryview | bytes, count: int, parities: int, out: memoryview
    ) -> bytes:
        """Seal the next frame, of so many slices and parities, into `out`; segment 0's header."""
        counter = self._counter
        self._counter = counter + 1
        self.segments_sent += count + parities
        nonce = b"\0\0\0\0" + counter.to_bytes(8, "little" if self._chacha else "big")
        header = HEADER.pack(DATA, 0, count, parities, self.remote_index, counter)
        self._seal.encrypt_into(nonce, plain, header, out[: len(plain) + TAG_SIZE])
        return header

    def open(self, shape: Shape, sealed: Buffer, out: memoryview) -> int:
        """Open a joined frame into `out` and take its counter; the plaintext's size in bytes.

        Raises RemoteError: `replay`, `decrypt` or `malformed`; then nothing has changed.
        """
        counter, count, parities = shape
        if not self.replay.check(counter):
            raise RemoteError("replay")
        size = len(sealed) - TAG_SIZE
        if size < 0 or size > len(out):
            raise RemoteError("malformed")
        nonce = b"\0\0\0\0" + counter.to_bytes(8, "little" if self._chacha else "big")
        header = HEADER.pack(DATA, 0, count, parities, self.local_index, counter)
        try:
            self._open.decrypt_into(nonce, sealed, header, out[:size])
        except InvalidTag:
            raise RemoteError("decrypt") from None
        self.replay.commit(counter)
        return size


def _nothing(plain: memoryview, offset: int) -> tuple[int, ...]:
    """No packet has passed yet."""
    return ()
