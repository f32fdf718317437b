"""Packets from the TUN into frames: one half of the packet path, `inbound` is the other.

Both run once per packet or per frame at full speed, so they work in preallocated buffers and hand
results back directly. They pay per frame, not per packet: one AEAD call and one send for up to
64 KB.

    TUN read -> Outbound.gather (peer of the destination; the frame grows) -> Outbound.flush
             -> Session.seal -> Frame -> UDP send with GSO
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from functools import partial

from meshd.node import segmentation
from meshd.node.doubling import Double
from meshd.node.offload import VNET
from meshd.node.outputs import SendFrame
from meshd.node.path import Path
from meshd.node.peer import Key, Peer
from meshd.node.session import Session
from meshd.node.state import NodeState, OverlayTable
from meshd.node.wire import ENTRY, ENTRY_SIZE, MAX_PACKET, OFFLOAD, PACKET, TAG_SIZE, Cutter, Frame

FRAME_FULL = 48_000
"""Plaintext bytes at which a frame leaves without waiting for more."""
GATHER_MAX = 128
"""Packets that one frame may hold: their latency, and what the loss of one segment costs."""

Reader = Callable[[memoryview], "int | None"]
"""Reads one packet into a view; its size in bytes, 0 or None when nothing waits."""

ADDRESS4 = struct.Struct(">I")
ADDRESS6 = struct.Struct(">QQ")


class Outbound:
    """Gathers packets that go to the same peer into one frame.

    `space` is where the next packet is read to; `add` takes it and may return a frame that is to
    be sent before anything else is called; `flush` closes the frame when nothing waits any more.
    """

    def __init__(self, state: NodeState, table: OverlayTable) -> None:
        self._state = state
        self._table = table
        self._plain = bytearray(4 * MAX_PACKET)
        self._view = memoryview(self._plain)
        self._sealed = memoryview(bytearray(FRAME_FULL + 2 * MAX_PACKET))
        self._cutter = Cutter(self._sealed)
        self._skip = VNET if state.config.vnet_header else 0
        self._type = (OFFLOAD if state.config.vnet_header else PACKET) << 24
        self._first = 0
        self._size = 0
        """The frame that grows lies in [first, size) of the buffer."""
        self._peer: Peer | None = None
        self._key: Key = 0
        """The destination of the frame's first packet."""
        self._limit = 0
        self.bytes_taken = 0
        self.packets_taken = 0
        """IP packets that went into frames, and their bytes."""
        self.drained = False
        """Whether `gather` read until nothing waited."""
        self.waiting: Peer | Key | None = None
        """A peer that a packet waits for, or an address of nobody known: the node begins a
        handshake or a lookup, and clears it."""
        self._pieces: deque[bytes] = deque()
        """What is left of a super-packet that was divided: it is gone before the next is read."""
        self.unknown: Callable[[Key, bytes, memoryview, float], bool] = lambda *packet: False
        """Takes a packet to an address of nobody known, as an entry's head and body; False: it is
        dropped."""

    def gather(self, read: Reader, now: float) -> Frame | None:
        """Read packets until a frame is to be sent, at most GATHER_MAX; None: nothing is to be
        sent."""
        plain, view, skip, kind = self._plain, self._view, self._skip, self._type
        unpack, pack_into, source = ADDRESS4.unpack_from, ENTRY.pack_into, read
        if self._pieces:
            read = partial(self._next, source)
        least, frame = skip + 20, None
        self.drained = False
        size, limit, usual = self._size, self._limit, self._key
        taken = octets = 0
        for _ in range(GATHER_MAX):
            start = size + ENTRY_SIZE
            length = read(view[start : start + MAX_PACKET])
            if not length:
                self.drained = not self._pieces
                break
            end, ip = start + length, start + skip
            # Most packets go where the one before went: no look-up, no call.
            if end <= limit and length >= least and plain[ip] >> 4 == 4:
                (key,) = unpack(plain, ip + 16)
                if key == usual:
                    pack_into(plain, size, kind | length)
                    size = end
                    taken += 1
                    octets += length
                    if end - self._first > FRAME_FULL:
                        break
                    continue
            self._size = size
            frame = self.add(length, now)
            size, limit, usual = self._size, self._limit, self._key
            if frame is not None:
                break
            if self._pieces and read is source:
                read = partial(self._next, source)
        self._size = size
        self.packets_taken += taken
        self.bytes_taken += octets - taken * skip
        return frame if frame is not None else self.flush(now)

    @property
    def dividing(self) -> bool:
        """Whether there is more of a super-packet to `gather`, though nothing else may wait."""
        return bool(self._pieces)

    def _next(self, read: Reader, view: memoryview) -> int | None:
        """A piece of a super-packet that was divided, or what the TUN brings when none are left."""
        if not self._pieces:
            return read(view)
        piece = self._pieces.popleft()
        view[: len(piece)] = piece
        return len(piece)

    @property
    def space(self) -> memoryview:
        """Where to read the next packet to, header first."""
        start = self._size + ENTRY_SIZE
        return self._view[start : start + MAX_PACKET]

    def add(self, length: int, now: float) -> Frame | None:
        """Take the packet of `length` bytes in `space`, its virtio header included."""
        plain, start = self._plain, self._size + ENTRY_SIZE
        ip = start + self._skip
        key: Key
        version = plain[ip] >> 4
        if version == 4 and length >= self._skip + 20:
            (key,) = ADDRESS4.unpack_from(plain, ip + 16)
        elif version == 6 and length >= self._skip + 40:
            key = ADDRESS6.unpack_from(plain, ip + 24)
        else:
            self._state.drops["malformed"] += 1
            return None
        peer = self._table.find(key)
        if peer is None:
            head, packet = ENTRY.pack(self._type | length), self._view[start : start + length]
            if self.unknown(key, head, packet, now):
                self.waiting = self.waiting or key
            else:
                self._no_route(key)
            return None
        frame = None
        if peer is not self._peer or start + length > self._limit:
            frame = self._begin(peer, key, start, length, now)
            if self._peer is None:
                return frame
            start = self._first + ENTRY_SIZE
        ENTRY.pack_into(plain, start - ENTRY_SIZE, self._type | length)
        self._size = start + length
        self.packets_taken += 1
        self.bytes_taken += length - self._skip
        if frame is None and self._size - self._first > FRAME_FULL:
            return self.flush(now)
        return frame

    def _no_route(self, key: Key) -> None:
        multicast = key >> 28 == 0xE if isinstance(key, int) else key[0] >> 56 == 0xFF
        self._state.drops["multicast" if multicast else "no-route"] += 1

    def _begin(self, peer: Peer, key: Key, start: int, length: int, now: float) -> Frame | None:
        """Send what is there, and let the packet at `start` begin a frame to `peer`, or wait."""
        frame = self.flush(now)
        if not peer.ready(now) or peer.packets:
            entry = ENTRY.pack(self._type | length) + self._view[start : start + length]
            self._state.drops["queue"] += peer.hold_packet(entry)
            self.waiting = peer
            return frame
        path = peer.path
        assert path is not None
        limit = path.frame_limit
        if ENTRY_SIZE + length > limit:
            if ENTRY_SIZE + length > path.batch_limit:
                self._state.drops["oversize"] += 1
                return frame
            if self._divide(start, length, limit):
                return frame
            limit = ENTRY_SIZE + length
        room = len(self._plain) - MAX_PACKET
        if start + length > room:
            # The next packet is read behind this one, and must find room there.
            self._view[ENTRY_SIZE : ENTRY_SIZE + length] = bytes(self._view[start : start + length])
            start = ENTRY_SIZE
        self._first, self._peer, self._key = start - ENTRY_SIZE, peer, key
        self._limit = min(self._first + limit, room)
        return frame

    def _divide(self, start: int, length: int, limit: int) -> bool:
        """Cut a super-packet that is longer than the path's frames; False: it is none."""
        if not self._skip:
            return False
        body = start + VNET
        header, packet = self._view[start:body], self._view[body : start + length]
        room = limit - ENTRY_SIZE - VNET - segmentation.HEADERS_MAX
        self._pieces.extend(segmentation.divide(header, packet, room))
        return bool(self._pieces)

    def flush(self, now: float) -> Frame | None:
        """Seal what has gathered."""
        first, size, peer = self._first, self._size, self._peer
        self._first = self._size = self._limit = 0
        self._peer = None
        if peer is None:
            return None
        session, path = self._sealing(peer, now)
        if session is None or path is None:
            return None
        if peer.double is not None and peer.double.takes(size - first, now):
            frame = self._doubled(peer.double, session, path, self._view[first:size])
        elif path.parity is None:
            plain = self._view[first:size]
            frame = session.seal(
                plain, self._sealed, path.chunk, path.prefix, path.endpoint, self._cutter
            )
        else:
            plain = self._view[first:]
            frame = session.seal_protected(plain, size - first, self._sealed, path, path.parity)
        peer.tx_bytes += frame.size
        peer.last_data_at = now
        return frame

    def _doubled(self, double: Double, session: Session, path: Path, plain: memoryview) -> Frame:
        """Seal a frame that both its path and another carry: the copy is an output."""
        chunk = min(path.chunk, double.path.chunk)
        frame = session.seal(plain, self._sealed, chunk, path.prefix, path.endpoint)
        self._state.outputs.append(SendFrame(double.copy(frame, path.prefix)))
        return frame

    def held(self, peer: Peer, now: float) -> list[Frame]:
        """Frames for the packets that waited for `peer`, each in a buffer of its own."""
        frames: list[Frame] = []
        gathered, path = bytearray(), peer.path
        limit = path.frame_limit if path is not None else 0
        for entry in [*peer.take_packets(), b""]:
            full = len(gathered) + len(entry) > min(limit, FRAME_FULL) or not entry
            if gathered and full:
                session, path = self._sealing(peer, now)
                if session is not None and path is not None:
                    out = memoryview(bytearray(len(gathered) + TAG_SIZE))
                    plain = memoryview(gathered)
                    frame = session.seal(plain, out, path.chunk, path.prefix, path.endpoint)
                    peer.tx_bytes += frame.size
                    peer.last_data_at = now
                    frames.append(frame)
                gathered = bytearray()
            if len(entry) <= limit:
                gathered += entry
            else:
                self._state.drops["oversize"] += 1
        return frames

    def _sealing(self, peer: Peer, now: float) -> tuple[Session | None, Path | None]:
        """What a frame to `peer` is sealed with, and its way; None, counted, when there is none."""
        session, path = peer.current, peer.path
        if session is None or path is None or session.expired(now):
            self._state.drops["no-session"] += 1
            return None, None
        return session, path
