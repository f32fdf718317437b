"""A visitor of a website, without a connection."""

from __future__ import annotations

import asyncio
from collections import deque

DATE = b"Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
NOW = 1_700_000_000.0


class Guest:
    """Sends `pieces`, then nothing more: it goes, or waits for ever if it is `patient`."""

    def __init__(self, *pieces: bytes, patient: bool = False) -> None:
        self._pieces = deque(pieces)
        self._patient = patient
        self.got = b""

    async def receive(self) -> bytes:
        if self._pieces:
            return self._pieces.popleft()
        if self._patient:
            await asyncio.Event().wait()
        return b""

    async def send(self, data: bytes) -> None:
        self.got += data
