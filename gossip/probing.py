"""SWIM's probes: round robin in random order, then k others, with Lifeguard's care for oneself.

    A                       target      helpers (k)
    |-- PING n ---------------->|           |      at 0
    |   (no ACK n within srtt + 4 rttvar)   |
    |-- PING_REQUEST n, target ------------>|      at the timeout
    |                           |<- PING m -|
    |<- ACK n, or NACK n -------------------|      a NACK at 0.8 * probe_timeout_max
    |   (nothing from the target by the end of the period: the probe failed)

Period and timeout stretch by (1 + health), where health is Lifeguard's local multiplier: a failed
probe whose helpers were silent too speaks against us, not against the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossip.coordinates import ORIGIN, Coordinate
from gossip.core import Core
from gossip.ids import NodeId
from gossip.messages import Nack, Ping, PingRequest
from gossip.rotation import Rotation
from gossip.timers import Timer

NACK_AT: Final = 0.8
"""Of probe_timeout_max: when a helper gives up (the value of swift-cluster-membership)."""

MAX_CHECKS: Final = 64
"""Probes outside the round robin at a time."""

MAX_FOR_ONE: Final = 16
"""Of the probes made for others at a time, those for one requester."""


@dataclass(slots=True)
class _Probe:
    target: NodeId
    started_at: float
    is_check: bool
    helpers: dict[NodeId, bool] | None = None
    """Those asked, and whether they sent a nack."""


@dataclass(frozen=True, slots=True)
class _Relayed:
    requester: NodeId
    nonce: int
    target: NodeId


class Prober:
    """Begins probes, and says of each that ends without an answer who failed it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._rotation = Rotation(core.members, core.rng)
        self._nonce = core.rng.getrandbits(32)
        self._probes: dict[int, _Probe] = {}
        self._relayed: dict[int, _Relayed] = {}
        self.current = 0
        """The nonce of the round robin's last probe; its period ends as the next begins, so that it
        needs no deadline of its own."""

    @property
    def interval(self) -> float:
        """Seconds from one probe to the next: the period, stretched by poor health."""
        return self._core.config.probe_period * (1 + self._core.health)

    def insert(self, node: NodeId) -> None:
        """A new member is to be probed too."""
        self._rotation.insert(node)

    def next_round(self, now: float) -> None:
        """Probe the next member, and set the time of the one after. The last one has ended."""
        target = self._rotation.next()
        interval = self.interval
        if target is not None:
            self.current = self._start(target, now, is_check=False)
        self._core.timers.schedule(Timer.PROBE, now + interval)

    def check(self, target: NodeId, now: float) -> bool:
        """Probe `target` out of turn; whether such a probe is now under way."""
        if any(probe.target == target for probe in self._probes.values()):
            return True
        if len(self._probes) > MAX_CHECKS:
            return False
        nonce = self._start(target, now, is_check=True)
        self._core.timers.schedule(Timer.PROBE_END, now + self.interval, nonce)
        return True

    def on_timeout(self, nonce: int, now: float) -> None:
        """No direct answer in time: ask k others, unless it was heard otherwise."""
        probe = self._probes.get(nonce)
        if probe is None or self._heard_since(probe):
            return
        core = self._core
        helpers = core.members.sample(core.config.indirect_probes, core.rng, probe.target)
        probe.helpers = dict.fromkeys(helpers, False)
        for helper in helpers:
            core.counters.indirect_probes += 1
            core.send(helper, PingRequest(nonce, probe.target), news=True)

    def on_end(self, nonce: int, due_at: float, now: float) -> NodeId | None:
        """The period is over; the target, if the probe failed."""
        probe = self._probes.pop(nonce, None)
        core = self._core
        if probe is None or core.members.get(probe.target) is None:
            return None
        if self._heard_since(probe):
            core.adjust_health(-1)
            return None
        late = now - due_at > core.config.probe_period / 2
        if late and core.config.policy.tolerate_lateness:
            # We come late ourselves: an answer may lie unread. It says nothing of the target.
            core.adjust_health(1)
            return None
        if not probe.is_check:
            helpers = probe.helpers or {}
            nacks = sum(helpers.values())
            expected = len(helpers) if core.config.policy.nacks else 0
            core.adjust_health(expected - nacks if expected else 1)
            if not nacks:
                core.guard.probe_failed()
        core.counters.probes_failed += 1
        return probe.target

    def on_ack(self, nonce: int, sender: NodeId, now: float, place: Coordinate = ORIGIN) -> None:
        """An answer, from the target or from a helper, to a probe of ours or one we relay.

        `place` is the sender's; only a round trip straight to it measures anything.
        """
        relayed = self._relayed.get(nonce)
        if relayed is not None and relayed.target == sender:
            del self._relayed[nonce]
            self._core.timers.cancel(Timer.RELAY, nonce)
            self._answer(relayed.requester, relayed.nonce)
            return
        probe = self._probes.get(nonce)
        if probe is None:
            return
        peer = self._core.members.get(probe.target)
        if peer is None or (sender != probe.target and sender not in (probe.helpers or ())):
            return
        if sender == probe.target:
            rtt = max(0.0, now - probe.started_at)
            peer.measure(rtt)
            self._core.vivaldi.observe(sender, place, rtt)
        if now > peer.heard_at:
            peer.heard_at = now
        self._core.adjust_health(-1)
        self._finish(nonce)

    def on_nack(self, nonce: int, sender: NodeId) -> None:
        """A helper is there, and had no answer either."""
        probe = self._probes.get(nonce)
        if probe is not None and probe.helpers and probe.helpers.get(sender) is False:
            probe.helpers[sender] = True
            self._core.counters.nacks_received += 1

    def on_request(self, nonce: int, target: NodeId, requester: NodeId, now: float) -> None:
        """Try `target` for somebody. Only members and contacts are tried, so many at a time."""
        core = self._core
        if target == core.identity:
            self._answer(requester, nonce)
            return
        peer = core.members.get(target)
        if peer is None and core.contacts.table.get(target) is None:
            core.send(requester, Nack(nonce))
            return
        for_it = sum(relayed.requester == requester for relayed in self._relayed.values())
        if len(self._relayed) >= core.config.max_relayed_probes or for_it >= MAX_FOR_ONE:
            core.counters.refuse("relayed-probes-full")
            return
        own = self._new_nonce()
        self._relayed[own] = _Relayed(requester, nonce, target)
        core.send(target, Ping(own), core.buddy_items(peer) if peer is not None else [])
        core.timers.schedule(Timer.RELAY, now + NACK_AT * core.config.probe_timeout_max, own)

    def on_relay_timeout(self, nonce: int) -> None:
        """The target of a relayed probe did not answer in time."""
        relayed = self._relayed.pop(nonce, None)
        if relayed is not None and self._core.config.policy.nacks:
            self._core.send(relayed.requester, Nack(relayed.nonce), news=True)

    def _answer(self, requester: NodeId, nonce: int) -> None:
        self._core.send(requester, self._core.ack(nonce, requester), news=True)

    def _start(self, target: NodeId, now: float, is_check: bool) -> int:
        """Send the first PING to a member; the nonce of the probe."""
        core = self._core
        peer = core.members.get(target)
        assert peer is not None  # whose turn it is, and who is checked, are members
        nonce = self._new_nonce()
        self._probes[nonce] = _Probe(target, now, is_check)
        core.counters.probes += 1
        # A suspect gets its accusation only: news is not spent on those who may be dead.
        news = not (peer.accusers and core.config.policy.buddy)
        core.send(target, Ping(nonce), core.buddy_items(peer), news=news)
        config = core.config
        timeout = config.probe_timeout_max
        if peer.srtt is not None:
            measured = peer.srtt + 4 * peer.rttvar
            timeout = min(timeout, max(config.probe_timeout_min, measured))
        core.timers.schedule(Timer.PROBE_TIMEOUT, now + timeout * (1 + core.health), nonce)
        return nonce

    def _finish(self, nonce: int) -> None:
        probe = self._probes.pop(nonce)
        self._core.timers.cancel(Timer.PROBE_TIMEOUT, nonce)
        if probe.is_check:
            self._core.timers.cancel(Timer.PROBE_END, nonce)

    def _heard_since(self, probe: _Probe) -> bool:
        peer = self._core.members.get(probe.target)
        counts = self._core.config.policy.traffic_is_life
        return counts and peer is not None and peer.heard_at >= probe.started_at

    def _new_nonce(self) -> int:
        self._nonce = self._nonce % 0xFFFFFFFF + 1  # 0 awaits no answer
        return self._nonce
