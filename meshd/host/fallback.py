"""A real web server behind the TLS port: a visitor's bytes go there, and its answers come back.

Nothing is looked at or changed, so that what comes back is what that server says.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Protocol

CONNECT_TIME = 5.0
"""Seconds in which the server must accept."""
HEADER_TIME = 10.0
"""Seconds for the first request's head, as long as no website of ours would wait either."""
IDLE_TIME = 75.0
"""Seconds without a byte in either direction."""
HEAD_MAX = 32_768
PIECE = 65_536
_HEAD_END = (b"\r\n\r\n", b"\n\n")


class Visitor(Protocol):
    """Both directions of a connection. Either method may raise OSError."""

    async def receive(self) -> bytes:
        """Some bytes; none: the visitor has ended."""

    async def send(self, data: bytes) -> None:
        """Send them all."""


class Website(Protocol):
    """What a stranger gets."""

    async def visit(self, visitor: Visitor, first: bytes) -> None:
        """Serve a connection whose bytes so far are `first`, until it is to be closed."""


class Fallback:
    """The server at `place`, a host and port or a unix socket; `closed` while it is down."""

    def __init__(self, place: tuple[str, int] | Path, closed: Website) -> None:
        self._place = place
        self._closed = closed

    async def visit(self, visitor: Visitor, first: bytes) -> None:
        """Carry bytes both ways until the server ends. Raises OSError where either end breaks."""
        try:
            reader, writer = await asyncio.wait_for(self._connect(), CONNECT_TIME)
        except (OSError, asyncio.TimeoutError):
            await self._closed.visit(visitor, first)
            return
        visit = _Visit(visitor, reader, writer)
        try:
            await visit.carry(first)
        finally:
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._place, Path):
            return await asyncio.open_unix_connection(str(self._place))
        return await asyncio.open_connection(*self._place)


class _Visit:
    """One visitor at the server."""

    def __init__(
        self, visitor: Visitor, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._visitor = visitor
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._begun = self._last = self._loop.time()
        self._head = bytearray()
        self._asked = False
        """Whether the first request's head is through."""

    async def carry(self, first: bytes) -> None:
        """Both directions at once; the server's end is the end."""
        self._note(first)
        up = self._loop.create_task(self._up(first))
        down = self._loop.create_task(self._down())
        try:
            while not down.done():
                until = (self._last + IDLE_TIME) if self._asked else (self._begun + HEADER_TIME)
                left = until - self._loop.time()
                if left <= 0:
                    return
                watched = {down} if up.done() else {down, up}
                await asyncio.wait(watched, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if up.done() and (error := up.exception()):
                    raise error
            await down
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _up(self, data: bytes) -> None:
        while data:
            self._writer.write(data)
            await self._writer.drain()
            data = await self._visitor.receive()
            self._note(data)
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    async def _down(self) -> None:
        while data := await self._reader.read(PIECE):
            self._last = self._loop.time()
            await self._visitor.send(data)

    def _note(self, data: bytes) -> None:
        self._last = self._loop.time()
        if not self._asked:
            self._head += data
            self._asked = len(self._head) > HEAD_MAX or any(e in self._head for e in _HEAD_END)
            if self._asked:
                self._head.clear()
