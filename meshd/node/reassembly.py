"""Joins frames whose segments did not arrive together and in order.

All this happens before authentication, so nothing here is believed: whoever can forge a datagram
from a peer's address can spoil a frame, and no more. What is held is bounded for the session and
for the node, and the oldest goes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from meshd.node import parity
from meshd.node.solving import SYMBOLS
from meshd.node.wire import MAX_PACKET, MAX_SEGMENTS

MAX_FRAMES: Final = 64
"""Partial frames of one session."""
MAX_BYTES: Final = 1 << 20
"""Bytes of one session's partial frames."""
MAX_AGE: Final = 2.0
"""Seconds from a frame's first slice until it is given up."""
NODE_BYTES: Final = 16 << 20
"""Bytes of all sessions' partial frames together."""

MAX_LOST: Final = 12
"""Slices that parity is to bring back at most: solving for more of them holds up everything else
for longer than 5 ms, and of a frame's 16 lost segments some are parity."""
MAX_VAIN: Final = 100.0
"""Slices per second, and at once, that parity may bring back in vain, for frames that turn out to
be forged: what a liar on the path can make us compute."""

REASONS: Final = (
    "malformed",
    "mismatch",
    "oversized",
    "budget",
    "doubted",
    "evicted",
    "expired",
)
"""Why something was dropped: a slice for the first four, a partial frame for the last two; parity
that was not tried, since too much of the session's was forged lately, for the one between."""


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


class Shape(NamedTuple):
    """What the headers of a frame's segments say of it."""

    counter: int
    slices: int
    parities: int = 0
    """Parity slices that follow them."""

    @property
    def possible(self) -> bool:
        """Whether there can be such a frame."""
        if self.parities:
            fits = self.slices <= parity.MAX_SLICES and self.parities <= parity.MAX_PARITIES
        else:
            fits = self.slices <= MAX_SEGMENTS
        return fits and self.slices > 0


class Joined(NamedTuple):
    """A frame that is whole."""

    sealed: bytes
    absent: int
    """Its segments that have not come, parity included."""
    solved: int
    """Slices that parity brought back."""


class _Partial:
    """The slices of one frame that are here."""

    __slots__ = (
        "expires_at",
        "held",
        "last_size",
        "missing",
        "parities",
        "pieces",
        "shape",
        "size",
    )

    def __init__(self, shape: Shape, now: float) -> None:
        self.shape = shape
        self.pieces: list[bytes | None] = [None] * shape.slices
        self.parities: dict[int, bytes] = {}
        self.missing = shape.slices
        self.held = 0
        self.size: int | None = None
        """Of every slice but the last, once one is here."""
        self.last_size: int | None = None
        self.expires_at = now + MAX_AGE

    def refusal(self, index: int, size: int) -> str | None:
        """Why segment `index`, with `size` bytes, does not fit those here; None if it does: all
        are of equal size, the last slice maybe shorter where no parity follows."""
        count, parities = self.shape.slices, self.shape.parities
        if not (index < count + parities and size):
            return "malformed"
        if parities:
            agrees = size % SYMBOLS == 0 and self.size in (None, size)
        elif index == count - 1:
            agrees = self.size is None or size <= self.size
        elif self.size is None:
            agrees = self.last_size is None or size >= self.last_size
        else:
            agrees = size == self.size
        if not agrees:
            return "mismatch"
        if parities:
            return "oversized" if size * count > MAX_PACKET else None
        return "oversized" if size * count > MAX_BYTES and count > 1 else None

    def put(self, indexes: bytes, pieces: Sequence[bytes]) -> int:
        """Keep segments that fit; how many were new."""
        here, count, new = self.pieces, self.shape.slices, 0
        for index, piece in zip(indexes, pieces, strict=True):
            if index >= count:
                if index - count in self.parities:
                    continue
                self.parities[index - count] = piece
            elif here[index] is None:
                here[index] = piece
                self.missing -= 1
            else:
                continue
            new += 1
            self.held += len(piece)
        if indexes[-1] == count - 1 and not self.shape.parities:
            self.last_size = len(pieces[-1])
            if indexes.count(count - 1) == len(indexes):
                return new
        self.size = len(pieces[0])
        return new

    def join(self) -> Joined | None:
        """The frame, when enough of it is here; None when that will not do."""
        absent = self.missing + self.shape.parities - len(self.parities)
        if self.missing:
            found = parity.recover(self.pieces, self.parities)
            if found is None:
                return None
            for index, piece in found.items():
                self.pieces[index] = piece
        sealed = b"".join([piece for piece in self.pieces if piece is not None])
        return Joined(sealed, absent, self.missing)


class Reassembler:
    """Partial frames of one session, keyed by counter.

    A frame that was joined is forgotten, so a late segment of it begins it anew: ask the replay
    window before `add`.
    """

    __slots__ = (
        "_budget",
        "_dropped",
        "_duplicates",
        "_joined",
        "_partials",
        "_size",
        "_vain",
        "_vain_at",
    )

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        # In the order of their first slices: the oldest is the first.
        self._partials: dict[int, _Partial] = {}
        self._size = 0
        self._joined = 0
        self._duplicates = 0
        self._dropped = dict.fromkeys(REASONS, 0)
        self._vain = 0.0
        """Slices that were brought back in vain, as of `_vain_at`, less what time forgave."""
        self._vain_at = 0.0

    def add(
        self, shape: Shape, indexes: bytes, pieces: Sequence[bytes], now: float
    ) -> Joined | None:
        """Take segments of one frame: their indexes, and as many pieces, of one size but for the
        last, which may be shorter.

        Returns the frame once enough of it is here, else None. What is wrong is dropped and
        counted, never raised.
        """
        if self._partials:
            self.expire(now)
        if not shape.possible:
            self._dropped["malformed"] += len(pieces)
            return None
        partial = self._partials.get(shape.counter) or _Partial(shape, now)
        reason: str | None = "mismatch"
        if partial.shape == shape:
            reason = partial.refusal(indexes[-1], len(pieces[-1]))
            if len(pieces) > 1 and reason is None:
                reason = partial.refusal(max(indexes[:-1]), len(pieces[0]))
                may_differ = indexes[-1] == shape.slices - 1 and not shape.parities
                if len(pieces[-1]) != len(pieces[0]) and not may_differ:
                    reason = "mismatch"
        if reason is not None:
            self._dropped[reason] += len(pieces)
            return None
        if shape.slices > 1:
            size, held = sum(map(len, pieces)), partial.held
            if not self._make_room(partial, size):
                return None
            self._duplicates += len(pieces) - partial.put(indexes, pieces)
            unused = size - (partial.held - held)
            self._size -= unused
            self._budget.release(unused)
        else:
            self._duplicates += len(pieces) - partial.put(indexes, pieces)
        if partial.missing > len(partial.parities):
            return None
        if partial.missing and not self._may_solve(partial, now):
            return None
        joined = partial.join()
        if joined is not None:
            self._joined += 1
            if shape.counter in self._partials:
                self._forget(shape.counter)
        return joined

    def forged(self, shape: Shape, joined: Joined, now: float) -> None:
        """A frame that was joined did not authenticate: what parity did for it was in vain."""
        if shape.slices > 1 and joined.solved:
            self._vain = self._still_vain(now) + joined.solved
            self._vain_at = now

    def _still_vain(self, now: float) -> float:
        return max(0.0, self._vain - MAX_VAIN * (now - self._vain_at))

    def _may_solve(self, partial: _Partial, now: float) -> bool:
        """Whether parity is to bring back what is missing, now; more slices may still come. A frame
        of one slice costs nothing worth counting."""
        if partial.missing > MAX_LOST:
            return False
        if partial.shape.slices == 1 or self._still_vain(now) + partial.missing <= MAX_VAIN:
            return True
        self._dropped["doubted"] += 1
        return False

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

    def _make_room(self, partial: _Partial, size: int) -> bool:
        """Take `size` bytes for segments of `partial`, at the cost of the oldest frames; False when
        it was the oldest, or the node has no bytes left: then it is gone."""
        counter = partial.shape.counter
        if counter not in self._partials and len(self._partials) >= MAX_FRAMES:
            self._drop_oldest("evicted")
        while self._size + size > MAX_BYTES or not self._budget.take(size):
            if not self._partials:
                self._dropped["budget"] += 1
                return False
            if self._drop_oldest("evicted") == counter:
                return False
        self._partials[counter] = partial
        self._size += size
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
