"""The issuer's side of a renewal: another certificate for a member that has one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from ipaddress import IPv4Address

from gossip import NodeId
from meshd.node.addresses import assign4
from meshd.node.certificates import Certificate, TrustError, read_csr
from meshd.node.chain import check_validity
from meshd.node.control import Control, Renew, Renewed
from meshd.node.dialogue import Dialogue
from meshd.node.errors import LocalError, RemoteError
from meshd.node.issuing import Issuer, free_name
from meshd.node.ledger import Issued
from meshd.node.minting import BACKDATE, make_node
from meshd.node.outputs import PersistLedger
from meshd.node.peer import Peer
from meshd.node.state import NodeState

MIN_INTERVAL = 1.0
"""Seconds between two certificates for one node."""

REPEATED_PART = 1 / 3
"""The first part of a certificate's life in which it is the answer to the same request again: the
first answer may be lost, or not be written to disk, and each new certificate has to be remembered
for as long as it is valid."""

REASONS = {
    "certificate-revoked": "this node's certificate was revoked",
    "certificate-left": "this node left the mesh",
    "certificate-expired": "this node's certificate has ended: it has to join again",
}


def renew(
    issuer: Issuer,
    held: Certificate,
    csr: bytes,
    unix_time: float,
    random_bytes: Callable[[int], bytes],
    taken: Collection[IPv4Address] | None = None,
    taken_names: Collection[str] | None = None,
) -> Certificate:
    """Another certificate for who holds `held`, which was verified: the same grants, and the same
    addresses, unless `taken` asks for an IPv4 address that is not among those, or `taken_names` for
    another name: its own with a number behind it.

    Raises TrustError for a bad request or a certificate that has ended, LocalError when this issuer
    may not.
    """
    public_key, _ = read_csr(csr)
    if public_key != held.public_key:
        raise TrustError("request-malformed", "the request is for another key")
    issuer.check_time(unix_time)
    check_validity(held, unix_time)
    if not issuer.certificate.grants.covers(held.grants):
        raise LocalError("this issuer may not grant what the certificate grants")
    address4, grants = held.address4, held.grants
    if taken is not None:
        address4 = assign4(held.node, issuer.prefix4(), [*taken, address4])
    if taken_names is not None:
        grants = replace(grants, name=free_name(grants.name, {*taken_names, grants.name}))
    addresses = (address4, held.address6)
    if not all(any(a in prefix for prefix in issuer.certificate.constraints) for a in addresses):
        raise LocalError("this issuer may not give out the node's addresses")
    # Of two certificates the later one counts, whichever of two issuers' clocks is ahead.
    made_at = max(unix_time, held.not_before + BACKDATE + 1)
    certificate = make_node(
        issuer.key, issuer.certificate, public_key, grants, addresses, made_at, random_bytes
    )
    issuer.ledger.record(certificate, unix_time, held)
    return certificate


class Renewer:
    """The issuer's side. Changes the ledger and outputs."""

    def __init__(self, state: NodeState, dialogue: Dialogue) -> None:
        self._state = state
        self._dialogue = dialogue
        self._renewed: dict[NodeId, float] = {}
        self._made: dict[NodeId, tuple[Certificate, Renew, Certificate]] = {}
        """By node: what it held, what it asked, and what it got last."""
        dialogue.handlers[Renew] = self._asked

    def _asked(self, peer: Peer, message: Control, now: float) -> None:
        assert isinstance(message, Renew)
        try:
            answer = Renewed(self.answer(peer, message, now))
        except RemoteError as error:
            self._state.drops[error.reason] += 1
            answer = Renewed((), REASONS.get(error.reason, f"refused: {error.reason}"))
        except LocalError as error:
            answer = Renewed((), str(error)[:200])
        self._dialogue.send(peer, answer, now)

    def answer(self, peer: Peer, message: Renew, now: float) -> tuple[bytes, ...]:
        """The new chain for `peer`, the ledger to be on disk first. Raises RemoteError or
        LocalError: why there is none."""
        identity = self._state.identity
        if not peer.chain:
            raise RemoteError("control")
        if now - self._renewed.get(peer.id, -1e9) < MIN_INTERVAL:
            raise LocalError("it has just got one")
        unix_time = self._state.unix_time(now)
        held = identity.trust.verify(peer.chain[0], peer.chain[1:], unix_time)
        chain = self.make(held, message, now)
        if len(self._renewed) > len(self._state.peers):
            self._renewed.clear()
        self._renewed[peer.id] = now
        return chain

    def make(self, held: Certificate, asked: Renew, now: float) -> tuple[bytes, ...]:
        """The chain that follows `held`, a certificate that holds. Raises as `answer`."""
        state, identity = self._state, self._state.identity
        issuer, trust = identity.issuer, identity.trust
        if issuer is None:
            raise LocalError("this node is no issuer")
        if identity.revoked:
            raise LocalError("this issuer was revoked")
        if issuer.ledger.revoked(held.node, trust.list_of(issuer.certificate.node)):
            raise TrustError("certificate-revoked")
        made = self._again(held, asked, state.unix_time(now))
        if made is None:
            made = self._renew(issuer, held, asked, now)
            if len(self._made) > len(state.peers):
                self._made.clear()
            self._made[held.node] = held, asked, made
        state.outputs.append(PersistLedger())
        return made.der, issuer.certificate.der

    def _again(self, held: Certificate, asked: Renew, unix_time: float) -> Certificate | None:
        """What this very request was answered with, if that is still as good as a new one."""
        before, request, made = self._made.get(held.node, (None, None, held))
        if (before, request) != (held, asked) or self._state.identity.trust.is_void(made):
            return None
        life = made.not_after - made.not_before
        return made if unix_time < made.not_before + life * REPEATED_PART else None

    def _renew(self, issuer: Issuer, held: Certificate, asked: Renew, now: float) -> Certificate:
        state, identity = self._state, self._state.identity
        known = [p.certificate for p in state.holders() if p.certificate is not None]
        others: list[Certificate | Issued] = [identity.certificate, *known]
        others += issuer.ledger.entries()
        others = [item for item in others if item.node != held.node]
        return renew(
            issuer,
            held,
            asked.csr,
            state.unix_time(now),
            state.random_bytes,
            [item.address4 for item in others] if asked.move else None,
            [item.name for item in others] if asked.rename else None,
        )
