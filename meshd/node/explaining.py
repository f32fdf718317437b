"""Why a peer is reached as it is: where we may be found, which ways to it were tried and what came
of each, which one is used and why. For a person here, and for the peer whose person asks.

What the peer is told is about the two of us alone, one answer in `ANSWER_INTERVAL` seconds. What
the peer tells is shown to a person, and nothing follows from it.
"""

from __future__ import annotations

from collections.abc import Callable

from gossip import NodeId
from meshd.node.account import ORIGINS, STANDS, Candidate, Tried, View, decode_view
from meshd.node.control import Control, Why, WhyAnswer
from meshd.node.dialogue import Dialogue
from meshd.node.outputs import Explained
from meshd.node.path import Path
from meshd.node.peer import Peer
from meshd.node.state import NodeState
from meshd.node.wire import Endpoint, format_endpoint

ANSWER_INTERVAL = 0.5
"""Seconds between two answers to one peer."""
MAX_ANSWERED = 1024
"""Peers whose last question is remembered."""
MAX_ASKED = 64
"""Questions of our own that wait for an answer."""


class Explaining:
    """Answers those who ask, and asks. Changes outputs."""

    def __init__(
        self,
        state: NodeState,
        dialogue: Dialogue,
        own: Callable[[float], tuple[Endpoint, ...]],
    ) -> None:
        """`own`: where we may be found, best first."""
        self._state = state
        self._dialogue = dialogue
        self._own = own
        self._answered: dict[NodeId, float] = {}
        self._asked: dict[int, NodeId] = {}
        dialogue.handlers[Why] = self._why
        dialogue.handlers[WhyAnswer] = self._answer

    def view(self, peer: Peer, now: float) -> View:
        """How this end sees the ways to `peer`."""
        return View(
            reason(peer, now),
            tuple(Candidate(format_endpoint(e), self._origin(e)) for e in self._own(now)),
            tuple(_tried(self._state, peer, now)),
        )

    def ask(self, peer: Peer, token: int, now: float) -> bool:
        """Ask the other end for its view: an `Explained` with `token` follows, or nothing. False:
        there is no way to ask it."""
        if not peer.ready(now):
            return False
        while len(self._asked) >= MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        self._asked[token] = peer.id
        self._dialogue.send(peer, Why(token), now)
        return True

    def _origin(self, endpoint: Endpoint) -> str:
        state = self._state
        places = (state.config.endpoints, state.mapped_endpoints, state.reflexive)
        known = (
            origin for origin, place in zip(ORIGINS, places, strict=False) if endpoint in place
        )
        return next(known, "own address")

    def _why(self, peer: Peer, message: Control, now: float) -> None:
        assert isinstance(message, Why)
        if now - self._answered.get(peer.id, float("-inf")) < ANSWER_INTERVAL:
            return
        self._answered.pop(peer.id, None)
        while len(self._answered) >= MAX_ANSWERED:
            del self._answered[next(iter(self._answered))]
        self._answered[peer.id] = now
        self._dialogue.send(peer, WhyAnswer(message.token, self.view(peer, now).encode()), now)

    def _answer(self, peer: Peer, message: Control, now: float) -> None:
        assert isinstance(message, WhyAnswer)
        view = decode_view(message.view)
        if self._asked.get(message.token) == peer.id:
            del self._asked[message.token]
            self._state.outputs.append(Explained(message.token, view))


def _tried(state: NodeState, peer: Peer, now: float) -> list[Tried]:
    """Every way to the peer, the one in use first, then what answers."""
    paths = sorted(peer.paths, key=lambda path: (path is not peer.path, not path.valid, path.rank))
    found = [
        Tried(
            path.kind.value,
            format_endpoint(path.endpoint) if path.relay is None else path.relay.hex(),
            STANDS[0] if path is peer.path else STANDS[1 if path.valid else 2],
            path.srtt,
            now - path.last_received if path.last_received else None,
            path.tries.sent,
            path.tries.answered,
            None if path.tries.sent_at is None else now - path.tries.sent_at,
            _error(path),
        )
        for path in paths
    ]
    if peer.attempt is None or peer.ready(now):
        return found
    known = [path.endpoint for path in peer.paths]
    for endpoint in peer.candidates(state.bootstrap):
        if endpoint not in known:
            target, error = format_endpoint(endpoint), f"no answer to {peer.attempt.sent} calls"
            since = now - peer.attempt.started_at
            found.append(Tried("direct", target, STANDS[2], None, None, 0, 0, since, error))
    return found


def _error(path: Path) -> str:
    if path.last_error:
        return path.last_error
    if path.parked_at is not None:
        return "not asked any more: others are better" if path.tries.answered else "not asked yet"
    if path.valid:
        return "a probe was not answered" if path.misses else ""
    return f"no answer to {path.tries.sent} probes" if path.tries.sent > 1 else "no answer yet"


def reason(peer: Peer, now: float) -> str:
    """Why the path in use is used, and since when; or why there is none."""
    path, choice = peer.path, peer.paths.choice
    if peer.current is None or peer.current.expired(now):
        return f"there is no session: {peer.last_error or 'nobody has called yet'}"
    if path is None:
        return f"no way answers: {peer.last_error or 'all are being tried'}"
    taken = f"taken {now - choice.since:.0f} s ago: {choice.reason}"
    return f"{_standing(peer, path)}; {taken}"


def _standing(peer: Peer, path: Path) -> str:
    """What speaks for the path in use, now."""
    ranked = [other for other in peer.paths if other.valid and other.rank == path.rank]
    better = [other for other in peer.paths if other.rank < path.rank]
    among = f"of {len(ranked)} that answer none is clearly quicker"
    if len(ranked) < 2:
        among = "it is the only one that answers"
    if path.rank == 0:
        return f"direct ways go first, and {among}"
    if not better:
        return f"no better kind of way is known, and {among}"
    silent = sum(not other.valid for other in better)
    if silent < len(better):
        return f"a better kind of way has yet to answer for a while, and {among}"
    what = "direct ways" if path.rank == 1 else "ways by UDP"
    return f"none of {silent} {what} answers, and {among}"
