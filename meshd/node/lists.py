"""Revocation lists in a mesh: they come in, are put in force, and are handed on.

An issuer publishes a REVOCATIONS record: of each list its number, its digest, and the list itself
where it fits. A larger one is asked for in a session, piece by piece, of the publisher or of any
other peer. The number decides: the highest one stands, whoever brings it and in whatever order.

    taken in -> on disk -> the sessions, routes, channels and records of whom it revokes end

Every list is signed by its CA, so it matters little who hands it on; only an issuer's record can
make us ask for one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gossip import GossipProtocol, NodeId, Record, RecordKind
from meshd.node.authority import MeshAuthority
from meshd.node.certificates import (
    MAX_CERTIFICATE,
    Certificate,
    TrustError,
    parse_certificate,
)
from meshd.node.control import Close, Control, RevocationPiece, RevocationRequest
from meshd.node.dialogue import Dialogue
from meshd.node.errors import RemoteError
from meshd.node.outputs import (
    PeerChanged,
    PersistRecords,
    PersistRevocations,
    PersistTrust,
    Warned,
)
from meshd.node.peer import Peer
from meshd.node.records import NO_LIST, ListNote, decode_revocations, encode_revocations
from meshd.node.relay import Relay
from meshd.node.revocation import MAX_LIST, RevocationList, split_shown
from meshd.node.state import NodeState

PIECE_SIZE = 16_384
"""Bytes of a list in one control message."""
MAX_FETCHES = 64
"""Lists that are asked for at a time."""
FETCH_AGAIN, FETCH_AGAIN_MAX = 2.0, 60.0
"""Seconds until a list is asked for again, of another peer: doubles from one to the other."""
QUICK_TRIES = 4
"""Peers that may lack it before the pause grows: news of a list can be ahead of the list."""

MAX_SHOWN = 256
"""Revoked nodes that are remembered by name."""

REVOKED = "its certificate was revoked"


@dataclass(slots=True)
class Fetch:
    """A list that is known by its number and is asked for."""

    number: int
    publisher: NodeId
    next_at: float
    tries: int = 0
    source: NodeId | None = None
    size: int = 0
    answered: int = 0
    """The number of the list that is coming."""
    got: bytearray = field(default_factory=bytearray)


class Lists:
    """The revocation lists of this node. Changes trust, peers, gossip's members and outputs.

    `rebuild` makes routes and addresses follow from what is trusted.
    """

    def __init__(
        self,
        state: NodeState,
        gossip: GossipProtocol,
        authority: MeshAuthority,
        dialogue: Dialogue,
        relay: Relay,
        rebuild: Callable[[], None],
    ) -> None:
        self._state = state
        self._gossip = gossip
        self._authority = authority
        self._dialogue = dialogue
        self._relay = relay
        self._rebuild = rebuild
        self._fetches: dict[tuple[bytes, NodeId], Fetch] = {}
        self._issuers_seen = 0
        self._expelled: dict[NodeId, Certificate] = {}
        """By which certificate; the latest of them are shown in `status` until the next start."""
        self.revoked = state.identity.trust.is_revoked(state.identity.certificate)
        """Whether this node's own certificate was revoked."""
        dialogue.farewell = self._farewell
        dialogue.handlers[RevocationRequest] = self._requested
        dialogue.handlers[RevocationPiece] = self._arrived

    def publish(self, now: float) -> None:
        """Tell the mesh what this issuer's CA has revoked, and the root's list beside it."""
        identity = self._state.identity
        if identity.issuer is None:
            return
        own = identity.issuer.certificate.node
        notes = [
            self._note(authority)
            for authority in (own, identity.trust.mesh_id)
            if authority == own or identity.trust.list_of(authority) is not None
        ]
        self._gossip.publish(RecordKind.REVOCATIONS, encode_revocations(notes), now)

    def _note(self, authority: bytes) -> ListNote:
        listed = self._state.identity.trust.list_of(authority)
        identity, proof = self._state.identity, b""
        if identity.issuer is not None and identity.issuer.certificate.node == authority:
            proof = identity.issuer.prove_holder(identity.mesh.mesh_id, identity.id)
        if listed is None:
            return ListNote(authority, 0, NO_LIST, None, proof)
        shown = identity.trust.show(listed)
        return ListNote(authority, listed.number, listed.digest, shown, proof)

    def put_in_force(self, listed: RevocationList, now: float) -> None:
        """A list of our own making, which is on disk: obey it, and tell the mesh."""
        if self._state.identity.trust.add_crl(listed.der):
            self._enforce(now)
        self.publish(now)

    # Taking in

    def record_changed(self, record: Record, now: float) -> None:
        """Gossip brought a REVOCATIONS record, which was admitted."""
        own = record.subject == self._state.identity.id
        try:
            notes = decode_revocations(record.body)
        except RemoteError:
            return
        taken = False
        for note in notes:
            if note.number <= self._number(note.authority):
                continue
            lacking = note.shown is None or self._lacks_authority(note)
            if not lacking and self._take(note.shown or b"", now):
                taken = True
            elif lacking and not own and len(self._fetches) < MAX_FETCHES:
                known = self._fetches.get((note.authority, record.subject))
                if known is None or known.number < note.number:
                    key = note.authority, record.subject
                    self._fetches[key] = Fetch(note.number, record.subject, now)
        if taken and own:
            self.publish(now)  # from an earlier life, whose state was lost
        self.run(now)

    def holders(self, authority: bytes) -> list[str]:
        """The names of the members that say they hold the CA with this key identifier."""
        names = []
        for peer in self._state.holders():
            record = self._gossip.record(peer.id, RecordKind.REVOCATIONS)
            if record is not None and not record.withdrawn:
                notes = decode_revocations(record.body)  # it was admitted
                if notes[0].authority == authority:
                    names.append(peer.name)
        return sorted(names)

    def _number(self, authority: bytes) -> int:
        listed = self._state.identity.trust.list_of(authority)
        return listed.number if listed is not None else 0

    def _lacks_authority(self, note: ListNote) -> bool:
        """Whether its CA's certificate is neither known nor there."""
        alone = note.shown is not None and split_shown(note.shown)[1] == b""
        return alone and not self._state.identity.trust.knows(note.authority)

    def _take(self, shown: bytes, now: float) -> bool:
        """Put a list in force that somebody handed on; False, counted, when it is no good."""
        trust = self._state.identity.trust
        try:
            listed, issuer = trust.read_shown(shown)
            if issuer is not None and trust.add_issuer(issuer.der):
                self._state.outputs.append(PersistTrust())
            if trust.add_crl(listed.der):
                self._state.outputs.append(PersistRevocations())
                self._enforce(now)
        except TrustError as error:
            self._state.drops[error.reason] += 1
            return False
        return True

    # Fetching

    def run(self, now: float) -> None:
        """Ask for what is missing. Cheap when nothing is."""
        issuers = len(self._state.identity.trust.issuers)
        if issuers != self._issuers_seen:
            self._issuers_seen = issuers
            self._look_again(now)
        for key, fetch in list(self._fetches.items()):
            if self._number(key[0]) >= fetch.number:
                del self._fetches[key]
            elif fetch.next_at <= now:
                self._ask(key[0], fetch, now)

    def _look_again(self, now: float) -> None:
        """A CA became known: its holder's record, or a farewell of those it admitted, may have
        come before it."""
        for record in self._authority.awaiting_ca():
            self._gossip.accept(record, now)
        for record in self._gossip.records():
            if record.kind == RecordKind.REVOCATIONS and not record.withdrawn:
                self.record_changed(record, now)

    def _ask(self, authority: bytes, fetch: Fetch, now: float) -> None:
        pause = min(FETCH_AGAIN_MAX, FETCH_AGAIN * 2.0 ** min(fetch.tries, 8))
        fetch.next_at = now + pause * self._state.rng.uniform(1.0, 1.25)
        source = self._source(fetch, now)
        fetch.got.clear()
        if source is None:
            return
        fetch.tries += 1
        fetch.source = source.id
        self._dialogue.send(source, RevocationRequest(authority, fetch.number), now)

    def _source(self, fetch: Fetch, now: float) -> Peer | None:
        """The publisher first, then others in turn: they heard of it as we did."""
        publisher = self._state.peers.get(fetch.publisher)
        if not fetch.tries and publisher is not None and publisher.ready(now):
            return publisher
        ready = [peer for peer in self._state.holders() if peer.ready(now)]
        if ready:
            return self._state.rng.choice(ready)
        trust = self._state.identity.trust
        if publisher is None or publisher.certificate is None:
            return None
        return None if trust.is_void(publisher.certificate) else publisher

    def _requested(self, peer: Peer, message: Control, now: float) -> None:
        assert isinstance(message, RevocationRequest)
        authority, offset = message.authority, message.offset
        trust = self._state.identity.trust
        listed = trust.list_of(authority)
        shown = trust.show(listed) if listed is not None else b""
        if listed is None or listed.number < message.number or offset >= len(shown):
            answer = RevocationPiece(authority, 0, 0, 0, b"")
        else:
            answer = _piece(listed, shown, offset)
        self._dialogue.send(peer, answer, now)

    def _arrived(self, peer: Peer, message: Control, now: float) -> None:
        assert isinstance(message, RevocationPiece)
        authority, number = message.authority, message.number
        sent = [
            fetch
            for key, fetch in self._fetches.items()
            if key[0] == authority and fetch.source == peer.id
        ]
        if not message.size:
            for fetch in (item for item in sent if item.tries <= QUICK_TRIES):
                fetch.next_at = min(fetch.next_at, now + FETCH_AGAIN)
        elif number <= self._number(authority):
            pass
        elif len(message.piece) == message.size:
            self._take(message.piece, now)  # told unasked to whom it concerns
        elif sent and _is_full(message) and message.size <= MAX_LIST + MAX_CERTIFICATE:
            self._collect(peer, sent[0], message, now)
        else:
            raise RemoteError("control")
        self.run(now)

    def _collect(self, peer: Peer, fetch: Fetch, piece: RevocationPiece, now: float) -> None:
        if piece.offset == 0:
            fetch.got.clear()
            fetch.size, fetch.answered = piece.size, piece.number
        if (piece.offset, piece.size, piece.number) != (
            len(fetch.got),
            fetch.size,
            fetch.answered,
        ):
            return  # a piece of another list, or a second time: the next try begins anew
        fetch.got += piece.piece
        fetch.next_at = now + FETCH_AGAIN
        if len(fetch.got) < fetch.size:
            request = RevocationRequest(piece.authority, fetch.answered, len(fetch.got))
            self._dialogue.send(peer, request, now)
            return
        whole = bytes(fetch.got)
        fetch.got.clear()
        self._take(whole, now)

    # Taking effect

    def _enforce(self, now: float) -> None:
        """A list came into force: end what it ends."""
        state, trust = self._state, self._state.identity.trust
        revoked = [
            peer
            for peer in state.peers.values()
            if peer.certificate is not None
            and self._expelled.get(peer.id) is not peer.certificate
            and trust.is_revoked(peer.certificate)
        ]
        for peer in revoked:
            self._expel(peer, now)
        for node, certificate in list(self._expelled.items()):
            if not trust.is_revoked(certificate):  # by a CA that was itself revoked since
                del self._expelled[node]
        revoked_before, self.revoked = self.revoked, trust.is_revoked(state.identity.certificate)
        if self.revoked and not revoked_before:
            self._ended(now)
        self._rebuild()

    def _expel(self, peer: Peer, now: float) -> None:
        """`peer` is no member any more. Tell it why, and close."""
        assert peer.certificate is not None
        if peer.ready(now):
            farewell = self._farewell(peer.certificate.der)
            if farewell is not None:
                self._dialogue.send(peer, farewell, now)
            self._dialogue.send(peer, Close(), now)
        self._state.drops["unreachable"] += len(peer.take_packets())
        peer.waiting.clear()
        self._dialogue.closed(peer, now)
        self._relay.drop(peer.id)
        self._authority.forget(peer.id)
        self._gossip.expel(peer.id)
        peer.state, peer.last_error = "left", REVOKED
        self._expelled[peer.id] = peer.certificate
        if len(self._expelled) > MAX_SHOWN:
            oldest = next(iter(self._expelled))
            del self._expelled[oldest]
            self._state.peers.pop(oldest, None)
        self._state.outputs += [PeerChanged(peer.id, peer.name, "revoked"), PersistRecords()]

    def _farewell(self, leaf: bytes) -> RevocationPiece | None:
        """The list that revokes a certificate, where one piece holds it."""
        trust = self._state.identity.trust
        listed = trust.list_against(parse_certificate(leaf))
        shown = trust.show(listed) if listed is not None else b""
        return None if listed is None or len(shown) > PIECE_SIZE else _piece(listed, shown, 0)

    def _ended(self, now: float) -> None:
        """It is us."""
        for peer in self._state.peers.values():
            self._dialogue.closed(peer, now)
        self._state.outputs.append(Warned(OWN))

    def notice(self) -> str | None:
        """What a person is to know."""
        return OWN if self.revoked else None


OWN = (
    "this node's certificate was revoked by an administrator of the mesh: it is no member any "
    "more, and nobody talks to it; to come back, stop it, move its certificates directory away "
    "and join with a new invitation"
)


def _is_full(piece: RevocationPiece) -> bool:
    """Whether it is as long as a piece at its place is: many short ones would delay a list."""
    return 0 < len(piece.piece) == min(PIECE_SIZE, piece.size - piece.offset)


def _piece(listed: RevocationList, shown: bytes, offset: int) -> RevocationPiece:
    piece = shown[offset : offset + PIECE_SIZE]
    return RevocationPiece(listed.authority, listed.number, len(shown), offset, piece)
