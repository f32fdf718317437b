"""Admitting joiners: the answering side of an enrolment session.

What must be on disk before a certificate leaves comes first among the outputs: the invitation as
used, and the issuer's ledger.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from gossip import GossipProtocol, MemberState, NodeId, RecordKind
from meshd.node.addresses import node_id
from meshd.node.certificates import TrustError, read_csr
from meshd.node.control import Enrolled
from meshd.node.errors import LocalError, RemoteError
from meshd.node.invitation import Invitation
from meshd.node.issuing import EnrolmentReply, Issuer, decode_request
from meshd.node.outputs import AuthFailure, PersistInvitation, PersistLedger, PersistTrust
from meshd.node.state import NodeState
from meshd.node.unproven import Unproven
from meshd.node.wire import Endpoint

MAX_FIRST_RECORDS = 24
"""Records that a joiner gets at once; gossip brings the others."""

REASONS = {
    "invitation-used": "this invitation was used by another node: ask for a new one",
    "invitation-expired": "this invitation has expired: ask for a new one",
    "certificate-revoked": "this host's key was revoked: move its certificates directory away, "
    "then join with a new invitation, and so with a new key",
}


class Enroller:
    """Issues certificates to whoever holds an invitation."""

    def __init__(self, state: NodeState, gossip: GossipProtocol) -> None:
        self._state = state
        self._gossip = gossip

    def admit(
        self,
        unproven: Unproven,
        invitations: dict[bytes, Invitation],
        request: bytes,
        source: Endpoint | None,
        now: float,
    ) -> Enrolled:
        """The answer to a certificate request in the session `unproven`, from `source` unless it
        came through a relay."""
        issuer = self._state.identity.issuer
        invitation = unproven.invitation
        if issuer is None or invitation is None:
            return Enrolled(None, "this node is no issuer: ask for an invitation elsewhere")
        invitation = invitations.get(invitation.locator, invitation)
        try:
            return self._issue(issuer, invitation, invitations, request, now)
        except RemoteError as error:
            self._state.auth_failures[error.reason] += 1
            self._state.outputs.append(AuthFailure(error.reason, source))
            return Enrolled(None, REASONS.get(error.reason, f"refused: {error.reason}"))
        except LocalError as error:
            return Enrolled(None, str(error)[:200])

    def _issue(
        self,
        issuer: Issuer,
        invitation: Invitation,
        invitations: dict[bytes, Invitation],
        request: bytes,
        now: float,
    ) -> Enrolled:
        state, identity = self._state, self._state.identity
        asked, unix_time = decode_request(request), state.unix_time(now)
        public_key, _ = read_csr(asked.csr)
        if identity.revoked:
            raise LocalError("this issuer was revoked: ask another one")
        node, listed = node_id(public_key), identity.trust.list_of(issuer.certificate.node)
        if identity.trust.names(node) or issuer.ledger.revoked(node, listed):
            raise TrustError("certificate-revoked")
        redeemed = invitation.redeem(node, unix_time)
        others = [peer for peer in state.holders() if peer.id != node]
        own = identity.certificate
        known = [peer.certificate for peer in others if peer.certificate is not None]
        certificate = issuer.issue(
            asked.csr,
            invitation.grants,
            [*(IPv4Address(key) for peer in others for key in peer.keys4), own.address4],
            identity.trust.departed.beyond(node_id(public_key), unix_time),
            state.random_bytes,
            [item.name for item in (*known, own)],
        )
        own_issuer = b""
        if "issuer" in certificate.roles:
            if not asked.issuer_csr:
                raise TrustError("request-malformed")
            made = issuer.issue_issuer(
                asked.issuer_csr, unix_time, state.random_bytes, certificate.node
            )
            own_issuer = made.der
            if identity.trust.add_issuer(made.der):
                state.outputs.append(PersistTrust())
        invitations[redeemed.locator] = redeemed
        state.outputs.append(PersistInvitation(redeemed))
        state.outputs.append(PersistLedger())
        others_der = [item.der for item in identity.trust.issuers]
        issuers = dict.fromkeys([issuer.certificate.der, *others_der])
        reply = EnrolmentReply(
            certificate.der,
            tuple(issuers),
            identity.trust.root.der,
            identity.mesh.render(),
            identity.mesh_secret,
            tuple(item.der for item in identity.trust.lists),
            self._first_records(),
            own_issuer,
        )
        return Enrolled(reply.encode())

    def _first_records(self) -> tuple[bytes, ...]:
        """Ours first, then those of members that are alive: certificate and whereabouts."""
        alive = [m.id for m in self._gossip.members() if m.state is MemberState.ALIVE]
        records: list[bytes] = []
        for node in [self._state.identity.id, *alive]:
            records += self._records_of(node)
        return tuple(records[:MAX_FIRST_RECORDS])

    def _records_of(self, node: NodeId) -> list[bytes]:
        kinds = (RecordKind.CERTIFICATE, RecordKind.MEMBER)
        held = [self._gossip.record(node, kind) for kind in kinds]
        return [record.encode() for record in held if record is not None]
