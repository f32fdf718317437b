"""From an accusation to a verdict, or back: the life of a suspicion on this node.

An accusation makes a member suspect and starts a timer (see `suspicion`); others' accusations
shorten it. Every node also looks for itself, at a random instant of the first half of the
shortest timer: so independent confirmations come quickly where the accused is dead, and no node
declares dead whom it has not failed to reach itself. Whoever lies about others wins nothing.
"""

from __future__ import annotations

from gossip import suspicion
from gossip.core import Core
from gossip.events import MemberDown, MemberSuspected, MemberUp
from gossip.ids import NodeId
from gossip.items import Accusation, encode_item
from gossip.members import MemberState, Peer, accusation_counts
from gossip.probing import Prober
from gossip.quota import Quota
from gossip.timers import Timer


class Suspects:
    """Acts on the members that are accused, by this node's probes or by others."""

    def __init__(self, core: Core, prober: Prober) -> None:
        self._core = core
        self._prober = prober
        config = core.config
        rate = config.accusation_rate / config.probe_period
        self._quota = Quota(config.accusation_burst, rate, config.max_members)

    def probe_failed(self, target: NodeId, now: float) -> None:
        """This node's own probe of `target` failed: accuse it, unless enough others did."""
        core = self._core
        peer = core.members.get(target)
        if peer is None or not peer.is_live:
            return
        peer.failed_at = now
        enough = len(peer.accusers) > core.config.suspicion_confirmations
        suspect = peer.state is MemberState.SUSPECT
        if core.identity in peer.accusers:
            if not suspect:
                self._suspect(peer, now)
            return
        if suspect and enough:
            return
        core.counters.accusations_made += 1
        self._accuse(peer, core.identity, core.charge(peer), now)

    def accused(self, accusation: Accusation, now: float) -> None:
        """A verified accusation by another node."""
        core = self._core
        peer = core.members.get(accusation.subject)
        if peer is None or not accusation_counts(
            accusation.sequence, accusation.accuser, peer, core.config.max_accusers
        ):
            return
        if not self._quota.take(accusation.accuser, now):
            core.counters.refuse("accuser-over-quota")
            return
        self._accuse(peer, accusation.accuser, encode_item(accusation), now)

    def cleared(self, peer: Peer) -> None:
        """The subject raised its sequence, or left: what was said of the old one is void."""
        core = self._core
        for accuser in peer.accusers:
            core.news.discard((peer.id, accuser))
        core.news.discard((peer.id, peer.id))
        peer.accusers.clear()
        peer.charge = None
        peer.confirmations = 0
        core.timers.cancel(Timer.SUSPICION, peer.id)
        core.timers.cancel(Timer.CHECK, peer.id)

    def told_dead(self, peer: Peer, now: float) -> None:
        """Somebody else declared it dead: plain SWIM believes that and passes it on."""
        if peer.is_live and not self._core.config.policy.own_verdict:
            self._condemn(peer, now)

    def check(self, node: NodeId, now: float) -> None:
        """See for ourselves, if it is still suspect and we have not failed to reach it since."""
        peer = self._core.members.get(node)
        if peer is None or peer.state is not MemberState.SUSPECT:
            return
        if peer.failed_at < peer.suspected_at:
            self._prober.check(node, now)

    def expired(self, node: NodeId, due_at: float, now: float) -> None:
        """A suspicion ran out: wait, clear, look once more, or declare dead."""
        core = self._core
        peer = core.members.get(node)
        if peer is None or peer.state is not MemberState.SUSPECT:
            return
        policy = core.config.policy
        core.guard.evaluate(now)
        until = core.guard.verdicts_wait_until()
        if until is not None and until > now:
            core.timers.schedule(Timer.SUSPICION, until, node)
        elif policy.tolerate_lateness and now - due_at > core.config.probe_period:
            # We come late ourselves: a refutation may lie unread.
            core.timers.schedule(Timer.SUSPICION, now + core.config.probe_period, node)
        elif policy.own_failure and peer.heard_at > max(peer.suspected_at, peer.failed_at):
            self._move(peer, MemberState.ALIVE, now)
            core.outputs.append(MemberUp(node))
        elif policy.own_failure and peer.failed_at < peer.suspected_at:
            self._prober.check(node, now)
            core.timers.schedule(Timer.SUSPICION, now + 1.1 * self._prober.interval, node)
        else:
            self._condemn(peer, now)

    def _condemn(self, peer: Peer, now: float) -> None:
        core = self._core
        peer.condemned = True
        core.counters.verdicts += 1
        if core.identity in peer.accusers and core.config.policy.own_verdict:
            # Once more, for those who missed it and still wait for confirmations.
            core.spread_accusation(peer.id, core.identity, core.charge(peer), now)
        self._move(peer, MemberState.DEAD, now)
        core.outputs.append(MemberDown(peer.id))
        if not core.config.policy.own_verdict:
            core.spread_verdict(peer, now)

    def _accuse(self, peer: Peer, accuser: NodeId, item: bytes, now: float) -> None:
        core = self._core
        peer.accusers[accuser] = True
        if len(peer.accusers) <= core.config.suspicion_confirmations + 1:
            core.spread_accusation(peer.id, accuser, item, now)
        if peer.state is MemberState.ALIVE:
            self._suspect(peer, now)
            return
        peer.confirmations += 1
        timeout = suspicion.timeout(core.config, core.members.live + 1, peer.confirmations)
        core.timers.schedule(Timer.SUSPICION, max(now, peer.suspected_at + timeout), peer.id)

    def _suspect(self, peer: Peer, now: float) -> None:
        core = self._core
        peer.suspected_at = now
        peer.confirmations = 0
        self._move(peer, MemberState.SUSPECT, now)
        core.outputs.append(MemberSuspected(peer.id))
        members = core.members.live + 1
        timeout = suspicion.timeout(core.config, members, 0)
        core.timers.schedule(Timer.SUSPICION, now + timeout, peer.id)
        if peer.failed_at < now and core.config.policy.own_failure:
            within = suspicion.shortest(core.config, members) / 2
            core.timers.schedule(Timer.CHECK, now + core.rng.uniform(0, within), peer.id)

    def _move(self, peer: Peer, state: MemberState, now: float) -> None:
        self._core.members.move(peer, state, now)
