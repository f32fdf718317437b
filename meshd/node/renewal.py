"""Renewal: a certificate in the last third of its life is replaced by itself.

    due -> an issuer that is reached: RENEW(CSR) -> RENEWED(chain) -> checked -> on disk -> used

Any issuer that may grant the same will do; an issuer renews itself. Key, name, grants and addresses
stay (unless another node holds the IPv4 address), the serial is new, sessions go on. An issuer's
own CA certificate is renewed where the root's key is.
"""

from __future__ import annotations

from dataclasses import replace

from gossip import GossipProtocol, NodeId, RecordKind
from meshd.node.authority import MeshAuthority
from meshd.node.certificates import Certificate, TrustError
from meshd.node.control import Control, Renew, Renewed
from meshd.node.dialogue import Dialogue
from meshd.node.errors import LocalError, RemoteError
from meshd.node.holding import Lost
from meshd.node.identity import Identity
from meshd.node.invitation import show_time
from meshd.node.issuing import Issuer
from meshd.node.minting import make_csr, make_issuer
from meshd.node.outputs import PersistIdentity, PersistTrust, RenewalEnded, Warned
from meshd.node.peer import Peer
from meshd.node.records import encode_chain
from meshd.node.renewer import Renewer
from meshd.node.state import NodeState

LAST_PART = 1 / 3
"""The part of a certificate's life in which it is renewed."""
SPREAD = 1 / 30
"""Of its life: over so much the beginnings spread, so that a mesh made in an hour does not renew
in one."""
LATE_PART = 1 / 6
"""The part of its life in which `status` says that there is no new one yet."""
SETTLED = 600.0
"""Seconds for which the clock must have said so before this node issues for itself: one that was
far ahead for a moment must not leave us with certificates that begin in the future."""
ANSWER_WITHIN = 10.0
"""Seconds that an issuer has to answer, a handshake included."""
LOST_AGAIN = 10.0
"""Seconds until then where another node holds our name or our IPv4 address."""
ROUND_AGAIN, ROUND_AGAIN_MAX = 30.0, 3600.0
"""Seconds until the issuers are asked again, all having failed: doubles from one to the other."""
MAX_TOKENS = 16
"""Persons that wait for one renewal."""


class Renewal:
    """This node's own certificate. Changes the identity, trust and outputs."""

    def __init__(
        self,
        state: NodeState,
        gossip: GossipProtocol,
        authority: MeshAuthority,
        dialogue: Dialogue,
        renewer: Renewer,
    ) -> None:
        self._state = state
        self._gossip = gossip
        self._authority = authority
        self._dialogue = dialogue
        self._renewer = renewer
        self._spread = int.from_bytes(state.identity.id[:4], "big") / 2**32
        self._csr = b""
        self._lost = Lost()
        self._asked: NodeId | None = None
        self._asked_until = 0.0
        self._tried: list[NodeId] = []
        self._next_round = -1e9
        self._failures = 0
        self._due_since: dict[str, float] = {}
        self._problem = ""
        self._tokens: list[int] = []
        dialogue.handlers[Renewed] = self._answered

    # When

    def due_at(self) -> float:
        """Unix time from which on there should be a new certificate."""
        held = self._state.identity.certificate
        life = held.not_after - held.not_before
        return held.not_after - life * (LAST_PART - SPREAD * self._spread)

    def run(self, now: float) -> None:
        """Do what is due. Cheap when nothing is."""
        if self._asked is not None and now >= self._asked_until:
            self._failed(self._asked, "no answer", now)
        if self._state.lost != self._lost:
            self._lost = self._state.lost
            self._next_round = now if self._lost else self._next_round
        if self._asked is None and now >= self._next_round:
            unix_time = self._state.unix_time(now)
            self._renew_issuer(unix_time, now)
            if self._tokens or self._lost or unix_time >= self.due_at():
                self._ask(now)
            else:
                self._due_since.pop("node", None)

    def renew(self, token: int, now: float) -> None:
        """Do it now: a `RenewalEnded` with `token` follows, within some seconds per issuer."""
        if len(self._tokens) >= MAX_TOKENS:
            self._state.outputs.append(RenewalEnded(token, "too many ask for it at once"))
            return
        self._tokens.append(token)
        if self._asked is None:
            self._next_round = now
            self._tried = []
            self.run(now)

    # How

    def _ask(self, now: float) -> None:
        """Ourselves if we can, then one issuer after the other, those in a session first."""
        identity = self._state.identity
        if identity.issuer is not None and identity.id not in self._tried:
            if self._tokens or self._lost or self._settled("node", now):
                self._renew_ourselves(identity, identity.issuer, now)
            return
        self._csr = self._csr or make_csr(identity.node_key, identity.name)
        issuers = [
            peer
            for peer in self._state.holders()
            if peer.certificate is not None
            and "issuer" in peer.certificate.roles
            and peer.id not in self._tried
            and (peer.ready(now) or peer.state in ("alive", "suspect"))
        ]
        if not issuers:
            self._give_up(now)
            return
        order = {peer.id: self._state.rng.random() for peer in issuers}
        chosen = min(issuers, key=lambda peer: (not peer.ready(now), order[peer.id]))
        self._tried.append(chosen.id)
        self._asked, self._asked_until = chosen.id, now + ANSWER_WITHIN
        self._dialogue.send(chosen, self._request(self._csr), now)

    def _request(self, csr: bytes) -> Renew:
        """Ask for another address or another name, too, where another node holds ours."""
        return Renew(csr, self._lost.address4 is not None, self._lost.name is not None)

    def _settled(self, what: str, now: float) -> bool:
        """Whether it has been due for long enough to trust the clock."""
        return now - self._due_since.setdefault(what, now) >= SETTLED

    def _give_up(self, now: float) -> None:
        """A round has failed."""
        if not self._tried:
            self._problem = "no member with the role issuer is reached"
        self._failures += 1
        pause = min(ROUND_AGAIN_MAX, ROUND_AGAIN * 2.0 ** min(self._failures - 1, 10))
        pause = min(pause, LOST_AGAIN) if self._lost else pause
        self._next_round = now + pause * self._state.rng.uniform(0.75, 1.25)
        self._tried = []
        self._end(self._problem)

    def _end(self, problem: str | None) -> None:
        tokens, self._tokens = self._tokens, []
        self._state.outputs += [RenewalEnded(token, problem) for token in tokens]

    def _failed(self, node: NodeId, problem: str, now: float) -> None:
        """One issuer did not: the next one is asked."""
        self._asked = None
        peer = self._state.peers.get(node)
        self._problem = f"{peer.name if peer is not None else node.hex()}: {problem}"
        self._ask(now)

    def _renew_ourselves(self, identity: Identity, issuer: Issuer, now: float) -> None:
        self._tried.append(identity.id)
        held, csr = identity.certificate, make_csr(identity.node_key, identity.name)
        try:
            if not self._tokens and issuer.certificate.not_after <= held.not_after:
                raise LocalError("our own issuer certificate ends no later")
            self._take(self._renewer.make(held, self._request(csr), now), now)
        except (LocalError, RemoteError) as error:
            self._failed(identity.id, str(error), now)

    def _answered(self, peer: Peer, message: Control, now: float) -> None:
        assert isinstance(message, Renewed)
        if peer.id != self._asked:
            raise RemoteError("control")
        if not message.chain:
            self._failed(
                peer.id, "".join(c if c.isprintable() else "?" for c in message.reason), now
            )
            return
        try:
            self._take(message.chain, now)
        except RemoteError as error:
            self._state.drops[error.reason] += 1
            self._failed(peer.id, error.reason, now)

    def _take(self, chain: tuple[bytes, ...], now: float) -> None:
        """A new chain: when it is what we asked for, to disk with it. Raises RemoteError."""
        identity, trust = self._state.identity, self._state.identity.trust
        made = trust.verify(chain[0], chain[1:], self._state.unix_time(now))
        held = identity.certificate
        grants, address4 = held.grants, held.address4
        if self._lost.name is not None:
            grants = replace(grants, name=made.name)
        if self._lost.address4 is not None:
            address4 = made.address4
        if (made.public_key, made.grants, made.addresses) != (
            held.public_key,
            grants,
            (address4, held.address6),
        ) or made.not_before <= held.not_before:
            raise TrustError("renewal-mismatch", "not what was asked for")
        issuer = trust.issuer_of(made, chain[1:])
        if trust.add_issuer(issuer.der):
            self._state.outputs.append(PersistTrust())
        self._asked = None
        # If it cannot be written, nothing has changed, and it is due again.
        self._next_round = now + ROUND_AGAIN
        self._problem = "it could not be written to disk"
        new = replace(identity, certificate=made, issuer_certificates=(issuer.der,))
        self._state.outputs.append(PersistIdentity(new))

    def adopt(self, identity: Identity, now: float) -> None:
        """A new identity of ours is on disk: use it from now on, and tell the mesh."""
        state = self._state
        issuer, before = identity.issuer, state.identity
        state.identity = identity
        self._authority.adopt(identity)
        if issuer is not None and issuer is not before.issuer:
            state.outputs.append(Warned("this node's issuer certificate was renewed"))
        if identity.certificate == before.certificate:
            return
        chain = encode_chain(identity.chain)
        if chain is not None:
            self._gossip.publish(RecordKind.CERTIFICATE, chain, now)
        until = show_time(identity.certificate.not_after)
        state.outputs.append(Warned(f"this node's certificate was renewed, until {until}"))
        self._csr, self._problem = b"", ""
        self._tried, self._failures = [], 0
        self._due_since.pop("node", None)
        self._end(None)

    # The issuer's own CA certificate

    def _renew_issuer(self, unix_time: float, now: float) -> None:
        """Where the root's key is, an issuer's certificate renews itself too."""
        identity = self._state.identity
        issuer = identity.issuer
        if issuer is None or issuer.root_key is None or issuer.root is None:
            return
        if not _in_last_part(issuer.certificate, unix_time):
            self._due_since.pop("issuer", None)
            return
        ended = unix_time > issuer.certificate.not_after
        if ended or identity.revoked or not self._settled("issuer", now):
            return
        made = make_issuer(
            issuer.root_key,
            issuer.root,
            issuer.certificate.public_key,
            issuer.certificate.grants,
            unix_time,
            self._state.random_bytes,
            issuer.certificate.constraints,
        )
        self._due_since.pop("issuer", None)
        if identity.trust.add_issuer(made.der):
            new = replace(issuer, certificate=made)
            self._state.outputs.append(PersistIdentity(replace(identity, issuer=new)))

    # What a person is to know

    def notices(self, unix_time: float) -> list[str]:
        """Sentences on what is about to end."""
        told = []
        identity = self._state.identity
        held, issuer = identity.certificate, identity.issuer
        life = held.not_after - held.not_before
        if unix_time > held.not_after:
            told.append(
                f"this node's certificate has ended, on {show_time(held.not_after)}: join again "
                "with a new invitation"
            )
        elif self._failures or unix_time >= held.not_after - life * LATE_PART:
            why = f" ({self._problem})" if self._problem else ""
            told.append(
                f"this node's certificate ends on {show_time(held.not_after)} and is not renewed "
                f"yet{why}: `meshd renew` tries again now"
            )
        told += self._lost_notices()
        if issuer is None or issuer.root_key is not None:
            return told
        if _in_last_part(issuer.certificate, unix_time):
            told.append(
                "the certificate that this node admits others with ends on "
                f"{show_time(issuer.certificate.not_after)}: put root.key into the certificates "
                "directory and restart meshd, and it renews itself"
            )
        return told

    def _lost_notices(self) -> list[str]:
        """What another node holds of ours."""
        held, lost = self._state.identity.certificate, self._state.lost
        told = []
        for what, shown, node in (
            ("address", str(held.address4), lost.address4),
            ("name", held.name, lost.name),
        ):
            if node is not None:
                told.append(
                    f"the node {node.hex()} has the {what} {shown}, too, and keeps it, as its id "
                    "is lower: this node asks an issuer for another one"
                )
        return told


def _in_last_part(certificate: Certificate, unix_time: float) -> bool:
    life = certificate.not_after - certificate.not_before
    return unix_time >= certificate.not_after - life * LAST_PART
