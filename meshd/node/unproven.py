"""Sessions with somebody whose certificate, or certificate request, is still to come.

Anybody who knows this node's static key can begin one, so they are few, short-lived and replaced:
when no room is left the oldest goes, which is most likely one that nobody means to finish.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from meshd.node.errors import RemoteError
from meshd.node.invitation import Invitation
from meshd.node.payloads import MemberPayload
from meshd.node.session import Session
from meshd.node.state import NodeState

MAX_UNPROVEN = 256
"""Sessions at a time."""
MAX_JOINERS = 64
"""Those of them that enrol."""
MAX_OF_INVITATION = 4
"""Those of them that came with one invitation: one node is to use it, and may try again."""
UNPROVEN_FOR = 20.0
"""Seconds that one may stay unproven."""
MAX_REQUESTS = 4
"""Certificate requests answered in one session: answers get lost, and issuing writes to disk."""
MAX_COUNTERS = 1024
"""Static keys whose last handshake counter is remembered."""


@dataclass(slots=True)
class Unproven:
    """Exactly one of `payload` (a member, whose chain follows, or came and is revoked) and
    `invitation` (a joiner) is set."""

    session: Session
    since: float
    static: bytes
    payload: MemberPayload | None
    invitation: Invitation | None
    requests: int = 0
    """Certificate requests answered; for the revoked, times that they were told."""


class UnprovenSessions:
    """Keeps `state.sessions` in step: what is dropped here is closed."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        # The oldest first.
        self._held: dict[int, Unproven] = {}

    def __len__(self) -> int:
        return len(self._held)

    def get(self, index: int) -> Unproven | None:
        """The one with this local index."""
        return self._held.get(index)

    def add(self, unproven: Unproven, now: float) -> None:
        """Take one in, at the cost of the oldest of its like where there are too many."""
        self.expire(now)
        invitation = unproven.invitation
        if invitation is not None:
            joiners = [one for one in self._held.values() if one.invitation is not None]
            locator = invitation.locator
            alike = [one for one in joiners if one.invitation and one.invitation.locator == locator]
            if len(alike) >= MAX_OF_INVITATION:
                self._drop(alike[0])
            elif len(joiners) >= MAX_JOINERS:
                self._drop(joiners[0])
        if len(self._held) >= MAX_UNPROVEN:
            self._drop(next(iter(self._held.values())))
        session = unproven.session
        self._held[session.local_index] = unproven
        self._state.sessions[session.local_index] = session

    def release(self, unproven: Unproven) -> None:
        """It was proven: its session stays, as somebody else's to keep."""
        del self._held[unproven.session.local_index]

    def expire(self, now: float) -> None:
        """Close those that stayed unproven."""
        for unproven in list(self._held.values()):
            if now - unproven.since <= UNPROVEN_FOR:
                return
            self._drop(unproven)

    def _drop(self, unproven: Unproven) -> None:
        self.release(unproven)
        self._state.sessions.pop(unproven.session.local_index, None)
        unproven.session.reassembler.close()
        for reason, count in unproven.session.reassembler.statistics().dropped.items():
            self._state.drops[f"reassembly-{reason}"] += count


class LastCounters:
    """The last handshake counter of each static key; the one longest unused is forgotten first.

    Reading an initiation proves who made it, not who sent it nor when: an honest maker's counters
    only grow, so one that does not is a replay.
    """

    def __init__(self, capacity: int = MAX_COUNTERS) -> None:
        self._capacity = capacity
        self._last: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._last)

    def check(self, static: bytes, counter: int) -> None:
        """Raises RemoteError("handshake-replay") for a counter that was passed already."""
        if counter <= self._last.get(static, -1):
            raise RemoteError("handshake-replay")

    def take(self, static: bytes, counter: int) -> None:
        """Remember `counter`, which `check` let pass."""
        self._last[static] = counter
        self._last.move_to_end(static)
        if len(self._last) > self._capacity:
            self._last.popitem(last=False)
