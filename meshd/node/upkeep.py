"""What is done when time has passed: retries, renewals, probes, relays.

One pass over the peers when the earliest of them needs something, never more often than
`MIN_INTERVAL`: those are looked at that need something, that something came from or that packets
flow to; all of them when something has changed. Probes of all peers together stay within a budget.
Between two passes only those whose loss is measured are looked at: that is often, and they are few.
"""

from __future__ import annotations

from gossip import NodeId
from meshd.node.allowance import PROBE_SPARED
from meshd.node.channels import Channels
from meshd.node.choice import backup
from meshd.node.dialogue import Dialogue
from meshd.node.doubling import DOUBLE_FOR, Double
from meshd.node.handshaking import Handshakes
from meshd.node.pacing import RELAY_SEEK, Load, Pace
from meshd.node.path import PathKind
from meshd.node.paths import DueProbe
from meshd.node.peer import HANDSHAKE_RETRY_FIRST, Peer
from meshd.node.punching import Punching
from meshd.node.relay import Relay
from meshd.node.seeking import Seeking
from meshd.node.shortlist import BEST
from meshd.node.state import NodeState
from meshd.node.streams import Streams
from meshd.node.ways import is_held

MIN_INTERVAL = 0.05
PACE_INTERVAL = 1.0
"""Seconds between two looks at how much there is to ask."""
MAX_INTERVAL = 5.0
RELAY_AFTER = 0.3
"""Seconds that a direct handshake may take before relays are asked too."""
RELAY_AGAIN = 5.0
"""The longest pause before they are asked again; it begins with a second and grows with that
between two handshakes while there is no path at all, since questions and answers may be lost."""
FRESH_START = 30.0
"""Seconds from this node's start in which it calls on those it knows from disk, though gossip has
not heard of them yet."""
PROBE_BYTES = 100
"""What a probe counts for an address that is not proven."""
PROBE_SIZE = 48
"""Bytes of a probe."""
RELAY_IN_DOUBT = 1.0
"""Seconds between two times that relays are asked since the only path is in doubt."""
DOUBLE_AGAIN = 5.0
"""Seconds from a doubt to the next in which frames go by a second path too."""
MEASURE_RATE = 200.0
"""Probes per second, and at once, that only measure loss."""


class Upkeep:
    """Drives peers along. Changes attempts, sessions, paths and outputs."""

    def __init__(
        self,
        state: NodeState,
        handshakes: Handshakes,
        dialogue: Dialogue,
        channels: Channels,
        relay: Relay,
        seeking: Seeking,
        streams: Streams,
        punching: Punching,
        now: float,
    ) -> None:
        self._state = state
        self._handshakes = handshakes
        self._dialogue = dialogue
        self._channels = channels
        self._relay = relay
        self._seeking = seeking
        self._streams = streams
        self._punching = punching
        self._neighbours: frozenset[NodeId] | None = None
        self._fresh_until = now + FRESH_START
        self._ran_at = -1e9
        self._connected = 0
        self._pace, self._paced_at = Pace(), -1e9
        self._everyone = True
        """Whether something has changed that may be about any peer."""
        self._measures = MEASURE_RATE
        self._measured: list[Peer] = []
        """Those that packets flow to."""
        self._pass_at = -1e9
        """When all peers are to be looked at."""
        self.next_at = -1e9
        """When `run` has something to do."""

    def touch(self, now: float) -> None:
        """Something changed: look soon, at all of them."""
        self._everyone = True
        self._pass_at = min(self._pass_at, max(now, self._ran_at + MIN_INTERVAL))
        self.next_at = min(self.next_at, self._pass_at)

    def run(self, now: float) -> None:
        """Do what is due, for every peer or those that are measured."""
        if now < self.next_at:
            return
        self._measures = min(MEASURE_RATE, self._measures + (now - self._ran_at) * MEASURE_RATE)
        self._ran_at = now
        if now >= self._pass_at:
            self._pass(now)
        due = self._pass_at
        for peer in self._measured:
            due = min(due, self._measure(peer, now))
        self.next_at = max(now + MIN_INTERVAL, due)

    def _pass(self, now: float) -> None:
        peers = self._state.peers.values()
        self._connected = sum(p.current is not None or p.attempt is not None for p in peers)
        self._neighbours = self._seeking.neighbours()
        self._state.allowance.members = len(peers)
        due = now + MAX_INTERVAL
        if now - self._paced_at >= PACE_INTERVAL:
            self._pace, self._paced_at = self._load(now).pace(), now
        everyone, self._everyone = self._everyone, False
        for peer in list(peers):
            if everyone or now >= peer.look_at or peer.active(now):
                peer.look_at = self._look(peer, now)
            due = min(due, peer.look_at)
        self._handshakes.unproven.expire(now)
        self._relay.expire(now)
        self._streams.run(now)
        pings = self._dialogue.expire_pings(now)
        self._pass_at = max(now + MIN_INTERVAL, due if pings is None else min(due, pings))
        self._measured = [p for p in peers if p.paths.measuring or p.active(now)]

    def _look(self, peer: Peer, now: float) -> float:
        """Do what is due for one peer; when to look again."""
        if peer.certificate is None and peer.attempt is None:
            return now + MAX_INTERVAL
        self._sessions(peer, now)
        if peer.attempt is None and peer.current is None:
            return now + MAX_INTERVAL
        return self._ways(peer, now)

    def _load(self, now: float) -> Load:
        load = Load()
        for peer in self._state.peers.values():
            if peer.current is None:
                continue
            load.sessions += 1
            load.spares += peer.paths.spares
            load.candidates += peer.paths.candidates
            if peer.path is not None and peer.path.rank:
                load.relayed += 1
                load.active += peer.active(now)
        return load

    def _measure(self, peer: Peer, now: float) -> float:
        """Probe for loss if it is time; when it is next."""
        paths = peer.paths
        watch_at = paths.watch(now)
        probe = paths.measure(now, peer.active(now))
        probes = [] if probe is None else [probe]
        if paths.doubted:
            probes += self._rescue(peer, now)
        else:
            peer.double = None
        for each in probes:
            if self._measures >= 1:
                self._measures -= 1
                self._dialogue.probe(peer, each, now)
        if paths.changed:
            self._dialogue.paths_changed(peer, now)
        return min(watch_at, paths.measure_at) if paths.measuring else now + MAX_INTERVAL

    def _rescue(self, peer: Peer, now: float) -> list[DueProbe]:
        """The path in use is in doubt: let a second one carry what is small, look for others."""
        second = backup(peer.paths, peer.path)
        if second is None:
            self._pass_at = min(self._pass_at, now + MIN_INTERVAL)  # candidates are due
            if now - peer.relay_asked_at >= RELAY_IN_DOUBT:
                self._channels.ask(peer, now)
        elif peer.double is None:
            if now - peer.doubled_at >= DOUBLE_AGAIN:
                peer.doubled_at = now
                peer.double = Double(second, now + DOUBLE_FOR)
        else:
            peer.double.path = second
        return peer.paths.rescue(now)

    def _sessions(self, peer: Peer, now: float) -> None:
        fresh = peer.state == "dead" and now < self._fresh_until
        wanted = fresh or peer.state in ("alive", "suspect")
        if self._neighbours is not None and peer.id not in self._neighbours:
            wanted = wanted and self._seeking.wants(peer, now)
        for session in peer.sessions():
            if session.expired(now):
                self._handshakes.forget(session)
                peer.current = None if peer.current is session else peer.current
                peer.previous = None if peer.previous is session else peer.previous
                peer.next_session = None if peer.next_session is session else peer.next_session
            else:
                session.reassembler.expire(now)
        attempt = peer.attempt
        if attempt is not None and now >= attempt.next_at:
            peer.last_error = "no answer to the handshake"
            if wanted:
                self._handshakes.retry(peer, now)
            else:
                self._handshakes.abandon(peer)
                self._state.drops["unreachable"] += len(peer.take_packets())
        elif attempt is None and peer.current is not None:
            lost = peer.path is None and now - peer.current.created_at > 3.0
            if wanted and (peer.current.wants_rekey(now) or lost):
                self._handshakes.begin(peer, now)
        elif attempt is None and (peer.packets or (wanted and self._has_room())):
            self._connected += self._handshakes.begin(peer, now)

    def _has_room(self) -> bool:
        return self._connected < self._state.config.max_peers

    def _ways(self, peer: Peer, now: float) -> float:
        """Relays and probes for one peer; when it needs something next."""
        due = now + MAX_INTERVAL
        attempt, path = peer.attempt, peer.path
        slow_at = now + MAX_INTERVAL
        if attempt is not None:
            tried = peer.retry > 2 * HANDSHAKE_RETRY_FIRST  # it is not the first attempt
            held = any(is_held(self._state, peer, endpoint) for endpoint in peer.candidates())
            slow_at = attempt.started_at + (0.0 if tried or held else RELAY_AFTER)
            due = min(due, attempt.next_at, slow_at if slow_at > now else due)
        relayed = any(p.relay is not None and p.valid for p in peer.paths)
        needs_relay = (path is None or path.kind is not PathKind.DIRECT) and not relayed
        if needs_relay and (slow_at <= now or (path is None and peer.current is not None)):
            again = RELAY_AGAIN
            if path is None:
                again = min(again, max(HANDSHAKE_RETRY_FIRST, peer.retry / 2))
            hurried = self._pace.seek <= RELAY_SEEK or peer.wanted(now)
            best = BEST if hurried else 1
            if now - peer.relay_asked_at >= again and not self._channels.ask(peer, now, best):
                peer.relay_asked_at = now - again + RELAY_AFTER
            due = min(due, peer.relay_asked_at + again)
        elif path is not None and path.relay is not None:
            pause = self._pace.seek_active if peer.active(now) else self._pace.seek
            seek_at = peer.relay_sought_at + pause - RELAY_SEEK
            if now >= seek_at:
                self._channels.seek(peer, now)
            due = min(due, max(seek_at, now + 1.0))
        due = min(due, self._streams.follow(peer, now), self._punch(peer, now))
        if peer.current is None:
            return due
        peer.paths.pace = self._pace
        for probe in peer.paths.due(now, peer.active(now)):
            if self._affords(peer, probe, now):
                self._dialogue.probe(peer, probe, now)
            elif probe.path.next_probe_at < float("inf"):
                peer.paths.put_off(probe, now)
        if peer.paths.changed:
            if peer.path is None:
                peer.last_error = "no answer to three probes"
            self._dialogue.paths_changed(peer, now)
        upcoming = peer.paths.next_at()
        return due if upcoming is None else min(due, upcoming)

    def _punch(self, peer: Peer, now: float) -> float:
        return self._punching.follow(peer, now, self._pace.punch)

    def _affords(self, peer: Peer, probe: DueProbe, now: float) -> bool:
        """Whether a probe may leave: what works is asked first, candidates leave it some room."""
        path, state = probe.path, self._state
        if path.valid:
            return state.probes.take(now)
        if not path.claimed and not path.spend(PROBE_SIZE):
            path.next_probe_at = float("inf")  # until something comes from there again
            return False
        if path.claimed and path.kind is PathKind.DIRECT:
            wanted = peer.wanted(now)
            if not state.allowance.take(path.endpoint[0], PROBE_BYTES, now, wanted):
                return False
        return state.probes.take(now, PROBE_SPARED)
