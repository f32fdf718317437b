"""Coming together, and back together: seeds, the dead, and those long gone.

Nobody who was ever a member is given up before `retention`: a split of any length below it heals
by itself. One contact between the two sides is enough to begin: it shows that the dead may be
back, and for `heal_burst` seconds all nodes then try their dead at the fast pace, which is about
one attempt per dead member and interval over the whole cluster (serf's rule).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossip import messages
from gossip.antientropy import Synchroniser
from gossip.core import Core
from gossip.events import MemberForgotten
from gossip.ids import NodeId
from gossip.members import MemberState, Peer
from gossip.messages import Gossip, Ping, Want
from gossip.records import RecordKind
from gossip.timers import Timer

MAX_HEALS: Final = 8
"""Dead members tried at a time."""

MAX_PROVED: Final = 64
"""Members known from disk whose state is asked for at a time."""

MAX_SEEDS: Final = 64
MAX_STRANGERS: Final = 1024


class Healer:
    """Contacts those who ought to be members but are not, and answers those who are back."""

    def __init__(self, core: Core, sync: Synchroniser, now: float) -> None:
        self._core = core
        self._sync = sync
        self._seeds: dict[NodeId, tuple[float, float]] = {}
        """Per seed: when it is asked next, and the pause after that."""
        self._strangers: dict[NodeId, float] = {}
        self._burst_until = now
        core.timers.schedule(Timer.HEAL, now + core.config.heal_interval * core.rng.random())
        core.timers.schedule(Timer.REAP, now + core.config.retention / 48)

    def join(self, seeds: Sequence[NodeId], now: float) -> None:
        """Take on seeds: ask them until they are members, and ever again when they are not."""
        for seed in seeds:
            if seed != self._core.identity and len(self._seeds) < MAX_SEEDS:
                self._seeds.setdefault(seed, (now, self._core.config.join_interval))
        if self._seeds:
            self._sync.begin_joining(now)
            self.on_join_timer(now)

    def seeds(self) -> list[NodeId]:
        """All of them, members or not."""
        return list(self._seeds)

    def on_join_timer(self, now: float) -> None:
        """Ask the seeds that are due, a few at a time."""
        core = self._core
        asked = 0
        for seed, (at, pause) in list(self._seeds.items()):
            if at > now:
                continue
            peer = core.members.get(seed)
            if peer is not None and peer.is_live and peer.heard_at > now - core.config.retry_max:
                self._seeds[seed] = (now + core.config.retry_max, core.config.join_interval)
            elif asked < core.config.join_seeds:
                asked += 1
                self._sync.greet(seed)
                self._seeds[seed] = (now + pause, min(2 * pause, core.config.retry_max))
        soonest = min(at for at, _ in self._seeds.values())
        core.timers.schedule(Timer.JOIN, max(soonest, now + core.config.join_interval))

    def begin_burst(self, now: float) -> None:
        """Try the dead at the fast pace for a while: from now on, unless it is kept already.

        Each of many who come back begins a burst; were some tried at once each time, pings and
        their answers would be a storm, on which all that is told would be spent.
        """
        if now >= self._burst_until:
            self._core.timers.schedule(Timer.HEAL, now)
        self._burst_until = now + self._core.config.heal_burst

    def on_heal_timer(self, now: float) -> None:
        """Try as many of the dead as there are dead for each live member, at random."""
        core = self._core
        fast = now < self._burst_until
        dead = core.members.in_state(MemberState.DEAD)
        due = min(float(MAX_HEALS), len(dead) / max(1, core.members.live))
        tries = int(due) + (core.rng.random() < due - int(due))
        for peer in core.rng.sample(dead, min(tries, len(dead))):
            core.send(peer.id, Ping(0), core.charges(peer))
        if fast:
            self._prove([peer for peer in dead if not peer.condemned], now)
        pause = core.config.heal_burst_interval if fast else core.config.heal_interval
        core.timers.schedule(Timer.HEAL, now + pause * core.rng.uniform(0.75, 1.25))

    def _prove(self, unproven: list[Peer], now: float) -> None:
        """Those we know from disk: try some, and ask somebody how it sees more of them.

        Others may know them to be alive with the very records that we hold, so that nothing but
        the state that comes with a record can tell us.
        """
        core = self._core
        turn = sorted(unproven, key=lambda peer: peer.asked_at)[:MAX_PROVED]
        for peer in turn:
            peer.asked_at = now
        for peer in turn[:MAX_HEALS]:
            core.send(peer.id, Ping(0))
        partner = core.members.sample(1, core.rng)
        if turn and partner:
            core.send(partner[0], Want(tuple((RecordKind.MEMBER, peer.id) for peer in turn)))

    def met(self, sender: NodeId, sequence: int, now: float) -> None:
        """A message came from `sender`, whose MEMBER record has `sequence`: set things right.

        If we lack that record, ask for it. If it lacks its own (its state was lost), show it. If we
        hold something against it, say so, for it to refute.
        """
        core = self._core
        peer = core.members.get(sender)
        if peer is None:
            if sequence and not core.partial and self._may_ask(sender, now):
                core.send(sender, Want(((RecordKind.MEMBER, sender),)))
            return
        settled = peer.state is MemberState.ALIVE or peer.state is MemberState.LEFT
        if sequence == peer.sequence and settled:
            return
        if now - peer.answered_at < core.config.probe_period / 2:
            return
        peer.answered_at = now
        if sequence > peer.sequence:
            core.send(sender, Want(((RecordKind.MEMBER, sender),)))
        elif sequence < peer.sequence:
            self._show(peer)
        elif core.config.policy.tell_suspects:
            core.send(sender, Gossip(), core.charges(peer))

    def remind(self, peer: Peer, now: float) -> None:
        """`peer` was heard otherwise than by a message; if we doubt it, say so."""
        if peer.state is not MemberState.ALIVE:
            self.met(peer.id, peer.sequence, now)

    def reap(self, now: float) -> None:
        """Stop offering those gone for half the retention; forget those gone for all of it."""
        core = self._core
        retention = core.config.retention
        for state in (MemberState.DEAD, MemberState.LEFT):
            for peer in core.members.in_state(state):
                if now - peer.since >= retention:
                    core.members.remove(peer.id)
                    core.forget(peer.id)
                    core.outputs.append(MemberForgotten(peer.id))
                elif now - peer.since >= retention / 2:
                    core.store.hide(peer.id)
        core.timers.schedule(Timer.REAP, now + retention / 48)

    def _show(self, peer: Peer) -> None:
        core = self._core
        record = core.store.get(peer.id, RecordKind.MEMBER)
        if record is not None:
            core.send(peer.id, messages.Records(), [core.record_item(record)])

    def _may_ask(self, stranger: NodeId, now: float) -> bool:
        asked = self._strangers.pop(stranger, float("-inf"))
        if len(self._strangers) >= MAX_STRANGERS:
            del self._strangers[next(iter(self._strangers))]
        due = now - asked >= self._core.config.probe_period / 2
        self._strangers[stranger] = now if due else asked
        return due
