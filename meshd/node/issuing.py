"""Admitting nodes: what an issuer signs, remembers, and sends to a joiner.

Inside an enrolment session (Noise, keyed by the invitation) the joiner sends an `EnrolmentRequest`
and gets an `EnrolmentReply`; both are CBOR arrays, their version first (see `gossip.codec`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gossip import NodeId
from gossip.codec import decode, encode
from gossip.errors import DecodeError
from meshd.node.addresses import assign4, node_id, overlay6
from meshd.node.certificates import MAX_CERTIFICATE, Certificate, TrustError, read_csr
from meshd.node.errors import LocalError
from meshd.node.grants import Grants, check_grants
from meshd.node.ledger import Ledger
from meshd.node.minting import make_issuer, make_node
from meshd.node.records import holder_statement

MAX_REPLY = 32_000
"""Bytes of an encoded reply: it travels in one control message."""
MAX_FIELDS = 1024
"""CBOR values in a request or a reply."""
_VERSION = 1


@dataclass(slots=True)
class Issuer:
    """A node's power to admit others: an intermediate CA's key, certificate and ledger.

    Save the ledger before a certificate leaves this node. `root_key` is there only where the mesh
    was made, and only until it is put away; without it this node cannot make other issuers.
    """

    key: Ed25519PrivateKey = field(repr=False)
    certificate: Certificate
    ledger: Ledger = field(default_factory=Ledger, repr=False)
    root: Certificate | None = field(default=None, repr=False)
    root_key: Ed25519PrivateKey | None = field(default=None, repr=False)

    def permit(self, grants: Grants) -> Grants:
        """`grants`, when this issuer may give them. Raises LocalError: ask before inviting."""
        check_grants(grants)
        if not self.certificate.grants.covers(grants):
            raise LocalError(
                "this node's issuer certificate does not allow these roles, routes or groups: "
                "see `meshd cert show`, and invite from a node whose issuer may grant them"
            )
        if "issuer" in grants.roles and self.root_key is None:
            raise LocalError(
                "only a node with root.key can invite an issuer: put root.key back into the "
                "certificates directory and restart meshd, or invite from the node that made "
                "the mesh"
            )
        return grants

    def issue(
        self,
        csr: bytes,
        grants: Grants,
        taken: Collection[IPv4Address],
        unix_time: float,
        random_bytes: Callable[[int], bytes],
        taken_names: Collection[str] = (),
    ) -> Certificate:
        """A certificate for the key of `csr`, recorded in the ledger.

        The name is the grants', or else the one wished for; where another node has it, a number
        is put behind it. A node that comes back keeps its address and its name. `taken` and
        `taken_names` are the other members', as far as this node knows them.
        Raises TrustError for a bad request, LocalError when this issuer cannot.
        """
        public_key, wished = read_csr(csr)
        node = node_id(public_key)
        self.check_time(unix_time)
        self.permit(grants)
        self.ledger.forget_before(unix_time)
        before = self.ledger.get(node)
        others = [entry for entry in self.ledger.entries() if entry.node != node]
        names = {entry.name for entry in others} | set(taken_names)
        name = grants.name or (before.name if before is not None else wished)
        grants = replace(grants, name=free_name(name, names))
        used = {entry.address4 for entry in others} | set(taken)
        if before is not None and before.address4 not in used:
            address4 = before.address4
        else:
            address4 = assign4(node, self.prefix4(), used)
        certificate = make_node(
            self.key,
            self.certificate,
            public_key,
            grants,
            (address4, overlay6(self.certificate.authority, node)),
            unix_time,
            random_bytes,
        )
        self.ledger.record(certificate, unix_time)
        return certificate

    def issue_issuer(
        self,
        csr: bytes,
        unix_time: float,
        random_bytes: Callable[[int], bytes],
        node: NodeId | None = None,
    ) -> Certificate:
        """An issuer's certificate for the key of `csr`, with what this issuer may grant; the
        ledger keeps that it is `node`'s.

        Raises TrustError for a bad request, LocalError without the root's key.
        """
        public_key, _ = read_csr(csr)
        self.permit(Grants(roles=("issuer",)))
        if self.root_key is None or self.root is None:
            raise LocalError("making an issuer takes root.key and the root's certificate")
        made = make_issuer(
            self.root_key,
            self.root,
            public_key,
            self.certificate.grants,
            unix_time,
            random_bytes,
            self.certificate.constraints,
        )
        if node is not None:
            self.ledger.record_issuer(node, made.node)
        return made

    def prove_holder(self, mesh_id: bytes, node: NodeId) -> bytes:
        """The CA's word that `node` holds it: its REVOCATIONS records are believed for that."""
        return self.key.sign(holder_statement(mesh_id, node))

    def check_time(self, unix_time: float) -> None:
        """Raises LocalError when this issuer's own certificate is not valid now."""
        if not self.certificate.not_before <= unix_time <= self.certificate.not_after:
            raise LocalError(
                "this node's issuer certificate is not valid at the time of this host's clock: "
                "check the clock with `timedatectl`, and the certificate with `meshd cert show`"
            )

    def prefix4(self) -> IPv4Network:
        """The prefix that this issuer gives addresses out of. Raises LocalError."""
        for prefix in self.certificate.constraints:
            if isinstance(prefix, IPv4Network):
                return prefix
        raise LocalError("this node's issuer certificate names no IPv4 prefix to give out")


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """What a joiner asks: a CSR for its node key, and one for its issuer key if it may be one."""

    csr: bytes
    issuer_csr: bytes = b""

    def encode(self) -> bytes:
        """CBOR: [1, CSR, issuer CSR]."""
        return encode([_VERSION, self.csr, self.issuer_csr])


def decode_request(data: bytes) -> EnrolmentRequest:
    """Raises TrustError("request-malformed")."""
    match _decode(data, 2 * MAX_CERTIFICATE + 64, "request-malformed"):
        case [version, bytes(csr), bytes(issuer_csr)] if _is_ours(version):
            return EnrolmentRequest(csr, issuer_csr)
        case _:
            raise TrustError("request-malformed")


@dataclass(frozen=True, slots=True)
class EnrolmentReply:
    """All that a joiner needs to be a member. `identity.join` checks that it belongs together."""

    certificate: bytes
    """The joiner's, DER."""
    issuers: tuple[bytes, ...]
    """The issuer of `certificate` first, then every other known one, DER."""
    root: bytes
    """DER."""
    mesh: str
    """The text of `mesh.toml`."""
    mesh_secret: bytes = field(repr=False)
    crls: tuple[bytes, ...] = ()
    records: tuple[bytes, ...] = ()
    """Encoded gossip records: the first members to talk to."""
    issuer: bytes = b""
    """The joiner's own issuer certificate, DER, when the invitation grants the role."""

    def encode(self) -> bytes:
        """At most MAX_REPLY bytes: records that do not fit are left out, then revocation lists
        (members hand them on). Raises LocalError when even the rest does not fit."""
        records, crls, issuers = list(self.records), list(self.crls), list(self.issuers)
        while True:
            data = encode(
                [
                    _VERSION,
                    self.certificate,
                    issuers,
                    self.root,
                    self.mesh,
                    self.mesh_secret,
                    crls,
                    records,
                    self.issuer,
                ]
            )
            if len(data) <= MAX_REPLY:
                return data
            if records:
                records.pop()
            elif crls:
                crls.pop()
            elif len(issuers) > 1:
                issuers.pop()
            else:
                raise LocalError("the enrolment's reply does not fit into one message")


def decode_reply(data: bytes) -> EnrolmentReply:
    """Raises TrustError("reply-malformed"). Only the shape is checked here."""
    match _decode(data, MAX_REPLY, "reply-malformed"):
        case [
            version,
            bytes(certificate),
            [bytes(), *_] as issuers,
            bytes(root),
            str(mesh),
            bytes(secret),
            [*crls],
            [*records],
            bytes(issuer),
        ] if _is_ours(version):
            return EnrolmentReply(
                certificate,
                _all_bytes(issuers),
                root,
                mesh,
                secret,
                _all_bytes(crls),
                _all_bytes(records),
                issuer,
            )
        case _:
            raise TrustError("reply-malformed")


def _is_ours(version: object) -> bool:
    """Whether it is the version; `True`, which Python calls equal to 1, is not."""
    return type(version) is int and version == _VERSION


def _all_bytes(items: Sequence[object]) -> tuple[bytes, ...]:
    found = tuple(item for item in items if isinstance(item, bytes))
    if len(found) != len(items):
        raise TrustError("reply-malformed")
    return found


def _decode(data: bytes, max_size: int, reason: str) -> object:
    try:
        return decode(data, max_size, MAX_FIELDS)
    except DecodeError as error:
        raise TrustError(reason, str(error)) from None


def free_name(name: str, taken: Collection[str]) -> str:
    """`name`, or the first free of `name-2`, `name-3`, ... within 63 characters."""
    for number in range(1, len(taken) + 2):
        suffix = f"-{number}" if number > 1 else ""
        candidate = name[: 63 - len(suffix)].rstrip("-") + suffix
        if candidate not in taken:
            return candidate
    raise AssertionError("more candidates than names were taken")
