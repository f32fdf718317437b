"""Joins frames whose segments did not arrive together and in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from meshd.node.wire import Buffer

MAX_FRAMES: Final = 64
MAX_BYTES: Final = 1 << 20
MAX_AGE: Final = 2.0
NODE_BYTES: Final = 16 << 20


class ByteBudget:
    """Bytes that all sessions' partial frames may hold together."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int = NODE_BYTES) -> None:
        self.limit = limit
        self.used = 0


@dataclass(frozen=True, slots=True)
class ReassemblyStatistics:
    """What a `Reassembler` has done so far."""

    joined: int
    duplicates: int
    dropped: dict[str, int]


class Reassembler:
    """Partial frames of one session, keyed by counter."""

    __slots__ = ()

    def __init__(self, budget: ByteBudget) -> None:
        raise NotImplementedError

    def add(self, counter: int, index: int, count: int, piece: Buffer, now: float) -> bytes | None:
        """Take one slice; the joined sealed frame once it is whole."""
        raise NotImplementedError

    def expire(self, now: float) -> None:
        """Drop the partial frames older than `MAX_AGE`."""
        raise NotImplementedError

    def close(self) -> None:
        """Give all bytes back to the budget: the session ends."""
        raise NotImplementedError

    def statistics(self) -> ReassemblyStatistics:
        """Counts since the session began."""
        raise NotImplementedError
