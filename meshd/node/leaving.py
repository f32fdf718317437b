"""Leaving for good: what this node says when it goes, and what follows when another one went.

`meshd down` withdraws the MEMBER record alone, and the node comes back as it was. Who leaves says
so in a DEPARTURE record as well, which holds the chain that it leaves with: from then on that
certificate is void everywhere (see `departed`), its name and its addresses are free. The record is
kept, offered and obeyed for as long as the certificate would be valid.

    leave -> DEPARTURE, no CERTIFICATE, no ROUTES -> spread -> no MEMBER -> spread -> CLOSE

Who hears the first lets no packet through any more, but keeps the session for a moment: the rest
comes by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from gossip import GossipProtocol, NodeId, Record, RecordKind
from meshd.node.certificates import parse_certificate
from meshd.node.dialogue import Dialogue
from meshd.node.errors import RemoteError
from meshd.node.handshaking import Handshakes
from meshd.node.identity import Identity
from meshd.node.issuing import Issuer
from meshd.node.outputs import PeerChanged, PersistInvitation, PersistLedger, PersistRecords
from meshd.node.peer import Peer
from meshd.node.records import decode_chain, encode_chain
from meshd.node.state import NodeState

SPREADING = 3.0
"""Seconds at most in which a departure is spread before the MEMBER record is withdrawn, which makes
those who hear it hang up."""
EXPIRY_INTERVAL = 3600.0
"""Seconds between two looks for departures that have lost their meaning."""
HANGING_UP = 10.0
"""Seconds for which a session with a node that departed may wait for its farewell."""


class Leaving:
    """Publishes our departure, and follows others'. Changes peers, the ledger and invitations."""

    def __init__(
        self,
        state: NodeState,
        gossip: GossipProtocol,
        dialogue: Dialogue,
        handshakes: Handshakes,
    ) -> None:
        self._state = state
        self._gossip = gossip
        self._dialogue = dialogue
        self._handshakes = handshakes
        self._spreading: float | None = None
        """Until when our own departure is being spread."""
        self.began = False
        """Whether this node leaves: it says nothing else of itself any more."""
        self._expired_at = -1e9
        self._closing: dict[NodeId, float] = {}
        """Nodes that departed, whose sessions end then at the latest."""

    def leave(self, now: float) -> bool:
        """Tell the mesh that this node goes for good, from now until `told`.

        False when the certificate is too large for a record, so that only an issuer's revocation
        can make it void.
        """
        gossip = self._gossip
        chain = encode_chain(self._state.identity.chain)
        if chain is not None:
            gossip.publish(RecordKind.DEPARTURE, chain, now)
        gossip.withdraw(RecordKind.ROUTES, now)
        gossip.withdraw(RecordKind.CERTIFICATE, now)
        self._spreading = now + SPREADING
        self.began = True
        return chain is not None

    @property
    def told(self) -> bool:
        """Whether this node has left, and gossip has no more to say."""
        gone = self._gossip.record(self._state.identity.id, RecordKind.MEMBER)
        return gone is not None and gone.withdrawn and self._gossip.next_wakeup() is None

    @property
    def next_at(self) -> float:
        """When `run` has something to do of its own; infinite when nothing."""
        due = [self._spreading] if self._spreading is not None else []
        return min([*due, *self._closing.values()], default=float("inf"))

    def run(self, now: float) -> None:
        """What is due: our farewell once the departure is spread; the end of others' sessions.
        Called at gossip's deadlines, too: one of them is the round after which all is told."""
        if self._spreading is not None and (
            now >= self._spreading or not any(self._gossip.statistics().queued)
        ):
            self._spreading = None
            self._gossip.leave(now)
        for node, due in list(self._closing.items()):
            if now >= due:
                del self._closing[node]
                self._close(self._state.peers.get(node), now)
        if now - self._expired_at >= EXPIRY_INTERVAL:
            self._expired_at = now
            self._expire(self._state.unix_time(now))

    def _expire(self, unix_time: float) -> None:
        """Certificates that ended by themselves need no departure any more."""
        for node in self._state.identity.trust.departed.expire(unix_time):
            self._gossip.discard(node, RecordKind.DEPARTURE)
            self._state.outputs.append(PersistRecords())

    def departed(self, node: NodeId, now: float) -> None:
        """Gossip brought a departure, or the end of a membership: act, if its certificate is
        void by a departure."""
        last = self._state.identity.trust.departed.last(node)
        if last is None:
            return
        peer = self._state.peers.get(node)
        if peer is None and self._gossip.record(node, RecordKind.MEMBER) is not None:
            peer = self._state.peers[node] = Peer(node, self._state.rng)
        if peer is not None:
            if peer.certificate is None:
                peer.certify(last, (last.der,))
            self._part(peer, now)
        issuer = self._state.identity.issuer
        issued = issuer.ledger.get(node) if issuer is not None else None
        if issuer is not None and issued is not None and issued.not_after <= last.not_after:
            self._release(issuer, node)

    def _part(self, peer: Peer, now: float) -> None:
        """Nothing goes to it any more, unless it has been admitted again."""
        if not self._is_gone(peer):
            return
        self._state.drops["unreachable"] += len(peer.take_packets())
        peer.waiting.clear()
        record = self._gossip.record(peer.id, RecordKind.MEMBER)
        if record is not None and record.withdrawn:
            self._close(peer, now)
        else:
            self._closing.setdefault(peer.id, now + HANGING_UP)
        if peer.state != "left":
            peer.state = "left"
            self._state.outputs.append(PeerChanged(peer.id, peer.name, "left"))

    def _close(self, peer: Peer | None, now: float) -> None:
        if peer is not None and self._is_gone(peer):
            self._dialogue.closed(peer, now)

    def _is_gone(self, peer: Peer) -> bool:
        departed = self._state.identity.trust.departed
        return peer.certificate is not None and departed.covers(peer.certificate)

    def _release(self, issuer: Issuer, node: NodeId) -> None:
        """We admitted it: name and address are free, and the invitation that it used is void.

        Those of an issuer stay reserved: its CA stands, so a person must be able to name it.
        """
        issued = issuer.ledger.get(node)
        if issued is not None and not issued.own_issuer:
            issuer.ledger.release(node)
            self._state.outputs.append(PersistLedger())
        for invitation in list(self._handshakes.invitations.values()):
            if invitation.used_by == node:
                del self._handshakes.invitations[invitation.locator]
                self._state.outputs.append(PersistInvitation(replace(invitation, expiry=0)))


def has_left(identity: Identity, records: Iterable[Record]) -> bool:
    """Whether `records`, as a node keeps them, say that it left with the certificate it has."""
    for record in records:
        if record.kind == RecordKind.DEPARTURE and record.subject == identity.id:
            with suppress(RemoteError):
                last = parse_certificate(decode_chain(record.body)[0])
                return identity.certificate.not_before <= last.not_before
    return False
