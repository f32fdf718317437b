"""What gossip asks of us: signatures, and whose records to believe.

A node's records are admitted once its certificate is: a stranger's key can sign anything. A node
record that comes before its certificate is kept aside, within bounds, until that comes.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature

from gossip import NodeId, Record, RecordKind
from meshd.node.addresses import lookup_key, node_id
from meshd.node.certificates import Certificate, TrustError, load_public_key
from meshd.node.errors import RemoteError
from meshd.node.identity import Identity
from meshd.node.pending import Pending
from meshd.node.records import (
    ListNote,
    decode_chain,
    decode_node_record,
    decode_revocations,
    decode_routes,
    holder_statement,
)
from meshd.node.revocation import RevocationList

MAX_ASIDE = 256
"""Records that wait for their certificate."""
MAX_HOLDERS = 4
"""Publishers of lists without a certificate, for each CA: one, unless its key was copied."""


class MeshAuthority:
    """Implements `gossip.Authority` with the mesh's certificates."""

    def __init__(self, identity: Identity, unix_time: float) -> None:
        self._identity = identity
        self.unix_time = unix_time
        """Seconds since 1970; the node keeps it up to date."""
        self.certificates: dict[NodeId, tuple[Certificate, tuple[bytes, ...]]] = {
            identity.id: (identity.certificate, identity.chain)
        }
        """Verified certificates and their chains."""
        self._teller = identity.id
        self._aside = Pending(MAX_ASIDE)
        self._holders: dict[bytes, dict[NodeId, bool]] = {}
        """CA -> who proved to hold it; few, since only the root makes CAs."""

    @property
    def domain(self) -> bytes:
        """The mesh id."""
        return self._identity.mesh.mesh_id

    def hear(self, node: NodeId) -> None:
        """The records to judge come from `node` now: it has its share of the room to wait in."""
        self._teller = node

    def sign(self, message: bytes) -> bytes:
        """Ed25519 by the node's key."""
        return self._identity.node_key.sign(message)

    def verify(self, key: bytes, subject: NodeId, message: bytes, signature: bytes) -> bool:
        """Ed25519 by `key`, which must hash to `subject`."""
        if node_id(key) != subject:
            return False
        try:
            load_public_key(key).verify(signature, message)
        except (InvalidSignature, RemoteError):
            return False
        return True

    def admits(self, record: Record) -> bool:
        """Whether the record's subject is a member and the record says something we can read."""
        trust, subject = self._identity.trust, record.subject
        if record.kind == RecordKind.DEPARTURE:
            return not record.withdrawn and self._admit_departure(record)
        if record.kind == RecordKind.REVOCATIONS:
            return not record.withdrawn and self._admit_revocations(record)
        if record.kind == RecordKind.CERTIFICATE and not record.withdrawn:
            return self._admit_chain(record)
        if subject not in self.certificates:
            if trust.names(subject):
                return False
            if record.kind == RecordKind.CERTIFICATE:
                return True
            if record.withdrawn and trust.departed.last(subject) is not None:
                return True
            self._set_aside(record)
            return False
        if record.withdrawn:
            return True
        try:
            if record.kind == RecordKind.MEMBER:
                decode_node_record(record.body)
            elif record.kind == RecordKind.ROUTES:
                return all(self.grants(record.subject, p) for p in decode_routes(record.body))
        except RemoteError:
            return False
        return True

    def _admit_chain(self, record: Record) -> bool:
        try:
            chain = decode_chain(record.body)
            certificate = self._identity.trust.verify(chain[0], chain[1:], self.unix_time)
        except RemoteError:
            return False
        if certificate.node != record.subject:
            return False
        known = self.certificates.get(record.subject)
        if known is not None and known[0].not_before > certificate.not_before:
            return False  # what an older certificate granted is over
        self.certificates[record.subject] = (certificate, chain)
        return True

    def _admit_departure(self, record: Record) -> bool:
        """The record holds the chain that its subject left with: proof that it was a member."""
        try:
            chain = decode_chain(record.body)
            trust = self._identity.trust
            certificate = trust.verify_issued(chain[0], chain[1:], self.unix_time)
        except RemoteError as error:
            if error.reason == "certificate-foreign":
                self._set_aside(record)
            return False
        if certificate.node != record.subject:
            return False
        trust.departed.add(certificate)
        if not trust.departed.covers(certificate):
            return False  # no room: it comes again when there is some
        known = self.certificates.get(record.subject)
        if known is not None and trust.departed.covers(known[0]):
            del self.certificates[record.subject]
        return True

    def _admit_revocations(self, record: Record) -> bool:
        """An issuer says what it revoked. It is believed by its certificate, or, so that lists last
        when that is gone or never came, by the word of the CA it speaks for. That lists are public
        and good proves nothing of who hands them on."""
        try:
            notes = decode_revocations(record.body)
            shown = [self._listed(note) for note in notes]
            proven = self._proven(notes[0], shown[0][1], record.subject)
        except RemoteError:
            return False
        for note, (listed, _) in zip(notes, shown, strict=True):
            told = note.authority, note.number, note.digest
            if listed and told != (listed.authority, listed.number, listed.digest):
                return False
        known = self.certificates.get(record.subject)
        if known is not None and "issuer" in known[0].roles:
            return True
        if proven:
            holders = self._holders.setdefault(notes[0].authority, {})
            if record.subject in holders or len(holders) < MAX_HOLDERS:
                holders[record.subject] = True
                return True
        elif known is None and not self._identity.trust.names(record.subject):
            self._set_aside(record)
        return False

    def _proven(self, note: ListNote, ca: Certificate | None, subject: NodeId) -> bool:
        """Whether `note` has the word of its CA, known or just shown, that `subject` holds it.
        Raises TrustError if it has a false one."""
        ca = self._identity.trust.authority(note.authority) or ca
        if ca is None or ca.node != note.authority or not note.proof:
            return False
        statement = holder_statement(self.domain, subject)
        try:
            load_public_key(ca.public_key).verify(note.proof, statement)
        except InvalidSignature:
            raise TrustError("list-signature", "not by its CA") from None
        return True

    def _listed(self, note: ListNote) -> tuple[RevocationList | None, Certificate | None]:
        """The list that a record holds, and its CA's certificate if that is new; None where it does
        not, or not its CA's certificate, which we lack. Raises TrustError."""
        if note.shown is None:
            return None, None
        try:
            return self._identity.trust.read_shown(note.shown)
        except TrustError as error:
            if error.reason == "list-foreign":
                return None, None
            raise

    def learn(self, certificate: Certificate, chain: tuple[bytes, ...]) -> None:
        """Take a verified certificate that came by another way, unless a newer one is known."""
        known = self.certificates.get(certificate.node)
        if known is None or known[0].not_before < certificate.not_before:
            self.certificates[certificate.node] = (certificate, chain)

    def adopt(self, identity: Identity) -> None:
        """This node has a new certificate."""
        self._identity = identity
        self.certificates[identity.id] = (identity.certificate, identity.chain)

    def forget(self, node: NodeId) -> None:
        """Drop what is known of a node that was gone for long; its certificate may come again."""
        self.certificates.pop(node, None)

    def _set_aside(self, record: Record) -> None:
        self._aside.put(record, self._teller)

    def unknown(self) -> list[NodeId]:
        """Subjects whose certificate is lacking, one of each teller in turn: their records wait for
        it; or they hold a CA, and may be issuers."""
        names = self._identity.trust.names
        waiting = self._aside.subjects(lambda record: record.kind != RecordKind.DEPARTURE)
        holders = (node for found in self._holders.values() for node in found)
        proven = (node for node in holders if node not in self.certificates)
        return [node for node in dict.fromkeys((*proven, *waiting)) if not names(node)]

    def awaiting_ca(self) -> list[Record]:
        """Take the records that a CA which was not known may prove: departures of those it
        admitted, and its holder's lists."""
        return self._aside.take(
            lambda record: record.kind in (RecordKind.DEPARTURE, RecordKind.REVOCATIONS)
        )

    def waiting(self, subject: NodeId) -> list[Record]:
        """Take the records of `subject` that came before its certificate."""
        return self._aside.take(lambda record: record.subject == subject)

    def keys(self, record: Record) -> tuple[bytes, ...]:
        """The name and the addresses of a certificate that is trusted now; nothing is kept."""
        try:
            chain = decode_chain(record.body)
            certificate = self._identity.trust.verify(chain[0], chain[1:], self.unix_time)
        except RemoteError:
            return ()
        if certificate.node != record.subject:
            return ()
        return tuple(lookup_key(owned) for owned in (certificate.name, *certificate.addresses))

    def grants(self, node: NodeId, prefix: str) -> bool:
        """Whether `node`'s certificate grants the route `prefix`."""
        known = self.certificates.get(node)
        return known is not None and self._identity.trust.grants(known[0], prefix)
