"""Frames from the network into packets: the other half of the packet path, see `outbound`.

UDP receive with GRO -> Inbound.receive -> join slices -> Session.open -> entries
         -> source and destination checked -> packets -> TUN write
"""

from __future__ import annotations

import struct
from ipaddress import ip_network

from meshd.node.coalescing import LEAST, TCP, UDP, coalesce
from meshd.node.errors import RemoteError
from meshd.node.offload import VNET, TunForm
from meshd.node.path import Path
from meshd.node.peer import Key, covered
from meshd.node.reassembly import Joined, Shape
from meshd.node.session import Session
from meshd.node.state import NodeState
from meshd.node.wire import (
    CONTROL,
    DATA,
    ENTRY,
    ENTRY_SIZE,
    HEADER,
    HEADER_SIZE,
    MAX_PACKET,
    MAX_SEGMENTS,
    OFFLOAD,
    PADDING,
    Buffer,
    Endpoint,
    slices,
)

PAIR4 = struct.Struct(">II")
PAIR6 = struct.Struct(">QQQQ")
FORM4 = struct.Struct(">QHB11xII")
FORM6 = struct.Struct(">QHB7xQQQQ")
"""Virtio header, version, source and destination: what makes two packets pass alike."""


class Arrival:
    """Something the node must look at: an authenticated frame by a way or with a content that
    matters beyond its packets."""

    __slots__ = ("control", "session", "size", "source", "via")

    def __init__(
        self, session: Session, source: Endpoint, via: Path | None, control: bytes | None
    ) -> None:
        self.session = session
        self.source = source
        self.via = via
        """The relayed path it came by; None when it came directly from `source`."""
        self.control = control
        self.size = 0
        """Bytes of the frame, told once."""


ARRIVAL_INTERVAL = 0.25
"""Seconds between two arrivals that only say: still alive."""
MAX_CONTROLS = 3
"""Control messages of one frame that are looked at (we put one into each): their answers go to
where the frame came from, proven or not, and must not be many times its size."""
TRIES = 2
"""Times that packets of a frame are compared in vain."""
_INDEXES = bytes(range(MAX_SEGMENTS))


def _run(buffer: memoryview, start: int, segment: int, head: tuple[int, ...]) -> int:
    """How many datagrams, from the one whose header is at `start`, are of the same frame."""
    counters = buffer[start + HEADER_SIZE - 1 :: segment].tobytes()
    run = len(counters) - len(counters.lstrip(counters[:1]))
    if run > 1:
        # Only the counters' last bytes were compared; of what lies between, the AEAD says the rest.
        tail = HEADER.unpack_from(buffer, start + (run - 1) * segment)
        if tail[2:] != head[2:] or tail[0] != DATA:
            return 1
    return run


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
        takes = {TCP: config.segmentation, UDP: config.udp_segmentation}
        self._super = tuple(key for key, taken in takes.items() if taken and config.vnet_header)
        self._plain = bytearray(2 * MAX_PACKET)
        self._view = memoryview(self._plain)
        self._used = 0
        mesh = state.identity.mesh
        self._shift = 32 - mesh.cidr.prefixlen
        self._overlay4 = int(mesh.cidr.network_address) >> self._shift
        self._overlay6 = int(mesh.prefix6.network_address) >> 64
        self.addresses = addresses
        """Ours: destinations that are let through, beside the routes that we offer."""
        self._routes = tuple(map(ip_network, config.routes))
        self.arrivals: list[Arrival] = []

    def own(self, addresses: frozenset[Key]) -> None:
        """These are our addresses from now on."""
        self.addresses = addresses
        for session in self._state.sessions.values():
            session.forget_usual()

    def begin(self) -> None:
        """A new receive: the packets of the last one are not needed any more."""
        self._used = 0
        self._state.coalesced.clear()

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
            head = HEADER.unpack_from(buffer, start)
            kind, index, count, parities, receiver, counter = head
            session = sessions.get(receiver) if kind == DATA else None
            if session is None or not 0 < count <= MAX_SEGMENTS or index >= count + parities:
                drops["no-session" if kind == DATA and session is None else "malformed"] += 1
                offset += segment
                continue
            run = 1
            if start + segment + HEADER_SIZE < size:
                run = _run(buffer, start, segment, head)
            end = min(offset + run * segment, size)
            skip = base + HEADER_SIZE
            shape = Shape(counter, count, parities)
            if run == 1:
                indexes: bytes = bytes((index,))
            else:
                indexes = buffer[start + 1 : end : segment].tobytes()
            if not session.replay.check(counter):
                # Of a frame with parity the last segments are of no use any more, but they came.
                if not session.reception.late(counter, run):
                    drops["replay"] += run
            elif run >= count and indexes[:count] == _INDEXES[:count]:
                # The fast path: all slices of a frame lie here in order.
                last = offset + (count - 1) * segment
                end = min(last + segment, size)
                sealed: Buffer = buffer[last + skip : end]
                if count > 1:
                    pieces = slices(count - 1, segment - skip, skip).unpack_from(buffer, offset)
                    sealed = b"".join((*pieces, sealed))
                out = self._view[self._used :]
                self._used += self._open(session, shape, sealed, out, receipt)
            elif via is not None or self._known(session, source):
                whole = slices(run - 1, segment - skip, skip).unpack_from(buffer, offset)
                last = bytes(buffer[offset + (run - 1) * segment + skip : end])
                joined = session.reassembler.add(shape, indexes, (*whole, last), now)
                if joined is not None and len(joined.sealed) > MAX_PACKET:
                    drops["oversize"] += 1
                elif joined is not None:
                    out = memoryview(bytearray(len(joined.sealed)))
                    self._open(session, shape, joined.sealed, out, receipt, joined)
            else:
                drops["fragment-source"] += run
            offset = end
        return receipt.packets

    def receive_split(
        self, headers: memoryview, body: memoryview, segment: int, size: int, receipt: Receipt
    ) -> bool:
        """Take `size` bytes of datagrams whose headers and slices lie apart, each kind joined.

        False: not all of them are whole frames of known sessions; nothing was done.
        """
        chunk, count = segment - HEADER_SIZE, -(-size // segment)
        total = size - count * HEADER_SIZE
        kinds = headers[: count * HEADER_SIZE : HEADER_SIZE].tobytes()
        if kinds.count(DATA) != count or total <= (count - 1) * chunk:
            return False
        frames: list[tuple[Session, Shape, int, int]] = []
        first = 0
        while first < count:
            at = first * HEADER_SIZE
            _, index, parts, parities, receiver, counter = HEADER.unpack_from(headers, at)
            session = self._state.sessions.get(receiver)
            after = at + parts * HEADER_SIZE
            if session is None or index or not 0 < parts <= count - first:
                return False
            tail = HEADER.unpack_from(headers, after - HEADER_SIZE)
            if tail != (DATA, parts - 1, parts, parities, receiver, counter):
                return False
            # In order, and none of another frame: the AEAD says the rest.
            order = headers[at + 1 : after : HEADER_SIZE].tobytes()
            low = headers[at + 15 : after : HEADER_SIZE].tobytes()
            if order != _INDEXES[:parts] or low.count(low[0]) != parts:
                return False
            end = min((first + parts) * chunk, total)
            frames.append((session, Shape(counter, parts, parities), first * chunk, end))
            first += parts
        for session, shape, start, end in frames:
            out = self._view[self._used :]
            self._used += self._open(session, shape, body[start:end], out, receipt)
        return True

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
        shape: Shape,
        sealed: Buffer,
        out: memoryview,
        receipt: Receipt,
        joined: Joined | None = None,
    ) -> int:
        """Open a frame whose slices are all here (`joined`: one by one); the bytes of `out` that
        it takes."""
        source, via, now = receipt.source, receipt.via, receipt.now
        try:
            if session.expired(now):
                raise RemoteError("expired")
            size = session.open(shape, sealed, out)
        except RemoteError as error:
            self._state.drops[error.reason] += 1
            if joined is not None:
                session.reassembler.forged(shape, joined, now)
            return 0
        if joined is None:
            session.reception.frame(shape.counter, shape.slices + shape.parities, shape.parities)
        else:
            segments = shape.slices + shape.parities
            session.reception.frame(shape.counter, segments, joined.absent, joined.solved > 0)
        arrivals = len(self.arrivals)
        self._entries(session, out[:size], receipt)
        moved = via is None and source != session.endpoint
        quiet = arrivals == len(self.arrivals)
        if quiet and (moved or not session.confirmed or now - session.told_at > ARRIVAL_INTERVAL):
            self.arrivals.append(Arrival(session, source, via, None))
        if arrivals != len(self.arrivals):
            session.told_at = now
            self.arrivals[arrivals].size = HEADER_SIZE + len(sealed)
        session.received_bytes += len(sealed)
        return size

    def _entries(self, session: Session, plain: memoryview, receipt: Receipt) -> None:
        packets, tun = receipt.packets, self._tun
        start, end, controls = 0, len(plain), 0
        pair: tuple[int, ...]
        before, follows, tries = 0, 0, TRIES if self._super else 0
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
                # The second of two entries of one size: perhaps there are more of this flow.
                if word == before and tries and follows == body - ENTRY_SIZE:
                    stride = start - follows
                    if end - start >= (LEAST - 2) * stride:
                        joined = self._join(plain, follows, stride, packets)
                        if joined:
                            start = joined
                            continue
                        tries -= 1
                packets.append(plain[body:start])
                before, follows = word, start
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
                before, follows = word, start
                if plain[body + 1] == 0:
                    form = FORM4 if version == 4 else FORM6
                    session.usual_form = form.unpack_from
                    session.usual = form.unpack_from(plain, body)
                    session.usual_least = start - body
            else:
                packets += tun.convert(plain, kind, body, start)
        if start != end:
            self._state.drops["malformed"] += 1

    def _join(self, plain: memoryview, second: int, stride: int, packets: list[Buffer]) -> int:
        """Put packets of one flow, as one, in place of the first of them, the last of `packets`;
        where their entries end, 0 if there is nothing to join.

        The second entry is at `second`, each takes `stride` bytes.
        """
        run = coalesce(plain, second - stride, stride, len(plain), self._super)
        if run is None:
            return 0
        packets[-1] = run.packet
        self._state.coalesced.append(run)
        return second + (run.packets - 1) * stride

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
        if destination in self.addresses or covered(destination, self._routes):
            return None
        return "destination"
