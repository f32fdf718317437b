"""Gossip messages that wait for their turn.

To verify what one message brings may take a millisecond or two, and packets should not wait for
a hundred of them: the node acts on one message, looks after packets, and acts on the next. Peers
take turns, so that one who tells much does not silence the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from gossip import NodeId, Wakeup

MAX_OF_PEER: Final = 256
"""Messages of one peer."""
MAX_BYTES: Final = 4 << 20
"""Bytes of all messages together."""


class Backlog:
    """Messages by peer, in the order in which they came."""

    __slots__ = ("_act", "_acted_at", "_size", "_waiting")

    def __init__(self, act: Callable[[NodeId, bytes, float], None]) -> None:
        """`act(peer, payload, now)` is called with one message at a time."""
        self._act = act
        self._acted_at = float("-inf")
        self._waiting: dict[NodeId, deque[bytes]] = {}
        self._size = 0

    def add(self, peer: NodeId, payload: bytes, now: float) -> bool:
        """Act on a message, unless another was acted on at the same time: then it waits. False:
        there is no room for it."""
        messages = self._waiting.get(peer)
        if self._size + len(payload) > MAX_BYTES or len(messages or ()) >= MAX_OF_PEER:
            return False
        if messages is None:
            messages = self._waiting[peer] = deque()
        messages.append(payload)
        self._size += len(payload)
        if now > self._acted_at:
            self.work(now)
        return True

    def work(self, now: float) -> None:
        """Act on one message, if any waits."""
        if not self._waiting:
            return
        self._acted_at = now
        peer = next(iter(self._waiting))
        messages = self._waiting.pop(peer)
        payload = messages.popleft()
        self._size -= len(payload)
        if messages:
            self._waiting[peer] = messages
        self._act(peer, payload, now)

    @property
    def wakeup(self) -> Wakeup | None:
        """When to call `work`: at once, while messages wait."""
        return Wakeup(self._acted_at, "backlog") if self._waiting else None
