"""When to reach a peer by a stream, and when to leave it again.

    no UDP path for 1 s, 0.5 s where no peer    streams are dialled: to a stream endpoint the host
    was ever reached by UDP, or it is failing   opens a connection when the first datagram leaves
    a stream is proven                          it carries what UDP does not; UDP is probed on
    a UDP path is proven again                  it carries everything, see `PathSet.choose`
    ... for 2 s                                 nothing is dialled any more
    ... and nothing came by a stream for 30 s   it is closed
    one came in, and no session uses it: 30 s   it is closed, whoever dialled it

While another path is in use we send nothing into a stream; so what comes by it says that the peer
still needs it. Of the streams between two nodes one stays: that which the lower id has dialled.
"""

from __future__ import annotations

from collections.abc import Callable

from gossip import GossipProtocol
from meshd.node.choice import is_failing
from meshd.node.dialogue import Dialogue
from meshd.node.errors import RemoteError
from meshd.node.handshaking import Handshakes
from meshd.node.introducing import introduce, read_introduction
from meshd.node.outputs import CloseStream, SendDatagram
from meshd.node.path import Path, PathKind
from meshd.node.peer import STREAM_RETRY_FIRST, STREAM_RETRY_MAX, Peer
from meshd.node.state import NodeState
from meshd.node.ways import first_contacts, may_be
from meshd.node.wire import STREAM, Endpoint

TRY_AFTER = 1.0
"""Seconds without a UDP path after which streams are tried beside UDP."""
ALONE_AFTER = 0.5
"""The same while no peer at all has answered by UDP: perhaps the network lets none through."""
BOOTSTRAP_AFTER = 2.0
"""The same for the bootstrap endpoints."""
SILENT = 0.5
"""Seconds of silence after which one missed probe means that UDP fails, while packets flow."""
LEAVE_AFTER = 2.0
"""Seconds that a UDP path must have been proven before streams are left."""
UNUSED = 30.0
"""Seconds without use after which a stream is closed."""
MAX_ADDRESSES = 4
"""Addresses of one peer that are dialled at once."""
MAX_DIALLED = 64
"""Streams that are being dialled at once."""
MAX_UNUSED = 1024
"""Accepted streams that no session has used yet: whoever holds the secret of the mesh, or of an
invitation, may open any number of them."""
LOOK_INTERVAL = 5.0
"""Seconds between two looks at which of them are used."""
DIAL_TIMEOUT = 15.0
"""Seconds after which a dial that was not heard of any more does not count."""
_UDP = 1
"""The highest rank of a path by UDP."""


class Streams:
    """Changes peers' fallbacks and paths, and outputs."""

    def __init__(
        self,
        state: NodeState,
        handshakes: Handshakes,
        dialogue: Dialogue,
        gossip: GossipProtocol,
    ) -> None:
        self._state = state
        self._handshakes = handshakes
        self._dialogue = dialogue
        self._gossip = gossip
        self.settle: Callable[[float], None] = lambda now: None
        """Who acts on what gossip says."""
        self._dialled: dict[Endpoint, float] = {}
        """Under way: where to, since when."""
        self._told: dict[Endpoint, None] = {}
        """Who is there has said so: once for each connection."""
        self._guests: dict[Endpoint, None] = {}
        """Members' streams that came to us and were not told yet who we are."""
        self._accepted: dict[Endpoint, float] = {}
        """All that came to us -> when a session was last known to use it, or it came."""
        self._unused: dict[Endpoint, None] = {}
        """Those of them that none has used yet."""
        self._look_at = float("-inf")
        handshakes.misdirected = self.misdirected

    def invited(self, locator: bytes, unix_time: float) -> bool:
        """Whether somebody may still join by the invitation with this locator."""
        invitation = self._handshakes.invitations.get(locator)
        return invitation is not None and invitation.expiry >= unix_time

    def admitted(self, source: Endpoint, member: bool, now: float) -> None:
        """The stream of a member, or of who holds an invitation, has come in."""
        self._accepted[source], self._unused[source] = now, None
        if member:
            self._guests[source] = None
        if len(self._unused) > MAX_UNUSED:
            self._look(now)
            for oldest in list(self._unused)[:-MAX_UNUSED]:
                self._leave(oldest, now)

    def run(self, now: float) -> None:
        """Close those that came in and that nobody uses."""
        if not self._accepted or now < self._look_at:
            return
        self._look(now)
        for source, used_at in list(self._accepted.items()):
            if now - used_at > UNUSED:
                self._leave(source, now)

    def _look(self, now: float) -> None:
        self._look_at = now + LOOK_INTERVAL
        for peer in self._state.peers.values():
            for path in _streams(peer) if peer.sessions() else ():
                if path.endpoint in self._accepted:
                    self._accepted[path.endpoint] = now
                    self._unused.pop(path.endpoint, None)

    def _leave(self, source: Endpoint, now: float) -> None:
        self._state.outputs.append(CloseStream(source))
        self.closed(source, "nobody uses it", now)

    def misdirected(self, source: Endpoint) -> None:
        """By this stream somebody calls another node: say who answers here, once."""
        if source in self._guests:
            del self._guests[source]
            introduction = introduce(self._gossip, self._state.identity.id)
            if introduction is not None:
                self._state.outputs.append(SendDatagram(introduction, source))

    def introduced(self, datagram: bytes, source: Endpoint, now: float) -> None:
        """Whoever accepted our stream says who it is: shake hands with that node there, unless
        there is a session. Raises RemoteError."""
        state = self._state
        if source not in self._dialled or source in self._told:
            raise RemoteError("introduction")
        self._told[source] = None
        records = read_introduction(datagram)
        if records[0].subject == state.identity.id:  # the address leads to ourselves, too
            state.outputs.append(CloseStream(source))
            self.closed(source, "it leads to this node itself", now)
            return
        for record in records:
            if self._gossip.record(record.subject, record.kind) != record:
                self._gossip.accept(record, now)
            self.settle(now)
        peer = state.peers.get(records[0].subject)
        if peer is None or peer.record is None or peer.certificate is None:
            raise RemoteError("introduction")
        if peer.current is not None:
            return
        if source not in peer.fallback.endpoints:
            peer.fallback.endpoints = (source, *peer.fallback.endpoints)[:MAX_ADDRESSES]
        if peer.attempt is None:
            self._handshakes.begin(peer, now)
        else:
            self._handshakes.send(peer, now, [source])

    def follow(self, peer: Peer, now: float) -> float:
        """Dial or leave what is due, of a peer that is wanted; when to look again."""
        fallback = peer.fallback
        udp = [path for path in peer.paths if path.valid and path.rank <= _UDP]
        if any(not _is_failing(path, peer, now) for path in udp):
            return self._settle(peer, now)
        fallback.settled = None
        if fallback.since is None:
            fallback.since = now - TRY_AFTER if udp else now
        if any(path.valid for path in _streams(peer)):
            fallback.retry = STREAM_RETRY_FIRST
            self._thin_out(peer, now)
            return float("inf")
        patience = TRY_AFTER if self._state.reflexive else ALONE_AFTER
        due = max(fallback.since + patience, fallback.next_at)
        if now < due:
            return due
        self._dial(peer, now)
        return fallback.next_at

    def closed(self, endpoint: Endpoint, reason: str, now: float) -> None:
        """The connection has ended, or never came about."""
        self._forget(endpoint)
        for peer in list(self._state.peers.values()):
            fallback, path = peer.fallback, peer.paths.direct(endpoint)
            if endpoint in fallback.endpoints:
                fallback.endpoints = tuple(e for e in fallback.endpoints if e != endpoint)
            elif path is None:
                continue
            if path is not None and path.valid:
                fallback.next_at = now
            if path is not None:
                peer.paths.drop(path)
                self._dialogue.paths_changed(peer, now)
            if peer.path is None:
                peer.last_error = f"stream: {reason}"
            self._dialogue.touched = True

    def _forget(self, endpoint: Endpoint) -> None:
        self._dialled.pop(endpoint, None)
        self._told.pop(endpoint, None)
        self._guests.pop(endpoint, None)
        self._accepted.pop(endpoint, None)
        self._unused.pop(endpoint, None)

    def _settle(self, peer: Peer, now: float) -> float:
        """UDP reaches the peer: leave its streams, and close those that nobody uses."""
        fallback = peer.fallback
        fallback.since = None
        if fallback.settled is None:
            fallback.settled = now
        due = fallback.settled + LEAVE_AFTER
        if now < due:
            return due
        fallback.endpoints = ()
        fallback.next_at, fallback.retry = float("-inf"), STREAM_RETRY_FIRST
        due = float("inf")
        for path in _streams(peer):
            unused_at = max(path.last_received, fallback.settled) + UNUSED
            if path is peer.path or now < unused_at:
                due = min(due, max(unused_at, now + 1.0))
            else:
                self._close(peer, path, now)
        return due

    def _thin_out(self, peer: Peer, now: float) -> None:
        """Of several proven streams keep one."""
        proven = [path for path in _streams(peer) if path.valid]
        theirs = [path for path in proven if path.endpoint in self._accepted]
        own = [path for path in proven if path.endpoint not in self._accepted]
        for path in own:
            self._dialled.pop(path.endpoint, None)
        if theirs and peer.id < self._state.identity.id:
            kept = theirs[0]
        elif own:
            kept = peer.path if peer.path in own and peer.path is not None else own[0]
        else:
            return
        for path in own:
            if path is not kept:
                self._close(peer, path, now)
        peer.fallback.endpoints = (kept.endpoint,) if kept in own else ()

    def _close(self, peer: Peer, path: Path, now: float) -> None:
        self._state.outputs.append(CloseStream(path.endpoint))
        self._forget(path.endpoint)
        peer.paths.drop(path)
        self._dialogue.paths_changed(peer, now)

    def _dial(self, peer: Peer, now: float) -> None:
        fallback, state = peer.fallback, self._state
        fallback.next_at = now + fallback.retry * (0.5 + 0.5 * state.rng.random())
        fallback.retry = min(STREAM_RETRY_MAX, fallback.retry * 2)
        for endpoint, at in list(self._dialled.items()):
            if now - at > DIAL_TIMEOUT:
                del self._dialled[endpoint]
                self._told.pop(endpoint, None)
        room = MAX_DIALLED - len(self._dialled)
        wanted = self._addresses(peer, now)
        endpoints = [e for e in wanted if e in self._dialled]
        endpoints += [e for e in wanted if e not in self._dialled][:room]
        fallback.endpoints = tuple(dict.fromkeys((*endpoints, *fallback.endpoints)))[:MAX_ADDRESSES]
        self._dialled.update(dict.fromkeys(endpoints, now))
        if peer.current is not None and not peer.current.expired(now):
            for endpoint in endpoints:
                path = peer.paths.learn(endpoint, now)
                path.next_probe_at = now
        if peer.attempt is not None and endpoints:
            self._handshakes.send(peer, now, endpoints)

    def _addresses(self, peer: Peer, now: float) -> list[Endpoint]:
        """Where to dial, best first: what its record says, then where to begin at all."""
        record, since = peer.record, peer.fallback.since
        told = record.endpoints if record is not None and record.accepts_streams else ()
        known = tuple(endpoint for endpoint in told if may_be(self._state, endpoint))
        if since is not None and now - since >= BOOTSTRAP_AFTER:
            known = (*known[: MAX_ADDRESSES - 1], *first_contacts(self._state, peer))
        places = dict.fromkeys((STREAM + host, port) for host, port in known)
        return list(places)[:MAX_ADDRESSES]


def _streams(peer: Peer) -> list[Path]:
    return [path for path in peer.paths if path.kind is PathKind.STREAM]


def _is_failing(path: Path, peer: Peer, now: float) -> bool:
    """Whether a proven path seems to work no more."""
    silent = peer.active(now) and now - path.last_received > SILENT
    return is_failing(path) or (path.misses > 0 and silent)
