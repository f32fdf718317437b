"""Who handshakes with whom, and what a finished one changes.

    initiator                               responder
    begin: initiation on every way at once
                                            mac1, load, counter, certificate -> response;
                                            the session waits in `next_session`
    response: session becomes current,
    a probe leaves on the way it came by
                                            the first authenticated frame confirms: session
                                            becomes current; the way is proven, if
                                            the response went that way
Until that frame nothing of the responder's changes: a replayed initiation gets no further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from gossip import NodeId
from meshd.node.attempts import Attempts
from meshd.node.certificates import Certificate, load_public_key
from meshd.node.cookies import COOKIE_LIFETIME, CookieJar
from meshd.node.errors import RemoteError
from meshd.node.handshake import Initiation, Initiator, Purpose, Responder, TransportKeys
from meshd.node.invitation import Invitation, locate
from meshd.node.noise import CHACHA20POLY1305, CipherSuite, suite_by_name
from meshd.node.outputs import AuthFailure, PersistCounter, SendDatagram
from meshd.node.path import Path
from meshd.node.payloads import EnrolPayload, MemberPayload
from meshd.node.peer import HANDSHAKE_RETRY_MAX, Attempt, Peer
from meshd.node.ratelimit import LoadGauge, SourceRateLimiter
from meshd.node.session import Session
from meshd.node.state import NodeState
from meshd.node.unproven import LastCounters, Unproven, UnprovenSessions
from meshd.node.ways import ways
from meshd.node.wire import Endpoint, address_of, is_stream

MAX_SENDS = 8
"""Times that one attempt's initiation is sent. Cookies and new relays ask for it again; a member
that does so without end must not make us flood whatever endpoints it claims."""
MAX_COOKIES = 1024
"""Peers whose cookies are kept."""


@dataclass(frozen=True, slots=True)
class Call:
    """An initiation that was read, and the way it came by."""

    responder: Responder
    initiation: Initiation
    source: Endpoint
    via: Path | None


@dataclass(frozen=True, slots=True)
class Established:
    """A session that may be used: we began it, and the peer answered."""

    peer: Peer
    session: Session
    source: Endpoint
    via: Path | None
    proven: bool
    """Whether it came from where the initiation that it answers went to."""


class Handshakes:
    """Begins and answers handshakes. Changes sessions, peers' slots, outputs and counters."""

    def __init__(self, state: NodeState, now: float) -> None:
        self._state = state
        identity = state.identity
        self._suite = suite_by_name(identity.mesh.cipher)
        self._responders = {
            Purpose.MEMBER: Responder(self._suite, identity.mesh.mesh_id, identity.static),
            Purpose.ENROL: Responder(CHACHA20POLY1305, identity.mesh.mesh_id, identity.static),
        }
        self._signature = identity.static_signature
        self._cookies = CookieJar(state.random_bytes, identity.static_public, now)
        self._rates = SourceRateLimiter()
        self._channel_rates = SourceRateLimiter()
        self._load = LoadGauge(now)
        self._attempts = Attempts(state.new_index)
        self._peer_cookies: dict[NodeId, tuple[bytes, float]] = {}
        self._members = LastCounters()
        self._strangers = LastCounters()
        self.unproven = UnprovenSessions(state)
        self.invitations: dict[bytes, Invitation] = {}
        self.misdirected: Callable[[Endpoint], None] = lambda source: None
        """Who hears of initiations by stream that are meant for another node."""

    # Beginning

    def begin(self, peer: Peer, now: float) -> bool:
        """Start a handshake with `peer`, unless one runs; False when nothing is known of it."""
        if peer.attempt is not None:
            return True
        if peer.record is None or peer.id == self._state.identity.id:
            return False
        state, identity = self._state, self._state.identity
        if identity.trust.is_revoked(identity.certificate):
            return False  # nobody would answer
        index = self._attempts.new_index()
        initiator = Initiator(
            self._suite,
            identity.mesh.mesh_id,
            Purpose.MEMBER,
            identity.static,
            peer.record.static_public,
            identity.mesh_secret,
            state.random_bytes(32),
            index,
        )
        payload = self._payload(self.next_counter(now))
        self._attempts.add(peer, Attempt(initiator, payload, index, now, now + peer.retry))
        peer.retry, peer.look_at = min(HANDSHAKE_RETRY_MAX, peer.retry * 2), now
        self.send(peer, now)
        return True

    def next_counter(self, now: float) -> int:
        """A handshake counter above all before it, even where the clock went back."""
        state = self._state
        state.counter = max(state.counter + 1, int(state.unix_time(now) * 1e9))
        state.outputs.append(PersistCounter(state.counter))
        return state.counter

    def send(self, peer: Peer, now: float, streams: Sequence[Endpoint] | None = None) -> None:
        """Send the initiation of `peer.attempt` by every way that may reach it, or by these
        streams."""
        attempt, state = peer.attempt, self._state
        if attempt is None or attempt.sent >= MAX_SENDS:
            return
        attempt.sent += 1
        cookie, until = self._peer_cookies.get(peer.id, (None, 0.0))
        cookie = cookie if now < until else None
        try:
            message = attempt.initiator.message(attempt.payload, cookie)
        except RemoteError as error:
            state.drops[error.reason] += 1
            return
        wanted = ways(state, peer) if streams is None else [(b"", way) for way in streams]
        for prefix, endpoint in wanted:
            copy = message
            if not prefix and not is_stream(endpoint):
                if not state.allowance.take(endpoint[0], len(message), now, peer.wanted(now)):
                    continue
                state.mappings.sent(endpoint, now)
                index = self._attempts.copy_for(peer, attempt, endpoint)
                copy = attempt.initiator.message(attempt.payload, cookie, index)
            state.outputs.append(SendDatagram(prefix + copy, endpoint))

    def _payload(self, counter: int) -> MemberPayload:
        return MemberPayload.of(counter, 0, self._signature, self._state.identity.chain)

    @property
    def chain_follows(self) -> bool:
        """Whether our chain is too large for the handshake, so that it follows in the session."""
        return self._payload(0).leaf_hash is not None

    def retry(self, peer: Peer, now: float) -> None:
        """Give up an attempt that had its time; a new one has a new ephemeral key."""
        self.abandon(peer)
        self.begin(peer, now)

    def abandon(self, peer: Peer) -> None:
        """Forget the attempt, if there is one."""
        self._attempts.drop(peer)

    # Answering

    def receive_initiation(
        self, datagram: bytes, source: Endpoint, via: Path | None, now: float
    ) -> None:
        """Answer an initiation. Raises RemoteError; then nothing has changed."""
        purpose = Purpose.ENROL if datagram[2:3] == b"\x01" else Purpose.MEMBER
        responder = self._responders[purpose]
        if not responder.check_mac1(datagram):
            responder.read(datagram)
            raise RemoteError("handshake-mac1")
        if via is None:
            self._admit_direct(datagram, source, now)
        else:
            self._admit_relayed(via, now)
        call = Call(responder, responder.read(datagram), source, via)
        if isinstance(call.initiation.payload, EnrolPayload):
            self._answer_joiner(call, call.initiation.payload, now)
        else:
            self._answer_member(call, call.initiation.payload, now)

    def _admit_direct(self, datagram: bytes, source: Endpoint, now: float) -> None:
        """Under load, only who has shown that it receives at `source`, and that not too often."""
        self._load.count(now)
        if not self._load.under_load(now):
            return
        if not is_stream(source) and not self._cookies.check(datagram, source, now):
            reply = self._cookies.reply(datagram, source, now)
            self._state.outputs.append(SendDatagram(reply, source))
            raise RemoteError("handshake-load")
        if not self._rates.allow(address_of(source), now):
            raise RemoteError("handshake-rate")

    def _admit_relayed(self, via: Path, now: float) -> None:
        """A relay proves no address, so each of its channels has a rate, and none under load."""
        if not self._channel_rates.allow(f"channel {via.channel}", now):
            raise RemoteError("handshake-rate")
        self._load.count(now)
        if self._load.under_load(now):
            raise RemoteError("handshake-load")

    def _answer_member(self, call: Call, payload: MemberPayload, now: float) -> None:
        static, secret = call.initiation.remote_static, self._state.identity.mesh_secret
        self._members.check(static, payload.counter)
        refused: RemoteError | None = None
        try:
            certificate = self._certificate(payload, now)
        except RemoteError as error:
            if error.reason != "certificate-revoked":
                raise
            certificate, refused = None, error  # it gets a session to hear that in, nothing else
        if certificate is None:
            self._strangers.check(static, payload.counter)
            session = self._session(self._suite, self._respond(call, secret), now)
            self._hold(call, Unproven(session, now, static, payload, None), now)
            if refused is not None:
                raise refused
            return
        self.check_static(payload, static, certificate)
        if certificate.node == self._state.identity.id:
            raise RemoteError("handshake-self")
        self._check_counter(certificate.node, payload.counter)
        session = self._session(self._suite, self._respond(call, secret), now)
        peer = self.peer_of(certificate, payload.chain)
        self._took(peer, static, payload.counter)
        session.endpoint = call.source if call.via is None else None
        self.install_next(peer, session)

    def _check_counter(self, node: NodeId, counter: int) -> None:
        peer = self._state.peers.get(node)
        if peer is not None and counter <= peer.last_counter:
            raise RemoteError("handshake-replay")

    def _took(self, peer: Peer, static: bytes, counter: int) -> None:
        """`peer` has used `counter`; by the static key, a replay is refused before its chain is
        verified, and by the peer, for ever."""
        peer.last_counter = counter
        self._members.take(static, counter)

    def _answer_joiner(self, call: Call, payload: EnrolPayload, now: float) -> None:
        invitation = self.invitations.get(locate(payload.invitation_id))
        if invitation is None:
            raise RemoteError("invitation-unknown")
        psk = invitation.psk(payload.invitation_id)
        invitation.check_time(self._state.unix_time(now))
        static = call.initiation.remote_static
        self._strangers.check(static, payload.counter)
        session = self._session(CHACHA20POLY1305, self._respond(call, psk), now)
        self._hold(call, Unproven(session, now, static, None, invitation), now)

    def _respond(self, call: Call, psk: bytes) -> TransportKeys:
        state, via = self._state, call.via
        message, keys = call.responder.respond(
            call.initiation, psk, state.random_bytes(32), state.new_index(), self._payload(0)
        )
        prefix, endpoint = (b"", call.source) if via is None else (via.prefix, via.endpoint)
        state.outputs.append(SendDatagram(prefix + message, endpoint))
        return keys

    def _session(self, suite: CipherSuite, keys: TransportKeys, now: float) -> Session:
        return Session(suite, keys, None, self._state.budget, now)

    def _hold(self, call: Call, unproven: Unproven, now: float) -> None:
        """Keep a session whose peer has yet to show its certificate, or its request for one."""
        self._strangers.take(unproven.static, call.initiation.payload.counter)
        unproven.session.proven = False
        unproven.session.endpoint = call.source if call.via is None else None
        self.unproven.add(unproven, now)

    def install_next(self, peer: Peer, session: Session) -> None:
        """Let `session` wait for the peer's first frame."""
        if peer.next_session is not None:
            self.forget(peer.next_session)
        session.peer = peer.id
        peer.next_session = session
        self._state.sessions[session.local_index] = session

    def prove(self, unproven: Unproven, chain: tuple[bytes, ...], now: float) -> Peer:
        """The certificate has followed inside the session. Raises RemoteError."""
        payload, state = unproven.payload, self._state
        if payload is None or sha256(chain[0]).digest() != payload.leaf_hash:
            raise RemoteError("handshake-unknown-certificate")
        certificate = state.identity.trust.verify(chain[0], chain[1:], state.unix_time(now))
        self.check_static(payload, unproven.static, certificate)
        self._check_counter(certificate.node, payload.counter)
        peer = self.peer_of(certificate, chain)
        self._took(peer, unproven.static, payload.counter)
        self.unproven.release(unproven)
        self.install_next(peer, unproven.session)
        unproven.session.proven = True
        return peer

    def forget(self, session: Session) -> None:
        """Close a session and free what it holds."""
        self._state.sessions.pop(session.local_index, None)
        session.reassembler.close()
        for reason, count in session.reassembler.statistics().dropped.items():
            self._state.drops[f"reassembly-{reason}"] += count
        peer = self._state.peers.get(session.peer) if session.peer is not None else None
        if peer is not None:
            peer.rx_bytes += session.received_bytes

    # Finishing

    def receive_response(
        self, datagram: bytes, source: Endpoint, via: Path | None, now: float
    ) -> Established:
        """Finish a handshake of ours. Raises RemoteError; the attempt then goes on."""
        peer, attempt, went_there = self._attempts.find(datagram[8:12], source)
        proven = went_there or via is not None or is_stream(source)
        payload, keys = attempt.initiator.read_response(datagram)
        record = peer.record
        certificate = self._certificate(payload, now)
        if certificate is None:
            raise RemoteError("handshake-unknown-certificate")
        if certificate.node != peer.id or record is None:
            raise RemoteError("handshake-identity")
        self.check_static(payload, record.static_public, certificate)
        self.abandon(peer)
        self.peer_of(certificate, payload.chain)
        session = Session(self._suite, keys, peer.id, self._state.budget, now)
        self.make_current(peer, session)
        return Established(peer, session, source, via, proven)

    def receive_cookie(self, datagram: bytes, source: Endpoint, now: float) -> None:
        """Send the initiation again, with the cookie. Raises RemoteError."""
        peer, attempt, went_there = self._attempts.find(datagram[4:8], source)
        cookie = attempt.initiator.read_cookie(datagram)
        if len(self._peer_cookies) >= MAX_COOKIES:
            self._peer_cookies.clear()
        self._peer_cookies[peer.id] = (cookie, now + COOKIE_LIFETIME)
        if went_there:
            self._state.allowance.proven(source[0])
        self.send(peer, now)

    def make_current(self, peer: Peer, session: Session) -> None:
        """Send in `session` from now on; the one before stays open for what is on its way."""
        if peer.previous is not None:
            self.forget(peer.previous)
        peer.previous, peer.current = peer.current, session
        if peer.next_session is session:
            peer.next_session = None
        self._state.sessions[session.local_index] = session
        peer.retry = 1.0

    def close(self, peer: Peer) -> None:
        """End all sessions with `peer` at once."""
        for session in peer.sessions():
            self.forget(session)
        peer.current = peer.previous = peer.next_session = None
        self.abandon(peer)

    # Certificates

    def _certificate(self, payload: MemberPayload, now: float) -> Certificate | None:
        """The payload's certificate, verified; None when only its hash came and it is unknown."""
        state = self._state
        chain = payload.chain
        if payload.leaf_hash is not None:
            known = (peer.chain for peer in state.members())
            chain = next((c for c in known if sha256(c[0]).digest() == payload.leaf_hash), ())
        if not chain:
            return None
        return state.identity.trust.verify(chain[0], chain[1:], state.unix_time(now))

    def peer_of(self, certificate: Certificate, chain: tuple[bytes, ...]) -> Peer:
        """The peer that a verified certificate belongs to, which takes the certificate, unless it
        has a newer one: a replay must not bring back what an old certificate granted."""
        peer = self._state.peers.get(certificate.node)
        if peer is None:
            peer = self._state.peers[certificate.node] = Peer(certificate.node, self._state.rng)
        held = peer.certificate
        if chain and (held is None or held.not_before < certificate.not_before):
            peer.certify(certificate, chain)
            self._state.certified.append(peer)
        return peer

    def check_static(self, payload: MemberPayload, static: bytes, certificate: Certificate) -> None:
        """That the certificate's owner owns the handshake's static key. Raises RemoteError."""
        mesh_id = self._state.identity.mesh.mesh_id
        payload.verify(mesh_id, static, load_public_key(certificate.public_key))

    def refused(self, error: RemoteError, source: Endpoint) -> None:
        """Count a handshake that failed; one that names an untrusted certificate is told."""
        if error.reason == "handshake-mac1" and is_stream(source):
            self.misdirected(source)
        self._state.drops[error.reason] += 1
        if error.reason.startswith(("certificate", "invitation", "key-")):
            self._state.auth_failures[error.reason] += 1
            self._state.outputs.append(AuthFailure(error.reason, None))
