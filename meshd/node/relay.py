"""Relaying for others: one hop, ciphertext only, members only.

A channel joins two members that both have a direct, proven path to us. Its number is drawn at
random and the same for both; a datagram that arrives in it from one end's endpoint leaves to the
other's, untouched. Nothing else is forwarded, so a loop is impossible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gossip import NodeId
from meshd.node.path import PathKind
from meshd.node.peer import Peer
from meshd.node.state import NodeState
from meshd.node.wire import RELAY_PREFIX, RELAY_SIZE, Batch, Endpoint

MAX_CHANNELS = 4096
MAX_CHANNELS_OF_ONE = 128
IDLE_AFTER = 120.0
"""Seconds without a datagram after which a channel is forgotten."""


@dataclass(slots=True)
class Channel:
    """Two members and when they last used it."""

    ends: tuple[NodeId, NodeId]
    used_at: float
    forwarded_bytes: int = 0


class Relay:
    """The channels that this node carries."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._channels: dict[int, Channel] = {}
        self.forwarded_bytes = 0
        """Bytes relayed for others since the start."""

    def __len__(self) -> int:
        return len(self._channels)

    def open(
        self, one: NodeId, other: NodeId, now: float, random_bytes: Callable[[int], bytes]
    ) -> int | None:
        """The channel between two members, made if need be; None when we cannot or will not."""
        if not self._state.config.relays or one == other:
            return None
        if self._direct(one) is None or self._direct(other) is None:
            return None
        ends = (min(one, other), max(one, other))
        self.expire(now)
        busy = 0
        for number, channel in self._channels.items():
            if channel.ends == ends:
                channel.used_at = now
                return number
            busy += one in channel.ends
        if len(self._channels) >= MAX_CHANNELS or busy >= MAX_CHANNELS_OF_ONE:
            return None
        number = int.from_bytes(random_bytes(4), "big")
        if number in self._channels:
            return None
        self._channels[number] = Channel(ends, now)
        return number

    def expire(self, now: float) -> None:
        """Forget idle channels."""
        idle = [n for n, c in self._channels.items() if now - c.used_at > IDLE_AFTER]
        for number in idle:
            del self._channels[number]

    def drop(self, node: NodeId) -> None:
        """Carry nothing more for `node`."""
        for number in [n for n, channel in self._channels.items() if node in channel.ends]:
            del self._channels[number]

    def carries(self, number: int) -> bool:
        """Whether `number` is one of ours to carry."""
        return number in self._channels

    def forward(
        self, buffer: memoryview, segment: int, number: int, source: Endpoint, now: float
    ) -> Batch | None:
        """Where to send a run of datagrams of one channel; None, counted, when nowhere."""
        channel = self._channels[number]
        one, other = channel.ends
        if self._is_at(one, source):
            target = self._direct(other)
        elif self._is_at(other, source):
            target = self._direct(one)
        else:
            self._state.drops["relay-source"] += 1
            return None
        if target is None:
            self._state.drops["relay-target"] += 1
            return None
        channel.used_at = now
        channel.forwarded_bytes += len(buffer)
        self.forwarded_bytes += len(buffer)
        return Batch(buffer, segment, target)

    def _is_at(self, node: NodeId, source: Endpoint) -> bool:
        """Whether `source` is a proven endpoint of the node: it may use another than we do."""
        peer = self._state.peers.get(node)
        path = peer.paths.direct(source) if peer is not None else None
        return path is not None and path.valid

    def _direct(self, node: NodeId) -> Endpoint | None:
        peer: Peer | None = self._state.peers.get(node)
        path = peer.path if peer is not None else None
        if path is None or path.kind is PathKind.RELAY:
            return None
        return path.endpoint


def runs(buffer: memoryview, segment: int) -> list[tuple[int | None, int, int]]:
    """Datagrams of one channel that follow each other: [(channel, start, end)], bytes. The channel
    is None for those that are too short to carry anything."""
    found: list[tuple[int | None, int, int]] = []
    size, before = len(buffer), None
    for offset in range(0, size, segment):
        end = min(offset + segment, size)
        head = bytes(buffer[offset : offset + RELAY_SIZE]) if end - offset > RELAY_SIZE else b""
        if head == before:
            channel, start, _ = found.pop()
        else:
            channel, start = RELAY_PREFIX.unpack(head)[1] if head else None, offset
        found.append((channel, start, end))
        before = head
    return found
