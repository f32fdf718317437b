"""What two nodes say to each other in a session, and what follows from it.

Sends control messages (or keeps them until there is a session) and acts on those that arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from gossip import GossipError, GossipProtocol, NodeId
from meshd.node import control, measuring
from meshd.node.backlog import Backlog
from meshd.node.control import Control, decode_control, encode_control
from meshd.node.enroller import Enroller
from meshd.node.errors import RemoteError
from meshd.node.handshaking import Established, Handshakes
from meshd.node.inbound import Arrival
from meshd.node.mapping import is_public
from meshd.node.outbound import Outbound
from meshd.node.outputs import PeerChanged, SendFrame
from meshd.node.path import Path, PathKind
from meshd.node.paths import DueProbe
from meshd.node.peer import Peer
from meshd.node.pinging import Pings
from meshd.node.session import Session
from meshd.node.state import NodeState
from meshd.node.unproven import MAX_REQUESTS, Unproven
from meshd.node.ways import direct_candidates
from meshd.node.wire import BASE_SEGMENT, HEADER_SIZE, TAG_SIZE, Endpoint, is_stream

HEARD_INTERVAL = 0.5
"""Seconds between two times that gossip is told of a peer's traffic."""
MAX_REFLEXIVE = 16


class Dialogue:
    """Control messages, both ways. Changes peers, paths, reflexive endpoints and outputs."""

    def __init__(
        self,
        state: NodeState,
        handshakes: Handshakes,
        gossip: GossipProtocol,
        outbound: Outbound,
        enroller: Enroller,
    ) -> None:
        self._state = state
        self._handshakes = handshakes
        self._gossip = gossip
        self._outbound = outbound
        self._enroller = enroller
        self._pings = Pings(state, self._ping)
        self.handlers: dict[type[Control], Callable[[Peer, Control, float], None]] = {}
        """What other parts do with messages of theirs; they may raise RemoteError."""
        self.farewell: Callable[[bytes], Control | None] = lambda leaf: None
        """What shows a node that its certificate was revoked."""
        self.relay_moved: Callable[[Peer, float], None] = lambda relay, now: None
        """Who keeps the paths through a peer in step with the way to it."""
        self.ways_changed: Callable[[], None] = lambda: None
        """Who chooses among ways to a prefix."""
        self.telling: Callable[[NodeId], None] = lambda node: None
        """Who is told whose gossip is being taken in."""
        self.backlog = Backlog(self._told)
        """Gossip messages that wait for their turn."""
        self.touched = False
        """Set when something is due at once; the node clears it."""

    # Sending

    def send(self, peer: Peer, message: Control, now: float, path: Path | None = None) -> None:
        """Send `message` by `path` (the current one by default), or as soon as there is a
        session: then a handshake begins."""
        entry = encode_control(message)
        path = path or peer.path
        session = peer.current
        if session is None or path is None or session.expired(now):
            peer.waiting.append(entry)
            self._handshakes.begin(peer, now)
            self.touched = True
            return
        self._seal(peer, session, entry, path)

    def _seal(self, peer: Peer | None, session: Session, entry: bytes, path: Path) -> None:
        out = memoryview(bytearray(len(entry) + TAG_SIZE))
        frame = session.seal(entry, out, path.chunk, path.prefix, path.endpoint)
        if peer is not None:
            peer.tx_bytes += frame.size
        self._state.outputs.append(SendFrame(frame))

    def probe(self, peer: Peer, due: DueProbe, now: float) -> None:
        """Send a path probe, padded to the size that it tests."""
        session, path = peer.current, due.path
        if session is None or session.expired(now):
            return
        entry = encode_control(control.Probe(due.nonce))
        spare = due.size - path.segment + path.chunk - TAG_SIZE - len(entry)
        chunk = path.chunk
        if due.size and spare > 2:
            # CBOR spends two more bytes on a length of 256 or more
            entry = encode_control(control.Probe(due.nonce, spare - 2))
            chunk = due.size - path.segment + path.chunk
        out = memoryview(bytearray(len(entry) + TAG_SIZE))
        frame = session.seal(entry, out, chunk, path.prefix, path.endpoint)
        peer.tx_bytes += frame.size
        peer.paths.sent(due, now)
        if path.relay is None:
            self._state.mappings.sent(path.endpoint, now)
        measuring.probed(peer, due, session, now)
        self._state.outputs.append(SendFrame(frame))

    def shoot(self, peer: Peer, endpoint: Endpoint, now: float) -> None:
        """Send a probe to an endpoint that is no path: whoever answers makes it one."""
        session = peer.current
        entry = encode_control(control.Probe(self._state.rng.getrandbits(63) | 1 << 63))
        if session is None or session.expired(now):
            return
        size, wanted = len(entry) + 2 * TAG_SIZE, peer.wanted(now)
        if not self._state.allowance.take(endpoint[0], size, now, wanted):
            return
        self._state.mappings.sent(endpoint, now)
        self._seal(peer, session, entry, Path(PathKind.DIRECT, endpoint))
        peer.meter.stray(session, 1)

    def ready(self, peer: Peer, now: float) -> None:
        """A session and a path have come about: send what waited."""
        if not peer.ready(now):
            return
        session, path = peer.current, peer.path
        assert session is not None and path is not None  # noqa: PT018 - ready() said so
        while peer.waiting:
            self._seal(peer, session, peer.waiting.popleft(), path)
        for frame in self._outbound.held(peer, now):
            self._state.outputs.append(SendFrame(frame))
        self._pings.ready(peer, now)

    def paths_changed(self, peer: Peer, now: float) -> None:
        """Choose `peer`'s path again, and let everything follow that depends on it."""
        peer.paths.choose(now)
        if not peer.paths.changed:
            return
        peer.paths.changed, peer.double = False, None
        self.ways_changed()
        path = peer.path
        self.relay_moved(peer, now)
        if path is None:
            event = "lost"
            peer.paths.hurry(now)
        else:
            event = path.words
            peer.last_relay = path.relay or peer.last_relay
        self._state.outputs.append(PeerChanged(peer.id, peer.name, event))
        self.touched = True
        self.ready(peer, now)

    # Arriving

    def take(self, arrival: Arrival, now: float) -> None:
        """Act on an authenticated frame. Raises RemoteError; the session goes on."""
        session = arrival.session
        if not session.proven:
            self._take_unproven(arrival, now)
            return
        peer = self._state.peers.get(session.peer) if session.peer is not None else None
        if peer is None or session.local_index not in self._state.sessions:
            return
        path = self._arrived(peer, arrival, now)
        if arrival.control is not None:
            self._act(peer, decode_control(arrival.control), path, arrival, now)

    def _arrived(self, peer: Peer, arrival: Arrival, now: float) -> Path:
        """Note that the peer lives, and by which way. Raises RemoteError when that is another's:
        whoever relays may not lend one peer's channel to another."""
        session, source, via = arrival.session, arrival.source, arrival.via
        answered = session.endpoint
        if via is not None and not peer.paths.has(via):
            raise RemoteError("relay-channel")
        peer.last_seen, peer.look_at = now, now
        if now - peer.last_heard_told > HEARD_INTERVAL:
            peer.last_heard_told = now
            self._gossip.heard(peer.id, now)
        path = via
        if path is None:
            path = peer.paths.direct(source)
            if path is None:
                path = peer.paths.learn(source, now)
                self.touched = True
            session.endpoint = source
            path.received(arrival.size, now)
        path.heard(now)
        used = peer.path
        if used is not None and used.adapts and not peer.paths.measuring and peer.active(now):
            self.touched = True
        if not session.confirmed:
            session.confirmed = True
            self._state.clocks.heard(peer.id, peer.last_counter, now)
            self._handshakes.make_current(peer, session)
            self._handshakes.abandon(peer)
            peer.last_error = None
            round_trip = via is not None or is_stream(source) or source == answered
            self._shaken(peer, path, round_trip, now)
        return path

    def _shaken(self, peer: Peer, path: Path, round_trip: bool, now: float) -> None:
        """A handshake has come to its end by `path`, and proven it if both halves went that way;
        the peer's other endpoints may be better ones. Where it is another way than the one in use,
        that may be dead: it is asked at once."""
        if round_trip:
            path.prove(now)
        if peer.path is not None:
            peer.path.next_probe_at = min(peer.path.next_probe_at, now)
        peer.paths.consider(direct_candidates(self._state, peer), now)
        self.paths_changed(peer, now)
        self.ready(peer, now)

    def established(self, done: Established, size: int, now: float) -> None:
        """Our handshake was answered by `size` bytes: the way that both went by is proven, and the
        peer wants a frame."""
        peer, session, source, via = done.peer, done.session, done.source, done.via
        peer.last_seen, peer.look_at = now, now
        peer.last_error = None
        if via is not None and not peer.paths.has(via):
            self._state.drops["relay-channel"] += 1
            peer.paths.consider(direct_candidates(self._state, peer), now)
            return
        path = via or peer.paths.learn(source, now)
        if via is None:
            session.endpoint = source
            path.received(size, now)
        if self._handshakes.chain_follows:
            chain = self._state.identity.chain
            self._seal(peer, session, encode_control(control.CertificateChain(chain)), path)
        nonce = self._state.rng.getrandbits(63) | 1 << 63
        self.probe(peer, DueProbe(path, nonce, 0), now)
        self._shaken(peer, path, done.proven, now)

    def _take_unproven(self, arrival: Arrival, now: float) -> None:
        unproven = self._handshakes.unproven.get(arrival.session.local_index)
        if unproven is None or arrival.control is None:
            return
        session = arrival.session
        if arrival.via is None and arrival.source != session.endpoint:
            raise RemoteError(
                "unproven-source"
            )  # what we say is long, and the source may be forged
        path = arrival.via or Path(PathKind.DIRECT, arrival.source, segment=BASE_SEGMENT)
        match decode_control(arrival.control):
            case control.Enrol(request) if unproven.invitation is not None:
                unproven.requests += 1
                if unproven.requests > MAX_REQUESTS:
                    raise RemoteError("invitation-requests")
                invitations = self._handshakes.invitations
                source = arrival.source if arrival.via is None else None
                reply = self._enroller.admit(unproven, invitations, request, source, now)
                self._seal(None, session, encode_control(reply), path)
            case control.CertificateChain(chain) if unproven.payload is not None:
                peer = self._handshakes.prove(unproven, chain, now)
                self._arrived(peer, arrival, now)
            case _ if unproven.payload is not None and unproven.payload.chain:
                self._tell_revoked(unproven, unproven.payload.chain[0], path)
            case _:
                pass

    def _tell_revoked(self, unproven: Unproven, leaf: bytes, path: Path) -> None:
        """Who is revoked may have been away when that happened: show it the list."""
        farewell = self.farewell(leaf)
        unproven.requests += 1
        if farewell is not None and unproven.requests <= MAX_REQUESTS:
            self._seal(None, unproven.session, encode_control(farewell), path)

    def _told(self, node: NodeId, payload: bytes, now: float) -> None:
        peer = self._state.peers.get(node)
        if peer is None or not peer.sessions():  # closed since, such as on a revocation
            return
        self.telling(node)
        with suppress(GossipError):  # counted in its own statistics
            self._gossip.receive(payload, node, now)
        self.telling(self._state.identity.id)

    def _act(self, peer: Peer, message: Control, path: Path, arrival: Arrival, now: float) -> None:
        match message:
            case control.Gossip(payload):
                if not self.backlog.add(peer.id, payload, now):
                    self._state.drops["backlog"] += 1
            case control.Probe(nonce, _):
                direct = arrival.via is None and not is_stream(arrival.source)
                observed = arrival.source if direct else None
                tally = measuring.tally(peer, arrival.session, now)
                answer = control.ProbeAck(nonce, observed, tally)
                if not path.spend(len(encode_control(answer)) + HEADER_SIZE + TAG_SIZE):
                    raise RemoteError("unproven-source")
                self.send(peer, answer, now, path)
            case control.ProbeAck():
                self._acknowledged(peer, message, path, arrival.session, now)
            case control.Close():
                self.closed(peer, now)
            case _:
                handler = self.handlers.get(type(message))
                if handler is None:
                    raise RemoteError("control")
                handler(peer, message, now)

    def _acknowledged(
        self, peer: Peer, answer: control.ProbeAck, path: Path, session: Session, now: float
    ) -> None:
        nonce, observed = answer.nonce, answer.observed
        if self._pings.acknowledged(peer, nonce, now):
            return
        if measuring.answered(self._state, peer, nonce, answer.tally, session, now):
            self.touched = True
        peer.paths.heard(nonce, now)
        probed = [path, *(other for other in peer.paths if other is not path)]
        way = next((other for other in probed if other.measured(nonce, now) is not None), None)
        if way is None:
            return
        if way.relay is None:
            self._state.allowance.proven(way.endpoint[0])
        if observed is not None:
            self._state.mappings.seen(way.endpoint, observed, now)
            self._observed(peer, observed, now)
        self.paths_changed(peer, now)

    def _observed(self, peer: Peer, observed: Endpoint, now: float) -> None:
        """A peer saw us at `observed`: a place where others may find us."""
        seen = self._state.reflexive
        if is_public(observed):  # it sees us there now, and no more where it did
            for endpoint, reporters in list(seen.items()):
                if endpoint != observed and is_public(endpoint) and reporters.pop(peer.id, 0.0):
                    self.touched = True
                    if not reporters:
                        del seen[endpoint]
        if observed in seen:
            seen[observed][peer.id] = now
            return
        if len(seen) >= MAX_REFLEXIVE:
            del seen[min(seen, key=lambda endpoint: max(seen[endpoint].values()))]
        seen[observed] = {peer.id: now}
        self.touched = True

    def closed(self, peer: Peer, now: float) -> None:
        """The peer has gone away in an orderly way: nothing is proven any more."""
        self._handshakes.close(peer)
        peer.paths.lose_all()
        self.paths_changed(peer, now)

    # Pings of a person's

    def ping(self, peer: Peer, token: int, now: float) -> None:
        """Measure the round trip to `peer`: a `Pong` follows, within `PING_TIMEOUT` seconds."""
        if not self._pings.add(peer, token, now):
            self._handshakes.begin(peer, now)
            self.touched = True

    def _ping(self, peer: Peer, nonce: int, now: float) -> None:
        self.send(peer, control.Probe(nonce), now)

    def expire_pings(self, now: float) -> float | None:
        """Give up pings without an answer; when the next one is due."""
        return self._pings.expire(now)
