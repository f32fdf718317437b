"""News to spread: each piece is sent a limited number of times, and no class starves another.

Each class of news is credited its share of every message's room, and keeps the credit until it has
a piece that it can pay (deficit round robin: a large record gets its turn among small ones); room
that is left is anyone's, membership first. Within a class the pieces sent least go first: among
those never sent the newest, among the others the one not sent for longest. A newer piece about
the same thing replaces the older one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from enum import IntEnum
from typing import Final

from gossip.items import MAX_ITEMS


class NewsClass(IntEnum):
    """What a piece of news is about; each class has a share of every message."""

    MEMBERSHIP = 0
    ROUTES = 1
    OTHER = 2


_CLASSES: Final = tuple(NewsClass)

SHARES: Final = (0.5, 0.3, 0.2)
"""Of a message's room, by class."""

_LOOK_AHEAD: Final = 32
"""Pieces looked at, per tier, for one that still fits."""


def transmit_limit(multiplier: int, members: int) -> int:
    """How often a piece is sent: multiplier * ceil(log10(n + 1)) (memberlist; SWIM section 4.1)."""
    return multiplier * max(1, math.ceil(math.log10(members + 1)))


class NewsQueue:
    """Encoded items, by class and by how often they were sent. At most `limit` per class."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tiers: tuple[list[dict[Hashable, bytes]], ...] = ([], [], [])
        self._place: dict[Hashable, tuple[NewsClass, int]] = {}
        self._sizes = [0, 0, 0]
        self._smallest = [0, 0, 0]
        """No piece of a class has fewer bytes: where there is less room, nobody need look."""
        self._credit = [0.0, 0.0, 0.0]

    def __len__(self) -> int:
        return len(self._place)

    def sizes(self) -> tuple[int, int, int]:
        """Pieces waiting, by class."""
        return self._sizes[0], self._sizes[1], self._sizes[2]

    def queued(self) -> list[Hashable]:
        """What is queued, as a new list."""
        return list(self._place)

    def add(self, news: NewsClass, key: Hashable, item: bytes) -> None:
        """Queue `item`; it replaces whatever was queued under `key`."""
        self.discard(key)
        if self._sizes[news] >= self._limit:
            self._evict(news)
        self._put(news, 0, key, item)

    def discard(self, key: Hashable) -> None:
        """Drop what is queued under `key`, if anything."""
        place = self._place.pop(key, None)
        if place is not None:
            del self._tiers[place[0]][place[1]][key]
            self._sizes[place[0]] -= 1

    def fill(self, room: int, limit: int, slots: int = MAX_ITEMS) -> list[bytes]:
        """Items of at most `room` bytes in all; those sent `limit` times leave the queue."""
        if not self._place:
            return []
        taken: list[tuple[NewsClass, int, Hashable, bytes]] = []
        left = room
        credit = self._credit
        for news in _CLASSES:
            earned = credit[news] + room * SHARES[news]
            credit[news] = min(room, earned) if self._sizes[news] else 0.0
        for news in sorted(_CLASSES, key=lambda news: -credit[news]):
            allowed = min(left, int(credit[news]))
            used = allowed - self._take(news, allowed, slots, taken)
            credit[news] -= used
            left -= used
        for news in _CLASSES:
            left = self._take(news, left, slots, taken)
        for news, sent, key, item in taken:
            if sent + 1 < limit:
                self._put(news, sent + 1, key, item)
        return [item for _, _, _, item in taken]

    def _take(
        self,
        news: NewsClass,
        room: int,
        slots: int,
        taken: list[tuple[NewsClass, int, Hashable, bytes]],
    ) -> int:
        """Move pieces of one class into `taken`; the room that is left."""
        for sent, tier in enumerate(self._tiers[news]):
            if not self._sizes[news] or room < self._smallest[news]:
                break
            if not tier:
                continue
            chosen: list[Hashable] = []
            pieces = tier.items() if sent else reversed(tier.items())
            for looked, (key, item) in enumerate(pieces):
                if len(taken) >= slots or looked == _LOOK_AHEAD:
                    break
                if len(item) <= room:
                    room -= len(item)
                    chosen.append(key)
                    taken.append((news, sent, key, item))
            for key in chosen:
                self.discard(key)
        return room

    def _put(self, news: NewsClass, sent: int, key: Hashable, item: bytes) -> None:
        tiers = self._tiers[news]
        while len(tiers) <= sent:
            tiers.append({})
        tiers[sent][key] = item
        smallest = self._smallest[news]
        self._smallest[news] = min(smallest, len(item)) if self._sizes[news] else len(item)
        self._place[key] = (news, sent)
        self._sizes[news] += 1

    def _evict(self, news: NewsClass) -> None:
        """Drop the oldest of those sent most."""
        for tier in reversed(self._tiers[news]):
            if tier:
                self.discard(next(iter(tier)))
                return
