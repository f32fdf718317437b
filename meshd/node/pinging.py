"""Pings of a person's: a probe of the path in use, whose answer somebody waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meshd.node.outputs import Pong
from meshd.node.path import Path
from meshd.node.peer import Peer
from meshd.node.state import NodeState
from meshd.node.wire import format_endpoint

MAX_PINGS = 256
PING_TIMEOUT = 30.0
"""Seconds: the longest that a person may wait; who asked gives up before, as a rule."""


@dataclass(slots=True)
class PendingPing:
    """A ping, sent or waiting for a session."""

    token: int
    peer: Peer
    since: float
    nonce: int | None = None
    path: Path | None = None


class Pings:
    """Those that wait for an answer. `probe(peer, nonce, now)` sends one."""

    def __init__(self, state: NodeState, probe: Callable[[Peer, int, float], None]) -> None:
        self._state = state
        self._probe = probe
        self._pings: list[PendingPing] = []

    def add(self, peer: Peer, token: int, now: float) -> bool:
        """Measure the round trip to `peer`: a `Pong` follows, within `PING_TIMEOUT` seconds.
        False: it waits for a session."""
        ping = PendingPing(token, peer, now)
        if len(self._pings) >= MAX_PINGS:
            self._pong(ping, None)
            return True
        self._pings.append(ping)
        if peer.ready(now):
            self._send(ping, now)
            return True
        return False

    def ready(self, peer: Peer, now: float) -> None:
        """There is a session and a path: send what waited."""
        for ping in self._pings:
            if ping.peer is peer and ping.nonce is None:
                self._send(ping, now)

    def _send(self, ping: PendingPing, now: float) -> None:
        ping.nonce = self._state.rng.getrandbits(63) | 1 << 63
        ping.path, ping.since = ping.peer.path, now
        self._probe(ping.peer, ping.nonce, now)

    def acknowledged(self, peer: Peer, nonce: int, now: float) -> bool:
        """Whether `nonce` was a ping's to `peer`, which is answered then."""
        for ping in self._pings:
            if ping.nonce == nonce and ping.peer is peer and ping.path is not None:
                self._pings.remove(ping)
                self._pong(ping, now - ping.since)
                return True
        return False

    def expire(self, now: float) -> float | None:
        """Give up pings without an answer; when the next one is due."""
        for ping in list(self._pings):
            if now - ping.since >= PING_TIMEOUT:
                self._pings.remove(ping)
                self._pong(ping, None)
        return min((ping.since + PING_TIMEOUT for ping in self._pings), default=None)

    def _pong(self, ping: PendingPing, rtt: float | None) -> None:
        via, kind = "", ""
        if ping.path is not None:
            kind = ping.path.kind.value
            relay = self._state.peers.get(ping.path.relay) if ping.path.relay is not None else None
            via = relay.name if relay is not None else format_endpoint(ping.path.endpoint)
        self._state.outputs.append(Pong(ping.token, rtt, via, kind))
