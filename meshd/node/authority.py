"""What gossip asks of us: signatures, and whose records to believe.

A node's records are admitted once its certificate is: a stranger's key can sign anything. A node
record that comes before its certificate is kept aside, within bounds, until that comes.
"""

from __future__ import annotations

from collections import OrderedDict

from cryptography.exceptions import InvalidSignature

from gossip import NodeId, Record, RecordKind
from meshd.node.addresses import lookup_key, node_id
from meshd.node.certificates import Certificate, TrustError, load_public_key
from meshd.node.errors import RemoteError
from meshd.node.identity import Identity
from meshd.node.records import (
    ListNote,
    decode_chain,
    decode_node_record,
    decode_revocations,
    decode_routes,
)
from meshd.node.revocation import RevocationList

MAX_ASIDE = 256
"""Records that wait for their certificate."""
MAX_ORPHANS = 64
"""Publishers of revocation lists that are no members (any more)."""


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
        self._aside: OrderedDict[tuple[NodeId, int], Record] = OrderedDict()
        self._orphans: dict[NodeId, bool] = {}

    @property
    def domain(self) -> bytes:
        """The mesh id."""
        return self._identity.mesh.mesh_id

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
        known = self.certificates.get(record.subject)
        if known is not None and trust.departed.covers(known[0]):
            del self.certificates[record.subject]
        return True

    def _admit_revocations(self, record: Record) -> bool:
        """An issuer says what it revoked. One that is no member (any more) is believed where its
        lists are there and good, so that they last; and of such there are few."""
        whole = 0
        try:
            notes = decode_revocations(record.body)
            for note in notes:
                listed = self._listed(note)
                whole += listed is not None
                told = note.authority, note.number, note.digest
                if listed and told != (listed.authority, listed.number, listed.digest):
                    return False
        except RemoteError:
            return False
        known = self.certificates.get(record.subject)
        if known is not None and "issuer" in known[0].roles:
            return True
        if known is not None:
            return False
        room = record.subject in self._orphans or len(self._orphans) < MAX_ORPHANS
        if whole == len(notes) and room:
            self._orphans[record.subject] = True
            return True
        if not self._identity.trust.names(record.subject):
            self._set_aside(record)
        return False

    def _listed(self, note: ListNote) -> RevocationList | None:
        """The list that a record holds; None where it does not, or not its CA's certificate, which
        we lack. Raises TrustError."""
        if note.shown is None:
            return None
        try:
            return self._identity.trust.read_shown(note.shown)[0]
        except TrustError as error:
            if error.reason == "list-foreign":
                return None
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
        key = record.subject, record.kind
        held = self._aside.get(key)
        if held is None or record.supersedes(held):
            self._aside[key] = record
        while len(self._aside) > MAX_ASIDE:
            self._aside.popitem(last=False)

    def unknown(self) -> list[NodeId]:
        """Subjects whose certificate is lacking: their records wait for it, the oldest first; or
        they publish revocation lists, and may be issuers."""
        names = self._identity.trust.names
        waiting = (node for node, kind in self._aside if kind != RecordKind.DEPARTURE)
        orphans = (node for node in self._orphans if node not in self.certificates)
        return [node for node in dict.fromkeys((*waiting, *orphans)) if not names(node)]

    def departures(self) -> list[Record]:
        """Take the departures that came before the certificate of their subject's CA."""
        keys = [key for key in self._aside if key[1] == RecordKind.DEPARTURE]
        return [self._aside.pop(key) for key in keys]

    def waiting(self, subject: NodeId) -> list[Record]:
        """Take the records of `subject` that came before its certificate."""
        keys = [key for key in self._aside if key[0] == subject]
        return [self._aside.pop(key) for key in keys]

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
