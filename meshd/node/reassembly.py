"""Joins frames whose segments did not arrive together and in order.

All this happens before authentication, so nothing here is believed: whoever can forge a datagram
from a peer's address can spoil a frame, and no more. What is held is bounded for the session and
for the node, and the oldest goes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from meshd.node.wire import MAX_SEGMENTS, Buffer

MAX_FRAMES: Final = 64
"""Partial frames of one session."""
MAX_BYTES: Final = 1 << 20
"""Bytes of one session's partial frames."""
MAX_AGE: Final = 2.0
"""Seconds from a frame's first slice until it is given up."""
NODE_BYTES: Final = 16 << 20
"""Bytes of all sessions' partial frames together."""

REASONS: Final = ("malformed", "mismatch", "oversized", "budget", "evicted", "expired")
"""Why something was dropped: a slice for the first four, a partial frame for the last two."""


class ByteBudget:
    """Bytes that all sessions' partial frames may hold together."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int = NODE_BYTES) -> None:
        self.limit = limit
        self.used = 0

    def take(self, size: int) -> bool:
        """Take `size` bytes; False, and none are taken, when so many are not left."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def release(self, size: int) -> None:
        """Give `size` bytes back."""
        self.used -= size


@dataclass(frozen=True, slots=True)
class ReassemblyStatistics:
    """What a `Reassembler` has done since it began, and what it holds."""

    joined: int
    duplicates: int
    dropped: dict[str, int]
    """By reason: `REASONS`."""
    frames: int
    size: int
    """Bytes of the partial frames held."""


class _Partial:
    """The slices of one frame that are here."""

    __slots__ = ("expires_at", "held", "last_size", "missing", "pieces", "size")

    def __init__(self, count: int, now: float) -> None:
        self.pieces: list[bytes | None] = [None] * count
        self.missing = count
        self.held = 0
        self.size: int | None = None
        """Of every slice but the last, once one is here."""
        self.last_size: int | None = None
        self.expires_at = now + MAX_AGE

    def agrees(self, index: int, count: int, size: int) -> bool:
        """Whether slice `index` of `count`, with `size` bytes, fits those here: as many, and of
        equal size, the last maybe shorter."""
        if count != len(self.pieces):
            return False
        if index == len(self.pieces) - 1:
            return self.size is None or size <= self.size
        if self.size is None:
            return self.last_size is None or size >= self.last_size
        return size == self.size

    def put(self, index: int, piece: bytes) -> None:
        """Keep a slice that agrees and is not here yet."""
        if index == len(self.pieces) - 1:
            self.last_size = len(piece)
        else:
            self.size = len(piece)
        self.pieces[index] = piece
        self.missing -= 1
        self.held += len(piece)


class Reassembler:
    """Partial frames of one session, keyed by counter.

    A frame that was joined is forgotten, so a late duplicate begins it anew: ask the replay
    window before `add`.
    """

    __slots__ = ("_budget", "_dropped", "_duplicates", "_joined", "_partials", "_size")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        # In the order of their first slices: the oldest is the first.
        self._partials: dict[int, _Partial] = {}
        self._size = 0
        self._joined = 0
        self._duplicates = 0
        self._dropped = dict.fromkeys(REASONS, 0)

    def add(self, counter: int, index: int, count: int, piece: Buffer, now: float) -> bytes | None:
        """Take slice `index` of `count` of the frame `counter`; a copy of it is kept.

        Returns the joined sealed frame once it is whole, else None. What is wrong is dropped and
        counted, never raised.
        """
        self.expire(now)
        size = len(piece)
        if not (0 <= index < count <= MAX_SEGMENTS and size):
            self._dropped["malformed"] += 1
            return None
        if count == 1:
            self._joined += 1
            return bytes(piece)
        partial = self._partials.get(counter) or _Partial(count, now)
        if len(partial.pieces) == count and partial.pieces[index] is not None:
            self._duplicates += 1
            return None
        if not partial.agrees(index, count, size):
            self._dropped["mismatch"] += 1
            return None
        if size * count > MAX_BYTES:
            self._dropped["oversized"] += 1
            return None
        if not self._make_room(counter, size):
            return None
        self._partials[counter] = partial
        self._size += size
        partial.put(index, bytes(piece))
        if partial.missing:
            return None
        self._forget(counter)
        self._joined += 1
        return b"".join(piece for piece in partial.pieces if piece is not None)

    def expire(self, now: float) -> None:
        """Drop the partial frames older than `MAX_AGE`."""
        while self._partials:
            if now < next(iter(self._partials.values())).expires_at:
                return
            self._drop_oldest("expired")

    def next_expiry(self) -> float | None:
        """When to call `expire`; None when nothing is held."""
        for oldest in self._partials.values():
            return oldest.expires_at
        return None

    def close(self) -> None:
        """Give all bytes back to the budget: the session ends."""
        self._partials.clear()
        self._budget.release(self._size)
        self._size = 0

    def statistics(self) -> ReassemblyStatistics:
        """Counts since the session began."""
        return ReassemblyStatistics(
            self._joined, self._duplicates, dict(self._dropped), len(self._partials), self._size
        )

    def _make_room(self, counter: int, size: int) -> bool:
        """Take `size` bytes for a slice of `counter`, at the cost of the oldest frames; False when
        its own frame was the oldest, or the node has no bytes left."""
        if counter not in self._partials and len(self._partials) >= MAX_FRAMES:
            self._drop_oldest("evicted")
        while self._size + size > MAX_BYTES or not self._budget.take(size):
            if not self._partials:
                self._dropped["budget"] += 1
                return False
            if self._drop_oldest("evicted") == counter:
                return False
        return True

    def _drop_oldest(self, reason: str) -> int:
        counter = next(iter(self._partials))
        self._forget(counter)
        self._dropped[reason] += 1
        return counter

    def _forget(self, counter: int) -> None:
        held = self._partials.pop(counter).held
        self._size -= held
        self._budget.release(held)
