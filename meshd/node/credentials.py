"""What becomes of certificates while a node runs: revocation and renewal, ours and others'."""

from __future__ import annotations

from collections.abc import Callable

from gossip import GossipProtocol
from meshd.node import revoking
from meshd.node.authority import MeshAuthority
from meshd.node.dialogue import Dialogue
from meshd.node.errors import LocalError
from meshd.node.identity import Identity
from meshd.node.lists import OWN, Lists
from meshd.node.outputs import RenewalEnded
from meshd.node.relay import Relay
from meshd.node.renewal import Renewal
from meshd.node.renewer import Renewer
from meshd.node.revoking import Revocation
from meshd.node.state import NodeState


class Credentials:
    """Composes `Lists`, `Renewal` and `Renewer`. After a call, let the node's timer run."""

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
        self._rebuild = rebuild
        self.lists = Lists(state, gossip, authority, dialogue, relay, rebuild)
        self.renewal = Renewal(state, gossip, authority, dialogue, Renewer(state, dialogue))

    def run(self, now: float) -> None:
        """Do what is due."""
        self.lists.run(now)
        if not self.lists.revoked:
            self.renewal.run(now)

    def check(self) -> None:
        """Raises LocalError where this node is no member any more: nobody heeds what it signs."""
        if self.lists.revoked:
            raise LocalError(OWN)

    def plan_revocation(self, text: str, now: float) -> Revocation:
        """Who is meant by `text`, and the lists that revoke it; changes nothing. Raises
        LocalError: why not, and what to type instead."""
        self.check()
        return revoking.plan(text, self._state, self.lists.holders, self._state.unix_time(now))

    def revoke(self, revocation: Revocation, now: float) -> None:
        """Put the planned lists in force: they are on disk."""
        for listed in revocation.lists:
            self.lists.put_in_force(listed, now)

    def renew(self, token: int, now: float) -> None:
        """Get a new certificate now: a `RenewalEnded` with `token` follows."""
        if self.lists.revoked:
            self._state.outputs.append(RenewalEnded(token, OWN))
        else:
            self.renewal.renew(token, now)

    def adopt(self, identity: Identity, now: float) -> None:
        """The host has written what a `PersistIdentity` held: use it."""
        self.renewal.adopt(identity, now)
        self._rebuild()

    def notices(self, now: float) -> list[str]:
        """Sentences for `status`."""
        ended = self.lists.notice()
        return [ended] if ended else self.renewal.notices(self._state.unix_time(now))
