"""The packet path: packets from the TUN into frames, frames from the network into packets.

Everything here runs once per packet or per frame at full speed, so it works in preallocated
buffers and hands results back directly. It pays per frame, not per packet: one AEAD call and one
send for up to 64 KB.

    TUN read -> Outbound.add (peer of the destination; the frame grows) -> Outbound.flush
             -> Session.seal -> Frame -> UDP send with GSO
    UDP receive with GRO -> Inbound.receive -> join slices -> Session.open -> entries
             -> source and destination checked -> packets -> TUN write
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from meshd.node.errors import RemoteError
from meshd.node.offload import VNET, TunForm
from meshd.node.paths import Path
from meshd.node.peer import Peer
from meshd.node.session import Session
from meshd.node.state import Key, NodeState, OverlayTable
from meshd.node.wire import (
    CONTROL,
    DATA,
    ENTRY,
    ENTRY_SIZE,
    HEADER,
    HEADER_SIZE,
    MAX_SEGMENTS,
    OFFLOAD,
    PACKET,
    PADDING,
    TAG_SIZE,
    Buffer,
    Endpoint,
    Frame,
    slices,
)

FRAME_FULL = 48_000
"""Plaintext bytes at which a frame leaves without waiting for more."""
GATHER_MAX = 128
"""Packets that one frame may hold: their latency, and what the loss of one segment costs."""
MAX_READ = 65_600
"""Bytes that one read of the TUN may bring: 64 KB and its header."""

ADDRESS4 = struct.Struct(">I")
ADDRESS6 = struct.Struct(">QQ")
PAIR4 = struct.Struct(">II")
PAIR6 = struct.Struct(">QQQQ")
FORM4 = struct.Struct(">QHB11xII")
FORM6 = struct.Struct(">QHB7xQQQQ")
"""Virtio header, version, source and destination: what makes two packets pass alike."""


class Outbound:
    """Gathers packets that go to the same peer into one frame.

    `space` is where the next packet is read to; `add` takes it and may return a frame that is to
    be sent before anything else is called; `flush` closes the frame when nothing waits any more.
    """

    def __init__(self, state: NodeState, table: OverlayTable) -> None:
        self._state = state
        self._table = table
        self._plain = bytearray(4 * MAX_READ)
        self._view = memoryview(self._plain)
        self._sealed = memoryview(bytearray(FRAME_FULL + 2 * MAX_READ))
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
        self.drained = False
        """Whether `gather` read until nothing waited."""
        self.waiting: Peer | None = None
        """A peer that a packet waits for: the node begins a handshake and clears it."""

    def gather(self, read: Callable[[memoryview], int], now: float) -> Frame | None:
        """Read packets (`read` fills a view, and returns 0 when nothing waits) until a frame is
        to be sent, at most GATHER_MAX; None: nothing is to be sent."""
        plain, view, skip, kind = self._plain, self._view, self._skip, self._type
        least = skip + 20
        self.drained = False
        for _ in range(GATHER_MAX):
            start = self._size + ENTRY_SIZE
            length = read(view[start : start + MAX_READ])
            if not length:
                self.drained = True
                break
            self.packets_taken += 1
            self.bytes_taken += length
            end = start + length
            # Most packets go where the one before went: no look-up, no call.
            if end <= self._limit and length >= least and plain[start + skip] >> 4 == 4:
                (key,) = ADDRESS4.unpack_from(plain, start + skip + 16)
                if key == self._key:
                    ENTRY.pack_into(plain, start - ENTRY_SIZE, kind | length)
                    self._size = end
                    if end - self._first > FRAME_FULL:
                        break
                    continue
            frame = self.add(length, now)
            if frame is not None:
                return frame
        return self.flush(now)

    @property
    def space(self) -> memoryview:
        """Where to read the next packet to, header first."""
        start = self._size + ENTRY_SIZE
        return self._view[start : start + MAX_READ]

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
        if ENTRY_SIZE + length > path.frame_limit:
            self._state.drops["oversize"] += 1
            return frame
        room = len(self._plain) - MAX_READ
        if start + length > room:
            # The next packet is read behind this one, and must find room there.
            self._view[ENTRY_SIZE : ENTRY_SIZE + length] = bytes(self._view[start : start + length])
            start = ENTRY_SIZE
        self._first, self._peer, self._key = start - ENTRY_SIZE, peer, key
        self._limit = min(self._first + path.frame_limit, room)
        return frame

    def flush(self, now: float) -> Frame | None:
        """Seal what has gathered."""
        first, size, peer = self._first, self._size, self._peer
        self._first = self._size = self._limit = 0
        self._peer = None
        if peer is None:
            return None
        return self._seal(peer, self._view[first:size], now)

    def held(self, peer: Peer, now: float) -> list[Frame]:
        """Frames for the packets that waited for `peer`, each in a buffer of its own."""
        frames: list[Frame] = []
        gathered, path = bytearray(), peer.path
        limit = path.frame_limit if path is not None else 0
        for entry in [*peer.take_packets(), b""]:
            full = len(gathered) + len(entry) > min(limit, FRAME_FULL) or not entry
            if gathered and full:
                out = memoryview(bytearray(len(gathered) + TAG_SIZE))
                frame = self._seal(peer, memoryview(gathered), now, out)
                frames += [frame] if frame is not None else []
                gathered = bytearray()
            if len(entry) <= limit:
                gathered += entry
            else:
                self._state.drops["oversize"] += 1
        return frames

    def _seal(
        self, peer: Peer, plain: memoryview, now: float, out: memoryview | None = None
    ) -> Frame | None:
        session, path = peer.current, peer.path
        if session is None or path is None or session.expired(now):
            self._state.drops["no-session"] += 1
            return None
        sealed = self._sealed if out is None else out
        frame = session.seal(plain, sealed, path.chunk, path.prefix, path.endpoint)
        peer.tx_bytes += frame.size
        peer.last_data_at = now
        return frame


class Arrival:
    """Something the node must look at: an authenticated frame by a way or with a content that
    matters beyond its packets."""

    __slots__ = ("control", "session", "source", "via")

    def __init__(
        self, session: Session, source: Endpoint, via: Path | None, control: bytes | None
    ) -> None:
        self.session = session
        self.source = source
        self.via = via
        """The relayed path it came by; None when it came directly from `source`."""
        self.control = control


ARRIVAL_INTERVAL = 0.25
"""Seconds between two arrivals that only say: still alive."""
MAX_CONTROLS = 3
"""Control messages of one frame that are looked at (we put one into each): their answers go to
where the frame came from, proven or not, and must not be many times its size."""
_INDEXES = bytes(range(MAX_SEGMENTS))


class Receipt:
    """One call of `Inbound.receive`: where the datagrams came from, and the packets in them."""

    __slots__ = ("now", "packets", "source", "via")

    def __init__(self, source: Endpoint, via: Path | None, now: float) -> None:
        self.source = source
        self.via = via
        self.now = now
        self.packets: list[Buffer] = []


class Inbound:
    """Joins segments, opens frames, and lets through what the sender may send to us."""

    def __init__(self, state: NodeState, addresses: frozenset[Key]) -> None:
        self._state = state
        config = state.config
        self._tun = TunForm(
            config.vnet_header, config.segmentation, config.udp_segmentation, state.drops
        )
        self._plain = bytearray(2 * MAX_READ)
        self._view = memoryview(self._plain)
        self._used = 0
        mesh = state.identity.mesh
        self._shift = 32 - mesh.cidr.prefixlen
        self._overlay4 = int(mesh.cidr.network_address) >> self._shift
        self._overlay6 = int(mesh.prefix6.network_address) >> 64
        self.addresses = addresses
        """Ours: the only destinations let through."""
        self.arrivals: list[Arrival] = []

    def begin(self) -> None:
        """A new receive: the packets of the last one are not needed any more."""
        self._used = 0

    def receive(
        self,
        buffer: memoryview,
        segment: int,
        source: Endpoint,
        now: float,
        via: Path | None = None,
        base: int = 0,
    ) -> list[Buffer]:
        """Take datagrams of `segment` bytes each, the last maybe shorter, all from `source`.

        `base`: bytes before each header (a relay's prefix). Returns packets for the TUN, valid
        until `begin`.
        """
        receipt = Receipt(source, via, now)
        drops, sessions, size = self._state.drops, self._state.sessions, len(buffer)
        offset = 0
        if segment <= base + HEADER_SIZE:
            drops["malformed"] += -(-size // segment)
            return receipt.packets
        while offset < size:
            start = offset + base
            if size - start <= HEADER_SIZE:
                drops["malformed"] += 1
                break
            kind, index, count, flags, receiver, counter = HEADER.unpack_from(buffer, start)
            session = sessions.get(receiver) if kind == DATA else None
            if session is None or not 0 <= index < count <= 128:
                drops["no-session" if kind == DATA and session is None else "malformed"] += 1
                offset += segment
                continue
            last = offset + (count - 1) * segment
            whole = index == 0 and last < size
            if whole and count > 1:
                tail = HEADER.unpack_from(buffer, last + base) if size - last > base + 16 else None
                whole = tail == (kind, count - 1, count, flags, receiver, counter)
                # Nor may those between have changed places, or be another frame's.
                order = buffer[start + 1 : last + base + 2 : segment].tobytes()
                low = buffer[start + 15 : last + base + 16 : segment].tobytes()
                whole = whole and order == _INDEXES[:count] and low.count(low[0]) == count
            head = (count, flags, counter)
            if whole:
                # The fast path: all segments of a frame lie here in order.
                end = min(last + segment, size)
                skip = base + HEADER_SIZE
                sealed: Buffer = buffer[last + skip : end]
                if count > 1:
                    pieces = slices(count - 1, segment - skip, skip).unpack_from(buffer, offset)
                    sealed = b"".join((*pieces, sealed))
                self._used += self._open(session, head, sealed, self._view[self._used :], receipt)
                offset = end
                continue
            end = min(offset + segment, size)
            if not session.replay.check(counter):
                drops["replay"] += 1
            elif via is not None or self._known(session, source):
                piece = bytes(buffer[start + HEADER_SIZE : end])
                joined = session.reassembler.add(counter, index, count, piece, now)
                if joined is not None and len(joined) > MAX_READ:
                    drops["oversize"] += 1
                elif joined is not None:
                    self._open(session, head, joined, memoryview(bytearray(len(joined))), receipt)
            else:
                drops["fragment-source"] += 1
            offset = end
        return receipt.packets

    def _known(self, session: Session, source: Endpoint) -> bool:
        """Whether authenticated frames of the peer have come from `source` before: only then
        are unauthenticated pieces from there worth memory."""
        if source == session.endpoint:
            return True
        peer = self._state.peers.get(session.peer) if session.peer is not None else None
        return peer is not None and peer.paths.direct(source) is not None

    def _open(
        self,
        session: Session,
        head: tuple[int, int, int],
        sealed: Buffer,
        out: memoryview,
        receipt: Receipt,
    ) -> int:
        """Open one joined frame; the bytes of `out` that it takes."""
        count, flags, counter = head
        source, via, now = receipt.source, receipt.via, receipt.now
        try:
            if session.expired(now):
                raise RemoteError("expired")
            size = session.open(counter, count, flags, sealed, out)
        except RemoteError as error:
            self._state.drops[error.reason] += 1
            return 0
        arrivals = len(self.arrivals)
        self._entries(session, out[:size], receipt)
        moved = via is None and source != session.endpoint
        quiet = arrivals == len(self.arrivals)
        if quiet and (moved or not session.confirmed or now - session.told_at > ARRIVAL_INTERVAL):
            self.arrivals.append(Arrival(session, source, via, None))
        session.told_at = now if arrivals != len(self.arrivals) else session.told_at
        session.received_bytes += len(sealed)
        return size

    def _entries(self, session: Session, plain: memoryview, receipt: Receipt) -> None:
        packets, tun = receipt.packets, self._tun
        start, end, controls = 0, len(plain), 0
        pair: tuple[int, ...]
        while start + ENTRY_SIZE <= end:
            (word,) = ENTRY.unpack_from(plain, start)
            kind, body = word >> 24, start + ENTRY_SIZE
            start = body + (word & 0xFFFFFF)
            if start > end:
                break
            if kind > OFFLOAD:
                if kind == CONTROL and controls < MAX_CONTROLS:
                    controls += 1
                    control = bytes(plain[body:start])
                    self.arrivals.append(Arrival(session, receipt.source, receipt.via, control))
                elif kind != PADDING:
                    self._state.drops["control" if kind == CONTROL else "malformed"] += 1
                continue
            # A flow's packets have one header and one pair of addresses, checked once.
            alike = kind == OFFLOAD and start - body >= session.usual_least
            if alike and session.usual_form(plain, body) == session.usual:
                packets.append(plain[body:start])
                continue
            ip = body + VNET if kind == OFFLOAD else body
            version = plain[ip] >> 4 if ip < start else 0
            if version == 4 and start - ip >= 20:
                pair = PAIR4.unpack_from(plain, ip + 12)
            elif version == 6 and start - ip >= 40:
                pair = PAIR6.unpack_from(plain, ip + 8)
            else:
                self._state.drops["malformed"] += 1
                continue
            if pair != session.last_pair:
                reason = self._refusal(session, pair)
                if reason is not None:
                    self._state.drops[reason] += 1
                    continue
                session.last_pair = pair
            if kind == OFFLOAD and tun.takes(plain, body, start - ip):
                packets.append(plain[body:start])
                if plain[body + 1] == 0:
                    form = FORM4 if version == 4 else FORM6
                    session.usual_form = form.unpack_from
                    session.usual = form.unpack_from(plain, body)
                    session.usual_least = start - body
            else:
                packets += tun.convert(plain, kind, body, start)
        if start != end:
            self._state.drops["malformed"] += 1

    def _refusal(self, session: Session, pair: tuple[int, ...]) -> str | None:
        """Why the peer may not send this packet to us, or None when it may."""
        peer = self._state.peers.get(session.peer) if session.peer is not None else None
        if peer is None or peer.certificate is None or not session.proven:
            return "unproven"
        source: Key
        destination: Key
        if len(pair) == 2:
            source, destination = pair
            known, overlay = source in peer.keys4, source >> self._shift == self._overlay4
        else:
            source, destination = (pair[0], pair[1]), (pair[2], pair[3])
            known, overlay = source in peer.keys6, pair[0] == self._overlay6
        # No route covers the overlay's own addresses, a default route neither.
        if not known and (overlay or not peer.may_send_from(source)):
            return "source"
        return None if destination in self.addresses else "destination"
