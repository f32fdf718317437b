"""Partial view: where there are too many to know everyone, a node keeps a few neighbours.

After HyParView (Leitao, Pereira, Rodrigues, 2007): links are symmetric, and news spreads over the
graph that they make; the routing table is the passive view, out of which lost neighbours are
replaced. A partial node's members are its neighbours: it probes, suspects and tells them alone.

    A -- LINK ----> B    B has room, or A has no neighbour at all (then B drops another, at random)
    A <-- LINKED -- B    neighbours; with contacts for A's table
    A <-- UNLINK -- B    not, or no longer; with contacts for A to try next

Every ACK says whether its sender is partial, and whether it takes the other for a neighbour: so a
link of which one side does not know any more ends with the next probe. A node that knows everyone
keeps a partial one as a member, but tells it news only if they are linked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossip import messages
from gossip.core import Core
from gossip.events import MemberForgotten
from gossip.ids import NodeId
from gossip.intake import Intake
from gossip.items import MAX_ITEMS
from gossip.members import MemberState, Peer
from gossip.messages import Ack, Want
from gossip.queries import STORE_SIZE, Link, Linked, Unlink
from gossip.quota import Quota
from gossip.records import LOCAL_KINDS, Record, RecordKind
from gossip.resolver import Resolver
from gossip.suspects import Suspects
from gossip.timers import Timer

LOW_WATER: Final = 0.75
"""Of active_view: with fewer neighbours a node seeks more; what is above is room for seekers."""

ASKED_AT_ONCE: Final = 3
"""LINKs of one turn."""

MAX_DECLINED: Final = 64
"""Nodes remembered that did not want to be neighbours, and are not asked again soon."""

DECLINED_FOR: Final = 10.0
"""Periods for which they are not."""

LINK_BURST: Final = 16
"""LINKs of one node that are served at once..."""

LINK_RATE: Final = 2.0
"""...and per period after that; the rest is dropped."""

TOLD_BY: Final = 2
"""So many partial nodes must say that there are more than `full_view` to be believed."""


class Views:
    """Decides who is a neighbour, once not everyone knows everyone."""

    def __init__(
        self, core: Core, intake: Intake, suspects: Suspects, resolver: Resolver, now: float
    ) -> None:
        self._core = core
        self._intake = intake
        self._suspects = suspects
        self._resolver = resolver
        self._pending: dict[NodeId, float] = {}
        """When LINK was sent to those who have not answered."""
        self._declined: dict[NodeId, float] = {}
        self._tellers: dict[NodeId, bool] = {}
        rate = LINK_RATE / core.config.probe_period
        self._quota = Quota(LINK_BURST, rate, core.config.max_members)
        self._reviewed = 0
        self._evicted_at = float("-inf")
        self._mix_at = now
        self._busy = False

    @property
    def _wanted(self) -> int:
        return max(1, round(LOW_WATER * self._core.config.active_view))

    # Calls

    def settle(self, neighbours: Sequence[Record], contacts: Sequence[Record], now: float) -> None:
        """Take up a partial view that others agree on: no link is asked for, nothing is news."""
        core = self._core
        core.partial = core.in_parts = True
        for record in contacts:
            core.contacts.table.heard(record, now)
        for record in neighbours:
            core.links[record.subject] = True
            self._intake.record(record, MemberState.ALIVE, now, spread=False)
        for node in core.links:
            peer = core.members.get(node)
            member = core.store.get(node, RecordKind.MEMBER)
            if peer is not None and member is not None:
                peer.partial, peer.heard_at = True, now
                core.contacts.table.heard(member, now)
        for kind in LOCAL_KINDS:
            core.news.discard((kind, core.identity))
        core.measure()
        self._mix_at = now + core.config.refresh_interval * core.rng.random()
        self._resolver.settle(now)
        self.review(now)

    # Messages

    def on_link(self, link: Link, carried: Sequence[Record], sender: NodeId, now: float) -> None:
        """`sender` wants to be a neighbour."""
        core = self._core
        if not self._quota.take(sender, now):
            core.counters.refuse("link-quota")
            return
        self._note(link.partial, link.nodes, sender, now)
        room = self._has_room(sender, link.urgent, now)
        if room and self._take(link.partial, carried, sender, now):
            core.send(sender, Linked(core.partial, core.nodes), self._items(own=True))
            self._shrink(sender, now)
        else:
            core.send(sender, Unlink(core.partial, core.nodes), self._items(own=False))
        self.review(now)

    def on_linked(
        self, linked: Linked, carried: Sequence[Record], sender: NodeId, now: float
    ) -> None:
        """`sender` is a neighbour now, if it was asked and there is still room."""
        core = self._core
        asked = self._pending.pop(sender, None) is not None or sender in core.links
        self._learn(carried, sender)
        full = len(core.links) >= core.config.active_view and sender not in core.links
        if not asked or full or not self._take(linked.partial, carried, sender, now):
            self._drop(sender, now, tell=True)
        self._note(linked.partial, linked.nodes, sender, now)
        self.review(now)

    def on_unlink(
        self, unlink: Unlink, carried: Sequence[Record], sender: NodeId, now: float
    ) -> None:
        """`sender` is no neighbour; it told of others."""
        self._learn(carried, sender)
        while len(self._declined) >= MAX_DECLINED:
            del self._declined[next(iter(self._declined))]
        self._declined[sender] = now
        self._drop(sender, now, tell=False)
        self._note(unlink.partial, unlink.nodes, sender, now)
        self.review(now)

    def on_ack(self, ack: Ack, sender: NodeId, now: float) -> None:
        """What every ACK says of its sender, and of the link to it."""
        core = self._core
        peer = core.members.get(sender)
        if ack.partial and not core.in_parts:
            core.in_parts = True
            self._reviewed = -1
        if peer is not None:
            peer.partial = ack.partial
        if sender in core.links and not ack.linked:
            self._drop(sender, now, tell=False)
            self.review(now)
        elif peer is None and ack.partial and not core.links and sender not in self._pending:
            self._ask(sender, now)

    # Deadlines

    def on_timer(self, now: float) -> None:
        """Replace neighbours that are missing; from time to time, one that is not."""
        core = self._core
        for node, asked_at in list(self._pending.items()):
            if now - asked_at >= 2 * core.config.probe_period:
                self._drop(node, now, tell=False)
                if core.links:  # else it may be this node that is cut off
                    core.contacts.table.failed(node)
        core.measure()
        missing = self._wanted - self._degree() - len(self._pending)
        if missing > 0:
            for record in self._candidates(min(missing, ASKED_AT_ONCE), now):
                self._ask(record.subject, now)
        elif core.partial and now >= self._mix_at:
            self._mix(now)
        self._seek(now)

    def review(self, now: float) -> None:
        """Members came or went: become partial, let go of who is gone, take back who is back."""
        core = self._core
        if core.members.changes == self._reviewed:
            return
        if not core.partial and core.members.live > core.config.full_view:
            self._become_partial(now)
        for node in list(core.links):
            peer = core.members.get(node)
            if peer is None or not peer.is_live:
                del core.links[node]
        if core.partial:
            returned = None
            for node in core.members.live_ids():
                if node not in core.links and node not in self._pending:
                    self._ask(node, now, urgent=True)  # it was taken to be dead
                    returned = node
            self._shrink(returned, now)
        self._reviewed = core.members.changes
        if core.in_parts:
            self._seek(now)

    # Helpers

    def _become_partial(self, now: float) -> None:
        core = self._core
        core.partial = core.in_parts = True
        alive = [peer.id for peer in core.members.in_state(MemberState.ALIVE)]
        spare = [node for node in alive if node not in core.links]
        room = max(0, core.config.active_view // 2 + 1 - len(core.links))
        kept = dict.fromkeys(core.rng.sample(spare, min(room, len(spare))), True)
        for peer in list(core.members):
            if peer.id not in core.links and peer.id not in kept:
                self._release(peer, now)
        for record in list(core.store):
            if not core.concerns(record):
                core.release(record.subject)
        core.measure()
        for node in kept:
            self._ask(node, now)
        self._mix_at = now + core.config.refresh_interval * core.rng.random()
        self._resolver.refresh_soon(now)
        self._resolver.publish_soon(now)

    def _note(self, partial: bool, nodes: int, sender: NodeId, now: float) -> None:
        """`sender` said whether it is partial, and how many nodes it thinks there are."""
        core = self._core
        peer = core.members.get(sender)
        if peer is not None:
            peer.partial = partial
        if not partial:
            return
        core.in_parts = True
        if not core.partial and nodes > core.config.full_view:
            self._tellers[sender] = True
            if len(self._tellers) == TOLD_BY:
                self._become_partial(now)

    def _learn(self, carried: Sequence[Record], sender: NodeId) -> None:
        for record in carried:
            if record.kind == RecordKind.MEMBER and record.subject != sender:
                self._core.contacts.hint(record)

    def _items(self, own: bool, told: bool = True) -> list[bytes]:
        """The own records, as far as they fit, and then contacts, as many as fit."""
        core = self._core
        kinds = (RecordKind.MEMBER, RecordKind.CERTIFICATE) if own else ()
        held = [core.store.get(core.identity, kind) for kind in kinds]
        if told:
            held += core.contacts.sample(MAX_ITEMS - len(held), core.rng, [])
        room = core.config.packet_size - messages.HEADER_SIZE - STORE_SIZE
        items: list[bytes] = []
        for record in held:
            item = core.record_item(record) if record is not None else b""
            if item and len(item) <= room:
                items.append(item)
                room -= len(item)
        return items

    def _has_room(self, sender: NodeId, urgent: bool, now: float) -> bool:
        core = self._core
        if sender in core.links or len(core.links) < core.config.active_view:
            return True
        if not urgent or now - self._evicted_at < core.config.probe_period / 4:
            return False
        self._evicted_at = now
        return True

    def _take(self, partial: bool, carried: Sequence[Record], sender: NodeId, now: float) -> bool:
        """Make `sender` a neighbour, by the records that it showed; whether it is one."""
        core = self._core
        core.links[sender] = True
        own = [record for record in carried if record.subject == sender]
        for record in sorted(own, key=lambda record: record.kind == RecordKind.MEMBER):
            self._intake.record(record, MemberState.ALIVE, now, spread=not core.partial)
        peer = core.members.get(sender)
        if peer is not None:
            self._intake.prove(peer, now)
        if peer is None or not peer.is_live:
            del core.links[sender]
            return False
        peer.partial = partial
        self._pending.pop(sender, None)
        member = core.store.get(sender, RecordKind.MEMBER)
        if member is not None:
            core.contacts.table.heard(member, now)
        if core.store.get(sender, RecordKind.CERTIFICATE) is None:
            core.send(sender, Want(((RecordKind.CERTIFICATE, sender),)))
        return True

    def _drop(self, node: NodeId, now: float, tell: bool) -> None:
        """`node` is no neighbour, and not asked to be one."""
        core = self._core
        self._pending.pop(node, None)
        core.links.pop(node, None)
        if tell:
            core.send(node, Unlink(core.partial, core.nodes), self._items(own=False))
        peer = core.members.get(node)
        if core.partial and peer is not None and peer.is_live:
            self._release(peer, now)
        self._reviewed = -1

    def _release(self, peer: Peer, now: float) -> None:
        """Keep of a member no more than what makes it a contact."""
        core = self._core
        record = core.store.get(peer.id, RecordKind.MEMBER)
        self._suspects.cleared(peer)
        core.members.remove(peer.id)
        core.release(peer.id)
        core.outputs.append(MemberForgotten(peer.id))
        if record is not None and not record.withdrawn:
            core.contacts.hint(record)
            if peer.is_live and peer.heard_at > float("-inf"):
                core.contacts.heard(peer.id, now)

    def _shrink(self, spared: NodeId | None, now: float) -> None:
        """Drop neighbours at random while there are too many, those still to answer first."""
        core = self._core
        if not core.partial:
            excess = [node for node in core.links if node != spared]
            for node in core.rng.sample(excess, max(0, len(core.links) - core.config.active_view)):
                self._drop(node, now, tell=True)
            return
        while core.members.live > core.config.active_view:
            live = [node for node in core.members.live_ids() if node != spared]
            unsure = [node for node in live if node not in core.links]
            self._drop(core.rng.choice(unsure or live), now, tell=True)

    def _mix(self, now: float) -> None:
        """Exchange a neighbour for a contact: else islands that are full stay islands."""
        core = self._core
        self._mix_at = now + core.config.refresh_interval * core.rng.uniform(0.75, 1.25)
        for record in self._candidates(1, now):
            if core.members.live >= core.config.active_view:
                self._drop(core.rng.choice(core.members.live_ids()), now, tell=True)
            self._ask(record.subject, now, urgent=True)

    def _ask(self, node: NodeId, now: float, urgent: bool = False) -> None:
        core = self._core
        urgent = urgent or self._degree() == 0
        self._pending[node] = now
        core.send(node, Link(urgent, core.partial, core.nodes), self._items(own=True, told=False))
        self._seek(now)

    def _candidates(self, count: int, now: float) -> list[Record]:
        core = self._core
        patience = DECLINED_FOR * core.config.probe_period
        declined = [node for node, at in self._declined.items() if now - at < patience]
        linked = [*core.links, *self._pending]
        if core.partial:
            linked += core.members.live_ids()
        found = core.contacts.sample(count, core.rng, [*linked, *declined])
        if not found and not core.links:
            self._declined.clear()
        return found

    def _degree(self) -> int:
        """To how many others this node tells news."""
        core = self._core
        if core.partial:
            return len(core.links)
        return sum(core.tells(node) for node in core.members.live_ids())

    def _seek(self, now: float) -> None:
        """See that the timer runs: soon while something is to be done, else for the mixing."""
        core = self._core
        busy = bool(self._pending) or self._degree() < self._wanted
        if busy and not (self._busy and core.timers.pending(Timer.VIEW)):
            core.timers.schedule(Timer.VIEW, now + core.config.probe_period / 2)
        elif not busy and core.partial:
            core.timers.schedule(Timer.VIEW, max(now, self._mix_at))
        self._busy = busy
