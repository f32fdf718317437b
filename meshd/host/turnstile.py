"""Lets a few through in each turn of the event loop, in order, so that nothing else has to wait for
a crowd: a signature costs as much as a hundred packets."""

from __future__ import annotations

import asyncio
from collections import deque


class Turnstile:
    """At most `rate` of those who `wait` go on in one turn of the loop."""

    __slots__ = ("_left", "_loop", "_queue", "_rate", "_scheduled")

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: int) -> None:
        self._loop = loop
        self._rate = rate
        self._left = rate
        self._scheduled = False
        self._queue: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Return when it is the caller's turn."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)
        if self._left > 0 and not self._queue:
            self._left -= 1
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.append(future)
        await future

    def _turn(self) -> None:
        self._left = self._rate
        while self._queue and self._left > 0:
            future = self._queue.popleft()
            if not future.done():  # else its task was cancelled
                future.set_result(None)
                self._left -= 1
        self._scheduled = bool(self._queue) or self._left < self._rate
        if self._scheduled:
            self._loop.call_soon(self._turn)
