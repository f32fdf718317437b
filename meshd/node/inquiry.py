"""Whose records came, but not the certificate that makes them believed: looked up, one at a time.

Where not everyone knows everyone, routes and revocations still reach everybody; certificates reach
neighbours alone. So the subject's id is looked up, and with its certificate its records are taken.

    record of an unknown subject -> kept aside -> a moment later: lookup of its id
    -> certificate -> the record is admitted; nobody knows it -> later again, ever more rarely
"""

from __future__ import annotations

from gossip import GossipProtocol, NodeId
from meshd.node.authority import MeshAuthority
from meshd.node.handshaking import Handshakes
from meshd.node.peer import Peer

PATIENCE = 1.0
"""Seconds for the certificate to come by itself, as it does where everyone knows everyone."""
AGAIN, AGAIN_MAX = 5.0, 600.0
"""Seconds until a lookup that found nothing is repeated: doubles from one to the other."""
MAX_STALE = 64
"""Nodes whose whereabouts are to be looked up again."""
GIVE_UP = 60.0
"""Seconds after which a lookup that was never answered no longer holds up the others."""


class Inquiry:
    """Starts lookups of ids; `ended` has to be told of each that is over."""

    def __init__(
        self, gossip: GossipProtocol, authority: MeshAuthority, handshakes: Handshakes
    ) -> None:
        self._gossip = gossip
        self._authority = authority
        self._handshakes = handshakes
        self._due: dict[NodeId, float] = {}
        """When to look up whom: those of now alone."""
        self._pauses: dict[NodeId, float] = {}
        self._stale: dict[NodeId, bool] = {}
        self._asked: NodeId | None = None
        self._asked_at = 0.0

    def refresh(self, node: NodeId) -> None:
        """Where `node` is may be out of date, and it is needed."""
        if len(self._stale) < MAX_STALE:
            self._stale[node] = True

    def run(self, now: float) -> None:
        """Look up the next one, if it is time and no other is being looked up."""
        if self._asked is not None and now - self._asked_at < GIVE_UP:
            return
        self._asked = None
        unknown = self._authority.unknown()
        if not unknown and not self._stale:
            self._due.clear()
            self._pauses.clear()
            return
        wanted = dict.fromkeys(self._stale, now)
        wanted.update(dict.fromkeys(unknown, now + PATIENCE))
        self._due = {node: self._due.get(node, at) for node, at in wanted.items()}
        self._pauses = {node: p for node, p in self._pauses.items() if node in wanted}
        ripe = [node for node, at in self._due.items() if at <= now]
        if ripe:
            self._asked, self._asked_at = ripe[0], now
            self._gossip.lookup(ripe[0], now)

    def ended(self, key: bytes, peer: Peer | None, now: float) -> None:
        """A lookup is over, perhaps one of ours, and `peer` was found."""
        if key != self._asked:
            return
        node, self._asked = self._asked, None
        pause = self._pauses.get(node, AGAIN)
        self._pauses[node] = min(AGAIN_MAX, 2 * pause)
        self._due[node] = now + pause  # what it was asked for may not come of it
        if peer is not None:
            peer.last_error = None
            self._stale.pop(node, None)
            if peer.certificate is None:  # too large for a record: only a handshake tells it
                self._handshakes.begin(peer, now)
        self.run(now)
