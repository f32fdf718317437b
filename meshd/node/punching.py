"""Two nodes behind NATs open their NATs for each other at one moment.

    caller                              answerer            over the session they have (relayed)
      PUNCH: my next ports  ------------->
           <-------------------------  PUNCH: mine; begin in 30 ms
      probes to the answerer's            probes to the caller's, half a round trip later

A packet that arrives before the other side has sent is dropped by most NATs, and by some takes the
very port that is to be opened; so neither sends to the other's public endpoints before, and both do
so at once. Clocks and computers being what they are, both let a datagram leave beforehand that dies
behind their own NAT and opens it: the caller before it calls, the answerer before it answers, so
that nothing can come too early.

Ports that count (see `mapping`) are foretold. With both counting, one side's targets go up by twos,
in turns: then, whatever the two forecasts are off by, one of the pairs meets (the two lines cross
at whole numbers), if only that is within the sixteen.

Repeated with pauses that grow, one of them longer than NATs remember (30 s); at once when an
endpoint changes. For peers that no packets flow to there are so many rounds a second, for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meshd.node import control
from meshd.node.allowance import PROBE_SPARED
from meshd.node.control import Control
from meshd.node.dialogue import Dialogue
from meshd.node.mapping import is_public
from meshd.node.outputs import OpenNat
from meshd.node.peer import Peer
from meshd.node.records import NodeRecord
from meshd.node.state import NodeState
from meshd.node.ways import is_nated, may_be
from meshd.node.wire import Endpoint

SHOTS: Final = 16
"""Forecasts of one burst."""
BEFORE: Final = 4
"""Of a counting port, so many below the forecast, where only one side counts."""
LEADS: Final = (5, 2)
"""Steps below the forecast at which the two sides begin where both count."""
PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 40.0, 60.0)
"""Seconds between bursts; then the last."""
ROUNDS_BURST: Final = 16.0
ROUNDS_RATE: Final = 0.5
"""Rounds at once and per second, for all peers that no packets wait for or flow to; half of those
at once are for first rounds."""
PUT_OFF: Final = 2.0
"""Seconds until one is looked at again that there was no room for; times 0.5 to 1.5."""
LEAD_TIME: Final = 0.03
"""Seconds that the answerer gives both to be ready."""
COUNTING_BEHIND: Final = 0.15
"""Seconds by which a side whose ports count is later than one whose ports do not: it is the other's
NAT that may mind what comes too early."""
MAX_WAIT: Final = 1.0
"""Seconds that a peer may let us wait."""
ANSWER_AGAIN: Final = 0.3
"""Seconds from one answer to the next to one peer."""
MAX_TOLD: Final = 4
"""Endpoints in one message."""
ANSWER_WITHIN: Final = 3.0
"""Seconds after which an answer is none any more."""
HOPS: Final = 2
"""Routers that a datagram passes which is to open our NAT alone: that, and one behind it."""
MAX_BURSTS: Final = 64
"""Bursts planned at a time."""
FIRST_WAIT: Final = 1.0
"""Seconds that the first burst waits for the session's round trip to be known."""


@dataclass(slots=True)
class Burst:
    """Probes that leave at one moment."""

    peer: Peer
    targets: list[Endpoint]
    at: float


class Punching:
    """Takes PUNCH messages; sends probes to endpoints that are no paths yet."""

    def __init__(self, state: NodeState, dialogue: Dialogue) -> None:
        self._state = state
        self._dialogue = dialogue
        self._bursts: list[Burst] = []
        self._rounds, self._rounds_at = ROUNDS_BURST, float("-inf")
        dialogue.handlers[control.Punch] = self._take

    @property
    def next_at(self) -> float:
        """When `run` has something to do."""
        return min((burst.at for burst in self._bursts), default=float("inf"))

    def follow(self, peer: Peer, now: float, idle_pause: float) -> float:
        """Begin a round with a peer in a session if one is due; when to look again. `idle_pause`:
        seconds between two rounds, after the first ones, while no packets flow."""
        state, path, record = self._state, peer.path, peer.record
        if path is None or path.rank == 0 or record is None or not peer.ready(now):
            peer.punch.places = ()
            return float("inf")
        if not (record.is_nated and is_nated(state)):
            return float("inf")
        if state.identity.id > peer.id:
            return float("inf")  # it is the other one who calls
        punch = peer.punch
        places = (*_places(record.endpoints), *_places(state.told_endpoints or ()))
        if punch.places != places:
            punch.places, punch.rounds, punch.next_at, punch.since = places, 0, now, now
        due = punch.next_at
        if path.srtt is None:
            due = max(due, punch.since + FIRST_WAIT)
        if now < due:
            return due
        if not peer.wanted(now) and not self._take_round(punch.rounds > 0, now):
            punch.next_at = now + PUT_OFF * (0.5 + state.rng.random())
            return punch.next_at
        pause = PAUSES[min(punch.rounds, len(PAUSES) - 1)]
        if punch.rounds >= len(PAUSES) and not peer.active(now):
            pause = idle_pause
        punch.rounds += 1
        punch.next_at, punch.asked_at = now + pause * (0.9 + 0.2 * state.rng.random()), now
        self._open(record.endpoints, now)
        offer = self._offer(record, False, path.srtt or 0.0, punch.rounds - 1 & 0xFF, now)
        self._dialogue.send(peer, offer, now)
        return punch.next_at

    def _take_round(self, repeated: bool, now: float) -> bool:
        """Whether there is room for another round with a peer that nobody waits for."""
        since, self._rounds_at = now - self._rounds_at, now
        self._rounds = min(ROUNDS_BURST, self._rounds + since * ROUNDS_RATE)
        if self._rounds < (ROUNDS_BURST / 2 if repeated else 1.0):
            return False
        self._rounds -= 1.0
        return True

    def run(self, now: float) -> None:
        """Send the bursts that are due."""
        due = [burst for burst in self._bursts if burst.at <= now]
        if not due:
            return
        self._bursts = [burst for burst in self._bursts if burst.at > now]
        for burst in due:
            for endpoint in burst.targets:
                if self._state.probes.take(now, PROBE_SPARED):
                    self._dialogue.shoot(burst.peer, endpoint, now)

    def _take(self, peer: Peer, message: Control, now: float) -> None:
        if not isinstance(message, control.Punch):
            return
        path, record = peer.path, peer.record
        if path is None or path.rank == 0 or record is None:
            return
        if message.answer:
            if now - peer.punch.asked_at <= ANSWER_WITHIN:
                peer.punch.asked_at = float("-inf")
                if not message.step:
                    self._open([e for e in message.endpoints if e not in record.endpoints], now)
                self._plan(peer, message, now, min(message.wait, MAX_WAIT))
            return
        if now - peer.punch.answered_at < ANSWER_AGAIN:
            return
        peer.punch.answered_at = now
        if not message.step:
            self._open(message.endpoints, now)
        self._dialogue.send(peer, self._offer(record, True, LEAD_TIME, message.turn, now), now)
        trips = [trip for trip in (path.srtt, message.wait) if trip]
        trip = min(MAX_WAIT, *trips) if trips else 0.0
        self._plan(peer, message, now, LEAD_TIME + trip / 2)

    def _open(self, endpoints: Sequence[Endpoint], now: float) -> None:
        """Let our NAT expect a peer at its public endpoints, unless each new one of them costs us
        a port that we have foretold."""
        state = self._state
        if state.mappings.judge(state.local_endpoints, now).step:
            return
        wanted = [endpoint for endpoint in endpoints if is_public(endpoint)]
        for endpoint in wanted[:MAX_TOLD]:
            if may_be(state, endpoint) and state.probes.take(now, PROBE_SPARED):
                state.mappings.sent(endpoint, now)
                state.outputs.append(OpenNat(endpoint, HOPS))

    def _offer(
        self, record: NodeRecord, answer: bool, wait: float, turn: int, now: float
    ) -> control.Punch:
        """Where we shall be found."""
        state = self._state
        told = [e for e in state.told_endpoints or () if is_public(e)]
        step = state.mappings.judge(state.local_endpoints, now).step
        coming = state.mappings.forecast(step, now) if step else None
        if coming is None:
            step = 0
        else:
            before = [endpoint for endpoint in record.endpoints if is_public(endpoint)]
            known = state.mappings.forecast(step, now, before) if before else None
            told = [coming, *told[:1], *([] if known is None else [known])]
        return control.Punch(answer, wait, step, tuple(told[:MAX_TOLD]), turn)

    def _plan(self, peer: Peer, message: control.Punch, now: float, wait: float) -> None:
        state = self._state
        counts = state.mappings.judge(state.local_endpoints, now).step != 0
        lower = state.identity.id < peer.id
        found = aims(message, counts=counts, lower=lower)
        targets = [endpoint for endpoint in found if may_be(state, endpoint)]
        self._bursts = [burst for burst in self._bursts if burst.peer is not peer]
        if targets and len(self._bursts) < MAX_BURSTS:
            behind = COUNTING_BEHIND if counts and not message.step else 0.0
            self._bursts.append(Burst(peer, targets, now + wait + behind))


def aims(message: control.Punch, *, counts: bool, lower: bool) -> list[Endpoint]:
    """What to probe, in this order. `counts`: whether our own ports may count too; `lower`: whether
    our id is the lower one.

    Where the other's ports count, it tells a forecast, where it was seen before, and where we
    should see it by what it sent to us already, if it did. We aim at the first, then the last.
    """
    endpoints, step, turn = message.endpoints, message.step, message.turn
    if not step or not endpoints:
        return list(endpoints)
    (host, first), others = endpoints[0], list(endpoints[1:2])
    if turn % 2 and len(endpoints) > 2:
        first = endpoints[2][1]
        steps = sorted(range(-BEFORE, SHOTS - BEFORE), key=abs)
    elif not counts:
        steps = sorted(range(-BEFORE, SHOTS - BEFORE), key=abs)
    elif lower == (turn // 2 % 2 == 0):
        steps = [2 * k - LEADS[0] + len(others) for k in range(SHOTS)]
    else:
        steps = [k - LEADS[1] + len(others) for k in range(SHOTS)]
    ports = [first + step * k for k in steps]
    return [*others, *((host, port) for port in ports if 0 < port < 65536)]


def _places(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The public addresses that count as changed when they change: with their port where there is
    one of each, but not where a NAT shows each destination another one."""
    ports: dict[str, set[int]] = {}
    for host, port in filter(is_public, endpoints):
        ports.setdefault(host, set()).add(port)
    return tuple((host, min(ports[host]) if len(ports[host]) == 1 else 0) for host in sorted(ports))
