"""Where this node may be found, and what its host learns of the network around it.

All of it are claims until a round trip proves them: endpoints that we tell others are only
candidates to them, and where members may be is only tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gossip import NodeId
from meshd.node.handshaking import Handshakes
from meshd.node.peer import HANDSHAKE_RETRY_FIRST, STREAM_RETRY_FIRST
from meshd.node.state import NodeState
from meshd.node.wire import Endpoint

REFLEXIVE_FRESH = 90.0
"""Seconds for which we believe that peers see us at an endpoint."""
MAX_REFLEXIVE_TOLD = 3
"""Endpoints seen by peers that we tell others."""
LOCAL_FIRST = 4
"""Of the host's own endpoints, so many come before those that a single peer tells of."""
MAX_HINTS = 4
"""Endpoints of one member that its neighbourhood tells of."""
MAX_MAPPED = 4


class Places:
    """Changes the endpoints in the node's state."""

    def __init__(self, state: NodeState, handshakes: Handshakes) -> None:
        self._state = state
        self._handshakes = handshakes
        self.changed: Callable[[float], None] = lambda now: None
        """Who acts on a change, told the time."""

    def set_local(self, endpoints: Sequence[Endpoint], now: float) -> None:
        """The host's own addresses, as peers on its networks can reach them."""
        if tuple(endpoints) != self._state.local_endpoints:
            self._state.local_endpoints = tuple(endpoints)
            self.changed(now)

    def set_mapped(self, endpoints: Sequence[Endpoint], now: float) -> None:
        """Endpoints that gateways forward to us, as they say (NAT-PMP, PCP, UPnP)."""
        mapped = tuple(endpoints[:MAX_MAPPED])
        if mapped != self._state.mapped_endpoints:
            self._state.mapped_endpoints = mapped
            self.changed(now)

    def set_bootstrap(self, endpoints: Sequence[Endpoint], now: float) -> None:
        """Where to look for members while none is reached: those that are being called are called
        there, too."""
        state = self._state
        if tuple(endpoints) == state.bootstrap:
            return
        state.bootstrap = tuple(endpoints)
        state.allowance.named = tuple(dict.fromkeys(host for host, _ in endpoints))
        for peer in state.peers.values():
            self._handshakes.send(peer, now)
        self.changed(now)

    def hint(self, node: NodeId, endpoints: Sequence[Endpoint], now: float) -> bool:
        """Somebody in our neighbourhood says that `node` is there: try it, though gossip may have
        given it up. False: no such peer, or it has left."""
        peer = self._state.peers.get(node)
        if peer is None or peer.state == "left":
            return False
        hints = tuple(dict.fromkeys((*endpoints, *peer.hints)))[:MAX_HINTS]
        if hints != peer.hints:
            peer.hints = hints
            if peer.current is not None:
                peer.paths.consider(hints, now)
        if not peer.ready(now):
            if peer.attempt is None:
                self._handshakes.begin(peer, now)
            else:
                self._handshakes.send(peer, now)
        self.changed(now)
        return True

    def network_changed(self, now: float) -> None:
        """Addresses, routes or links of the host changed: whatever was known of ways is asked
        again at once, and whoever did not answer is called again."""
        self._state.mappings.forget()
        for peer in self._state.peers.values():
            peer.paths.recheck(now)
            peer.retry = HANDSHAKE_RETRY_FIRST
            peer.fallback.retry, peer.fallback.next_at = STREAM_RETRY_FIRST, now
            if peer.attempt is not None:
                peer.attempt.next_at = min(peer.attempt.next_at, now)
        self.changed(now)

    def woke(self, slept: float, now: float) -> None:
        """The host slept, or this process was stopped. `slept`: seconds for which `now` stood
        still. The others' clocks went on: what we hold of them is so much older."""
        for session in self._state.sessions.values():
            session.created_at -= slept
        for reporters in self._state.reflexive.values():
            for node in reporters:
                reporters[node] -= slept
        self.network_changed(now)

    def own(self, now: float) -> tuple[Endpoint, ...]:
        """Our endpoints, best first: named by the person, mapped by gateways, those where several
        peers saw us (what we told before stays before what is new), those of the host, those where
        a single peer saw us, which may lie: these come behind the host's first few."""
        state = self._state
        fresh = {
            endpoint: sum(now - at < REFLEXIVE_FRESH for at in reporters.values())
            for endpoint, reporters in state.reflexive.items()
            if max(reporters.values()) > now - REFLEXIVE_FRESH
        }
        told = state.told_endpoints or ()
        agreed = sorted(fresh, key=lambda e: (-min(fresh[e], 2), e not in told, e))
        elsewhere = (*state.config.endpoints, *state.mapped_endpoints)
        known = (*elsewhere, *state.local_endpoints)
        seen = [endpoint for endpoint in agreed if endpoint not in known][:MAX_REFLEXIVE_TOLD]
        sure = [endpoint for endpoint in seen if fresh[endpoint] > 1]
        local = state.local_endpoints
        ordered = (*elsewhere, *sure, *local[:LOCAL_FIRST], *seen, *local)
        return tuple(dict.fromkeys(ordered))
