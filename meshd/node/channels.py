"""Relay channels at their ends: whom to ask for one, what comes of it, whose datagrams they are.

`relay` is the other side: channels that this node carries for others.
"""

from __future__ import annotations

from gossip import GossipProtocol, NodeId
from meshd.node import control
from meshd.node.choice import cost, is_quicker
from meshd.node.control import Control
from meshd.node.dialogue import Dialogue
from meshd.node.handshaking import Handshakes
from meshd.node.pacing import RELAY_SEEK
from meshd.node.path import Path, PathKind
from meshd.node.peer import Peer
from meshd.node.relay import Relay
from meshd.node.shortlist import BEST, Willing, promising, shortlist
from meshd.node.state import NodeState
from meshd.node.wire import Endpoint

MAX_CHANNELS = 1024
MAX_MISSING = 1024
"""Peers for whom there was nobody to ask, remembered until there is."""
ANSWERED_WITHIN = 5.0
"""Seconds within which a relay answers that we asked."""
TRIED_FOR, TRIED_FOR_IDLE = 60.0, 300.0
"""Seconds for which a relay that was tried for a peer is not tried again to find a better one,
unless it promises more: while packets flow to that peer, and while none do."""


class Channels:
    """Takes the messages about relays. Changes relayed paths and outputs."""

    def __init__(
        self,
        state: NodeState,
        handshakes: Handshakes,
        gossip: GossipProtocol,
        relay: Relay,
        dialogue: Dialogue,
    ) -> None:
        self._state = state
        self._handshakes = handshakes
        self._gossip = gossip
        self._relay = relay
        self._dialogue = dialogue
        self._channels: dict[int, list[Path]] = {}
        """By number, which is the relay's choice: two relays may choose the same."""
        self._relays: dict[NodeId, None] = {}
        """Who relays to somebody for us: of others the way may move unnoticed."""
        self._missing: dict[NodeId, None] = {}
        """For whom there was nobody to ask."""
        dialogue.relay_moved = self._relay_moved
        for kind in (control.RelayOpen, control.RelayOpened, control.RelayRefused):
            dialogue.handlers[kind] = self._take

    def _take(self, peer: Peer, message: Control, now: float) -> None:
        match message:
            case control.RelayOpen(target):
                self._open(peer, target, now)
            case control.RelayOpened(channel, other, by_stream):
                self._opened(peer, channel, other, by_stream, now)
            case control.RelayRefused(target):
                self._refused(peer, target)

    def ask(self, peer: Peer, now: float, best: int = BEST) -> bool:
        """Ask a few nodes to relay to `peer`: the `best` ones, on the shortest way, and one more
        (see `shortlist`). False: there is nobody, or nobody else."""
        willing = self._willing(peer, now)
        asked = shortlist(willing, peer.last_relay, self._state.rng, best)
        self._ask(peer, asked, willing, now)
        self._missing.pop(peer.id, None)
        if not asked:
            if len(self._missing) >= MAX_MISSING:
                del self._missing[next(iter(self._missing))]
            self._missing[peer.id] = None
        return bool(asked)

    def seek(self, peer: Peer, now: float) -> None:
        """A relayed path to `peer` is in use: look for a better one among those that were not tried
        lately."""
        path, active = peer.path, peer.active(now)
        if path is None:
            return
        pause = TRIED_FOR if active else TRIED_FOR_IDLE
        willing = []
        for relay in self._willing(peer, now):
            at, promise = peer.tried.get(relay.node, (float("-inf"), float("inf")))
            if now - at >= pause or is_quicker(relay.whole, promise):
                willing.append(relay)
        used = float("inf") if path.by_tcp else cost(path)
        self._ask(peer, promising(willing, used, self._state.rng), willing, now)

    def _ask(self, peer: Peer, asked: list[NodeId], willing: list[Willing], now: float) -> None:
        peer.relay_asked_at = now
        peer.relay_sought_at = now + RELAY_SEEK * (0.8 + 0.4 * self._state.rng.random())
        promises = {relay.node: relay.whole for relay in willing}
        for node in asked:
            peer.note_tried(node, promises[node], now)
            self._dialogue.send(self._state.peers[node], control.RelayOpen(peer.id), now)

    def _willing(self, peer: Peer, now: float) -> list[Willing]:
        """Who may relay to `peer`, and does not yet."""
        carried = [path.relay for path in peer.paths if path.relay is not None and path.valid]
        willing = []
        for other in self._state.peers.values():
            path, record, certificate = other.path, other.record, other.certificate
            if other is peer or not other.ready(now) or path is None or certificate is None:
                continue
            if other.id in carried:
                continue
            if path.kind is not PathKind.RELAY and record is not None and record.relays:
                first = self._gossip.distance(other.id) if path.srtt is None else path.srtt
                second = self._gossip.distance(other.id, peer.id)
                role = "relay" in certificate.roles
                willing.append(Willing(other.id, role, first, second, record.capacity))
        return willing

    def _open(self, peer: Peer, target: NodeId, now: float) -> None:
        number = self._relay.open(peer.id, target, now, self._state.random_bytes)
        if number is None:
            self._dialogue.send(peer, control.RelayRefused(target), now)
            return
        for one, other in ((self._state.peers[target], peer), (peer, self._state.peers[target])):
            path = other.path
            by_stream = path is not None and path.kind is PathKind.STREAM
            self._dialogue.send(one, control.RelayOpened(number, other.id, by_stream), now)

    def _opened(
        self, relay: Peer, channel: int, other: NodeId, by_stream: bool, now: float
    ) -> None:
        target, way = self._state.peers.get(other), relay.path
        if target is None or way is None or way.kind is PathKind.RELAY or target is relay:
            return
        asked_at, _ = target.tried.get(relay.id, (float("-inf"), 0.0))
        asked = now - asked_at <= ANSWERED_WITHIN
        path = target.paths.relayed(relay.id, channel, way.endpoint, now, by_stream, asked)
        self._relays[relay.id] = None
        self._keep(channel, path)
        self._dialogue.touched = True
        if target.current is None:
            if target.attempt is None:
                self._handshakes.begin(target, now)
            else:
                self._handshakes.send(target, now)

    def _refused(self, relay: Peer, target: NodeId) -> None:
        peer = self._state.peers.get(target)
        if peer is not None and peer.path is None:
            peer.last_error = f"{relay.name} cannot relay to it"

    def _keep(self, number: int, path: Path) -> None:
        if len(self._channels) >= MAX_CHANNELS:
            used = [path for peer in self._state.peers.values() for path in peer.paths]
            kept = [
                (other, paths)
                for other, paths in self._channels.items()
                if any(path is way for path in paths for way in used)
            ]
            self._channels = dict(kept[-MAX_CHANNELS // 2 :])
        others = [p for p in self._channels.get(number, ()) if p.relay != path.relay]
        self._channels[number] = [*others[-3:], path]

    def find(self, number: int, source: Endpoint) -> Path | None:
        """The relayed path of a channel, when `source` is a proven endpoint of its relay."""
        for path in self._channels.get(number, ()):
            relay = self._state.peers.get(path.relay) if path.relay is not None else None
            direct = relay.paths.direct(source) if relay is not None else None
            if direct is not None and direct.valid:
                return path
        return None

    def _relay_moved(self, relay: Peer, now: float) -> None:
        """The way to a relay is another: so are the paths through it, or they are none. Those for
        whom a relay was missing get another chance at once."""
        way = relay.path
        if self._missing and way is not None and way.kind is not PathKind.RELAY:
            self._found(relay)
        if relay.id not in self._relays:
            return
        del self._relays[relay.id]
        for other in self._state.peers.values():
            for relayed in other.paths:
                if relayed.relay != relay.id:
                    continue
                self._relays[relay.id] = None
                if way is not None and way.kind is not PathKind.RELAY:
                    relayed.endpoint = way.endpoint
                    continue
                relayed.valid = False
                other.paths.choose(now)
                self._dialogue.touched = True

    def _found(self, relay: Peer) -> None:
        """Somebody is reached who may relay: let those who have no path be asked for."""
        if relay.record is None or not relay.record.relays:
            return
        for node in self._missing:
            peer = self._state.peers.get(node)
            if peer is not None and peer.path is None:
                peer.relay_asked_at = float("-inf")
        self._missing.clear()
