"""From gossip to peers: who is there, what they offer, and where this node says it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gossip import (
    Equivocated,
    GossipProtocol,
    LookupDone,
    MemberDown,
    MemberForgotten,
    MemberLeft,
    MemberSuspected,
    MemberUp,
    NodeId,
    Record,
    RecordChanged,
    RecordKind,
    SendMessage,
    SequenceChanged,
)
from meshd.node import control
from meshd.node.authority import MeshAuthority
from meshd.node.certificates import Certificate
from meshd.node.dialogue import Dialogue
from meshd.node.errors import RemoteError
from meshd.node.handshaking import Handshakes
from meshd.node.holding import keys_of, settle
from meshd.node.inquiry import Inquiry
from meshd.node.leaving import Leaving
from meshd.node.outputs import (
    AddressesChanged,
    PeerChanged,
    PersistRecords,
    PersistSequence,
    PersistTrust,
    RoutesChanged,
    Warned,
)
from meshd.node.peer import Key, Peer
from meshd.node.places import Places
from meshd.node.records import (
    CAPACITY_SHIFT,
    NATED,
    RELAYS,
    STREAMS,
    NodeRecord,
    decode_node_record,
    decode_routes,
    encode_chain,
    encode_routes,
)
from meshd.node.relay import capacity_class
from meshd.node.seeking import Seeking
from meshd.node.state import NodeState, OverlayTable
from meshd.node.ways import direct_candidates, is_nated

CHOOSE_INTERVAL = 5.0
"""Seconds between two looks at who is the quickest to offer a prefix."""
PUBLISH_INTERVAL, PUBLISH_BURST = 5.0, 3.0
"""Seconds between two node records of ours in the long run, and how many may come at once: what a
node learns of itself right after its start is what lets others reach it."""
TWIN = (
    "another machine uses this node's key, or this node's state was set back: if the disk was "
    "copied, remove the key from the copy and let it join anew; if the key was stolen, revoke it"
)
DOUBTS_TOLD_AGAIN = 60.0
"""Seconds between two lines of the log about one node that says two things at once."""
PROOFS = (RecordKind.CERTIFICATE, RecordKind.DEPARTURE)
"""Records that show that their subject is, or was, a member: read first."""
MAX_TURNS = 64
"""Rounds of gossip's outputs per input: a bound, never reached in peace."""


class Membership:
    """Carries gossip's messages and follows its events. Changes peers and the overlay table."""

    def __init__(
        self,
        state: NodeState,
        gossip: GossipProtocol,
        authority: MeshAuthority,
        table: OverlayTable,
        dialogue: Dialogue,
        handshakes: Handshakes,
        now: float,
    ) -> None:
        self._state = state
        self._gossip = gossip
        self._authority = authority
        self._table = table
        self._dialogue = dialogue
        self.seeking = Seeking(state, gossip, authority, handshakes, now)
        self._inquiry = Inquiry(gossip, authority, handshakes)
        self.seeking.needs = self._needs
        self.seeking.refresh = self._inquiry.refresh
        self.places = Places(state, handshakes)
        self.leaving = Leaving(state, gossip, dialogue, handshakes)
        dialogue.telling = authority.hear
        dialogue.ways_changed = table.choose
        self._choose_at = now
        self._told_flags = -1
        self._allowance, self._allowed_at = PUBLISH_BURST, now
        self._routes: dict[NodeId, tuple[str, ...]] = {}
        self._stale = False
        """Whether something changed that `rebuild` should see, once for all that came together."""
        self._own_keys = keys_of(state.identity.certificate)
        self.addresses_changed: Callable[[frozenset[Key]], None] = lambda keys: None
        """Who lets packets to our addresses in."""
        self.revocations_changed: Callable[[Record, float], None] = lambda record, now: None
        """Who looks at records on revocation, our own too."""

    def start(self, records: Sequence[Record], now: float) -> None:
        """Take up what was persisted, publish ourselves, and join through whoever is known."""
        ordered = sorted(records, key=lambda record: record.kind not in PROOFS)
        self._gossip.restore(ordered, now)
        chain = encode_chain(self._state.identity.chain)
        if chain is not None:
            self._gossip.publish(RecordKind.CERTIFICATE, chain, now)
        if self._state.config.routes:
            offered = [p for p in self._state.config.routes if self._grants(p)]
            self._gossip.publish(RecordKind.ROUTES, encode_routes(offered), now)
        self.publish(now)
        self.seeking.announce(now)
        own = self._state.identity.id
        seeds = [r.subject for r in ordered if r.kind == RecordKind.MEMBER and r.subject != own]
        if seeds:
            self._gossip.join(seeds, now)
        self.drain(now)

    def _grants(self, prefix: str) -> bool:
        return self._authority.grants(self._state.identity.id, prefix)

    def run(self, now: float) -> None:
        """What is due, of leaving and of seeking."""
        self.leaving.run(now)
        self.seeking.seek(now)
        self._inquiry.run(now)
        if now >= self._choose_at:  # round trips change by and by
            self._choose_at = now + CHOOSE_INTERVAL
            self._table.choose()
        if self.seeking.expire(now):
            self.rebuild()

    def _needs(self, node: NodeId) -> bool:
        """Whether a node that is no member is to be kept as a peer: packets go by the routes that
        it offers, or it says that it is an issuer."""
        if node not in self._authority.certificates:
            return False
        listed = self._gossip.record(node, RecordKind.REVOCATIONS)
        return bool(self._routes.get(node)) or (listed is not None and not listed.withdrawn)

    # Ourselves

    def publish(self, now: float) -> None:
        """Sign and spread our node record, when our endpoints have changed."""
        state = self._state
        endpoints = self.places.own(now)
        since, self._allowed_at = now - self._allowed_at, now
        self._allowance = min(PUBLISH_BURST, self._allowance + since / PUBLISH_INTERVAL)
        config = state.config
        flags = RELAYS * config.relays | STREAMS * config.accepts_streams
        flags |= NATED * is_nated(state, endpoints)
        flags |= config.relays * capacity_class(config.relay_capacity) << CAPACITY_SHIFT
        known = (endpoints, flags) == (state.told_endpoints, self._told_flags)
        if known or self._allowance < 1 or self.leaving.began:
            return
        state.told_endpoints, self._told_flags = endpoints, flags
        self._allowance -= 1
        record = NodeRecord(state.identity.static_public, endpoints, flags)
        self._gossip.publish(RecordKind.MEMBER, record.encode(), now)

    # The others

    def drain(self, now: float) -> None:
        """Act on gossip's outputs, and on what comes of that."""
        certified, self._state.certified = self._state.certified, []
        for peer in certified:
            self._certified(peer, now)
        for _ in range(MAX_TURNS):
            outputs = self._gossip.drain()
            if not outputs and not self._stale:
                return
            if self._stale:
                self.rebuild()
            for output in outputs:
                match output:
                    case SendMessage(to, payload):
                        self._carry(to, payload, now)
                    case RecordChanged(record):
                        self._record_changed(record, now)
                    case Equivocated(node, kind, _):
                        self._equivocated(node, kind, now)
                    case SequenceChanged(sequence):
                        self._state.outputs.append(PersistSequence(sequence))
                    case MemberUp(node):
                        self._member(node, "alive", now)
                    case MemberSuspected(node):
                        self._member(node, "suspect", now)
                    case MemberDown(node):
                        self._member(node, "dead", now)
                    case MemberLeft(node):
                        self._member(node, "left", now)
                    case MemberForgotten(node):
                        self._forget(node, now)
                    case LookupDone():
                        self._looked_up(output, now)

    def _looked_up(self, output: LookupDone, now: float) -> None:
        peer = self.seeking.done(output, now)
        if peer is not None:
            if peer.certificate is not None:
                self._admitted(peer, now)
            self._dialogue.touched = True
        self._inquiry.ended(output.key, peer, now)

    def _carry(self, to: NodeId, payload: bytes, now: float) -> None:
        peer = self._state.peers.get(to)
        if peer is None or peer.certificate is None:
            peer = self.seeking.contact(to, now)
        elif self._state.identity.trust.is_void(peer.certificate):
            peer = None
        if peer is not None:
            self._dialogue.send(peer, control.Gossip(payload), now)

    def _member(self, node: NodeId, state: str, now: float) -> None:
        peer = self._state.peers.get(node)
        departed = self._state.identity.trust.departed
        if peer is not None and peer.certificate is not None and departed.covers(peer.certificate):
            state = "left"
        if peer is None or peer.state == state:
            return
        changes = {peer.state, state}
        came_or_went = "left" in changes or ("dead" in changes and node in self._routes)
        peer.state = state
        self._state.outputs.append(PeerChanged(node, peer.name, state))
        if state == "left":
            self._dialogue.closed(peer, now)
        if came_or_went:
            self.rebuild()
        self._dialogue.touched = True

    def _forget(self, node: NodeId, now: float) -> None:
        """Gossip keeps nothing of it any more: nor do we, unless it is in a session right now."""
        peer = self._state.peers.get(node)
        if peer is None or peer.ready(now):
            return
        self._dialogue.closed(peer, now)
        del self._state.peers[node]
        self._routes.pop(node, None)
        self._authority.forget(node)
        self.rebuild()
        self._state.outputs.append(PersistRecords())

    def _record_changed(self, record: Record, now: float) -> None:
        if record.kind == RecordKind.REVOCATIONS:
            self.revocations_changed(record, now)
            self._state.outputs.append(PersistRecords())
            return
        if record.subject == self._state.identity.id:
            return
        if record.kind == RecordKind.DEPARTURE:
            self.leaving.departed(record.subject, now)
            self.rebuild()
            self._state.outputs.append(PersistRecords())
            return
        peer = self._state.peers.get(record.subject)
        if peer is None:
            peer = self._state.peers[record.subject] = Peer(record.subject, self._state.rng)
        if record.kind == RecordKind.MEMBER and peer.record is None:
            member = self._gossip.member(record.subject)
            peer.state = member.state.value if member is not None else peer.state
        try:
            if record.kind == RecordKind.CERTIFICATE and not record.withdrawn:
                self._certificate_changed(peer, now)
            elif record.kind == RecordKind.MEMBER and not record.withdrawn:
                self._node_record_changed(peer, decode_node_record(record.body), now)
            elif record.kind == RecordKind.MEMBER:
                self.leaving.departed(record.subject, now)
            elif record.kind == RecordKind.ROUTES:
                prefixes = () if record.withdrawn else decode_routes(record.body)
                self._routes[record.subject] = prefixes
                self._stale = True
        except RemoteError as error:
            self._state.drops[error.reason] += 1
        self._state.outputs.append(PersistRecords())

    def _equivocated(self, node: NodeId, kind: int, now: float) -> None:
        """Two records of one sequence: what they say is not used until there is a newer one."""
        state = self._state
        if node == state.identity.id:
            if "twin" not in state.notices:
                state.outputs.append(Warned(TWIN))
            state.notices["twin"] = TWIN
            return
        peer = state.peers.get(node)
        if peer is not None and now - peer.doubted_at >= DOUBTS_TOLD_AGAIN:
            peer.doubted_at = now
            state.outputs.append(PeerChanged(node, peer.name, "contradicts itself"))
        if kind == RecordKind.ROUTES:
            self.rebuild()

    def _certificate_changed(self, peer: Peer, now: float) -> None:
        """Gossip brought a certificate."""
        known = self._authority.certificates.get(peer.id)
        if known is not None:
            peer.certify(*known)
            self._admitted(peer, now)

    def _certified(self, peer: Peer, now: float) -> None:
        """A handshake brought a certificate."""
        if peer.certificate is not None:
            self._authority.learn(peer.certificate, peer.chain)
            self._admitted(peer, now)

    def _admitted(self, peer: Peer, now: float) -> None:
        """A certificate that was verified is in force, and its issuer known from now on."""
        for der in peer.chain[1:]:
            try:
                if self._state.identity.trust.add_issuer(der):
                    self._state.outputs.append(PersistTrust())
            except RemoteError as error:  # the chain holds without it
                self._state.drops[error.reason] += 1
        self.rebuild()
        for record in self._authority.waiting(peer.id):
            self._gossip.accept(record, now)

    def _node_record_changed(self, peer: Peer, record: NodeRecord, now: float) -> None:
        moved = peer.record is None or peer.record.endpoints != record.endpoints
        if peer.record is not None and peer.record.static_public != record.static_public:
            self._dialogue.closed(peer, now)
        peer.record = record
        if moved and peer.current is not None:
            peer.paths.consider(direct_candidates(self._state, peer), now)
        self._dialogue.touched = True

    def rebuild(self) -> None:
        """Routes follow from certificates and records; the kernel's follow from ours."""
        self._stale = False
        peers = self._state.peers
        offered = [
            (prefix, peers[node])
            for node, prefixes in sorted(self._routes.items(), reverse=True)
            for prefix in prefixes
            if node in peers
            and peers[node].state != "left"
            and not self._gossip.quarantined(node, RecordKind.ROUTES)
            and self._authority.grants(node, prefix)
        ]
        own = self._state.identity.certificate
        self._own_addresses(own)
        self._state.lost = settle(own, self._state.holders(), peers.values())
        self._dialogue.touched = self._dialogue.touched or bool(self._state.lost)
        self._table.rebuild(self._state.holders(), offered)
        prefixes = tuple(dict.fromkeys(prefix for prefix, _ in offered))
        self._state.outputs.append(RoutesChanged(prefixes))

    def _own_addresses(self, own: Certificate) -> None:
        keys = keys_of(own)
        if keys != self._own_keys:
            self._own_keys = keys
            self.addresses_changed(keys)
            self._state.outputs.append(AddressesChanged(tuple(map(str, own.addresses))))

    def routes(self) -> list[tuple[str, NodeId]]:
        """Every prefix on offer, and who offers it."""
        return [
            (prefix, node)
            for node, prefixes in sorted(self._routes.items())
            for prefix in prefixes
            if self._authority.grants(node, prefix)
            and not self._gossip.quarantined(node, RecordKind.ROUTES)
        ]
