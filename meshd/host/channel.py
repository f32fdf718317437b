"""One TCP connection with TLS inside, by memory BIOs: in coroutines first, in callbacks later.

asyncio's own TLS costs a copy more, is three times slower before Python 3.11, and cannot look at
what stands before the TLS; `ssl.SSLSocket` makes two system calls for each record. So the socket
is read and written in large pieces here, and OpenSSL never sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import cast

CHUNK = 16_384
"""Bytes of one receive until the connection has proved something."""
HANDSHAKE_MAX = 65_536
"""Bytes of a TLS handshake."""
LINGER, LINGER_MAX = 2.0, 1 << 20
"""Seconds and bytes that are read and dropped after the last answer, so that it is not lost by a
reset (RFC 9112, section 9.6)."""


def told(error: OSError) -> str:
    """Why a connection ended, in words that the other side did not choose."""
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None) or "ended"
        return f"TLS failed: {reason.lower().replace('_', ' ')}"
    return os.strerror(error.errno) if error.errno else str(error)


class Channel:
    """A non-blocking, connected socket, and TLS on it once `start_tls` is done.

    Its methods raise OSError (`ssl.SSLError` is one) where the connection is of no use any more.
    Either the coroutines are used or, after all of them, the rest: never both at once.
    """

    __slots__ = ("_incoming", "_loop", "_outgoing", "_rest", "_sock", "_tls")

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._sock = sock
        self._loop = loop
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._rest = memoryview(b"")
        """What the kernel has not taken of what was sealed."""

    def fileno(self) -> int:
        """The socket's, for `loop.add_reader`; -1 once it is closed."""
        return self._sock.fileno()

    @property
    def sock(self) -> socket.socket:
        """For what is set or asked of the connection itself."""
        return self._sock

    @property
    def peer_fingerprint(self) -> bytes:
        """SHA-256 of the certificate (DER) that the server showed; empty on the server."""
        shown = self._tls.getpeercert(binary_form=True) if self._tls else None
        return hashlib.sha256(shown).digest() if shown else b""

    async def start_tls(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str | None = None,
        early: bytes = b"",
        turn: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Shake hands. `early`: bytes that were read already; `turn` is awaited before each step
        that may cost a signature."""
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side, server_hostname=server_name
        )
        self._incoming.write(early)
        received = len(early)
        done = False
        while True:
            if turn is not None:
                await turn()
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    await self._flush()  # the alert
                raise
            await self._flush()
            if done:
                return
            received += await self._more()
            if received > HANDSHAKE_MAX:
                raise ConnectionAbortedError("a TLS handshake without end")

    async def receive(self) -> bytes:
        """Some bytes; none: the other side has ended, or the connection has."""
        if self._tls is None:
            return await self._loop.sock_recv(self._sock, CHUNK)
        while True:
            try:
                return self._tls.read(CHUNK)
            except ssl.SSLWantReadError:
                await self._flush()
            try:
                await self._more()
            except ConnectionResetError:
                return b""

    async def send(self, data: bytes) -> None:
        """Hand all of `data` to the kernel; at once if it is short: in one TLS record."""
        if self._tls is None:
            await self._loop.sock_sendall(self._sock, data)
            return
        if data:
            self._tls.write(data)
        await self._flush()

    async def finish(self) -> None:
        """End our side, let the last answer arrive, close."""
        try:
            if self._tls is not None:
                with contextlib.suppress(ssl.SSLError):
                    self._tls.unwrap()
                await self._flush()
            self._sock.shutdown(socket.SHUT_WR)
            await asyncio.wait_for(self._linger(), LINGER)
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            self.close()

    async def _linger(self) -> None:
        left = LINGER_MAX
        while left > 0 and (data := await self._loop.sock_recv(self._sock, CHUNK)):
            left -= len(data)

    async def _more(self) -> int:
        data = await self._loop.sock_recv(self._sock, CHUNK)
        if not data:
            raise ConnectionResetError("closed by the other side")
        return self._incoming.write(data)

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._loop.sock_sendall(self._sock, self._outgoing.read())

    def pull(self, raw: memoryview) -> bool:
        """One receive through `raw`; whether anything was there."""
        try:
            size = self._sock.recv_into(raw)
        except (BlockingIOError, InterruptedError):
            return False
        if not size:
            raise ConnectionResetError("closed by the other side")
        self._incoming.write(raw[:size])
        return True

    def open_into(self, view: memoryview) -> int:
        """Put bytes that were pulled into `view`, as sent: how many; 0: no whole record waits."""
        assert self._tls is not None
        try:
            size = cast(int, self._tls.read(len(view), view))  # with a buffer it tells how many
        except ssl.SSLWantReadError:
            return 0
        if not size:
            raise ConnectionResetError("closed by the other side")
        return size

    def push(self, data: bytes) -> bool:
        """Seal `data` and send; False: the kernel did not take all, `flush` once it is writable."""
        assert self._tls is not None
        self._tls.write(data)
        return self.flush()

    def flush(self) -> bool:
        """Send what is left; whether all is with the kernel."""
        while True:
            if not self._rest:
                if not self._outgoing.pending:
                    return True
                self._rest = memoryview(self._outgoing.read())
            try:
                sent = self._sock.send(self._rest)
            except (BlockingIOError, InterruptedError):
                return False
            self._rest = self._rest[sent:]
            if self._rest:
                return False

    def close(self) -> None:
        """Close it, with TLS's goodbye where that fits."""
        if self._sock.fileno() < 0:
            return
        if self._tls is not None and not self._rest:
            with contextlib.suppress(OSError, ValueError):
                self._tls.unwrap()
            with contextlib.suppress(OSError):
                self.flush()
        self._sock.close()
