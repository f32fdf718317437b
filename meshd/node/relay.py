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
SHARE = 0.25
"""Of the capacity, what one member may always use."""
IDLE_AFTER = 120.0
"""Seconds without a datagram after which a channel is forgotten."""


@dataclass(slots=True)
class Channel:
    """Two members and when they last used it."""

    ends: tuple[NodeId, NodeId]
    used_at: float
    forwarded_bytes: int = 0


def capacity_class(capacity: float) -> int:
    """What a node record says of so many bytes per second: 1 below 100 Mbit/s, 2 below 1 Gbit/s,
    3 above."""
    return 1 + (capacity >= 12.5e6) + (capacity >= 125e6)


class Quota:
    """The capacity of a relay, shared: whoever uses less than a quarter of it always may, the rest
    is for whoever comes. Token buckets over bytes, of one second's worth each."""

    __slots__ = ("_all", "_at", "_capacity", "_members")

    def __init__(self, capacity: float) -> None:
        self._capacity = capacity
        self._all, self._at = capacity, 0.0
        self._members: dict[NodeId, tuple[float, float]] = {}
        """Bytes left, and when that was so."""

    def take(self, member: NodeId, size: int, now: float) -> bool:
        """Whether `size` bytes from `member` may be carried."""
        share = self._capacity * SHARE
        left, at = self._members.get(member, (share, now))
        left = min(share, left + max(0.0, now - at) * share)
        self._all = min(self._capacity, self._all + max(0.0, now - self._at) * self._capacity)
        self._at = max(now, self._at)
        allowed = self._all >= size or left >= size
        if allowed:
            self._all, left = max(0.0, self._all - size), max(0.0, left - size)
        self._members[member] = left, now
        return allowed

    def expire(self, now: float) -> None:
        """Forget who has sent nothing for a while: its bucket is full."""
        idle = [member for member, (_, at) in self._members.items() if now - at > IDLE_AFTER]
        for member in idle:
            del self._members[member]


class Relay:
    """The channels that this node carries."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._channels: dict[int, Channel] = {}
        self._quota = Quota(state.config.relay_capacity)
        self.forwarded: dict[NodeId, int] = {}
        """Bytes relayed from each member that we know, since the start."""
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
        self._quota.expire(now)
        idle = [n for n, c in self._channels.items() if now - c.used_at > IDLE_AFTER]
        for number in idle:
            del self._channels[number]

    def drop(self, node: NodeId) -> None:
        """Carry nothing more for `node`."""
        self.forwarded.pop(node, None)
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
            sender, target = one, self._direct(other)
        elif self._is_at(other, source):
            sender, target = other, self._direct(one)
        else:
            self._state.drops["relay-source"] += 1
            return None
        if target is None:
            self._state.drops["relay-target"] += 1
            return None
        size = len(buffer)
        if not self._quota.take(sender, size, now):
            self._state.drops["relay-quota"] += 1
            return None
        channel.used_at = now
        channel.forwarded_bytes += size
        self.forwarded_bytes += size
        self.forwarded[sender] = self.forwarded.get(sender, 0) + size
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
