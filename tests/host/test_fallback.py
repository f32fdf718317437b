"""A real web server behind the TLS port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from meshd.host import fallback
from meshd.host.fallback import Fallback
from meshd.host.website import Site, nothing
from tests.host.visitors import NOW, Guest

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CLOSED = Site(nothing(502), lambda: NOW)


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Fallback]:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    async with server:
        yield Fallback(server.sockets[0].getsockname()[:2], CLOSED)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything back, until the visitor ends."""
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.write(b"end")
    await writer.drain()


async def test_every_byte_goes_there_and_back_whatever_it_is() -> None:
    noise = bytes(range(256)) * 400
    async with serving(echo) as site:
        guest = Guest(b"two", noise, b"\x00")
        await site.visit(guest, b"\xffone")
    assert guest.got == b"\xffonetwo" + noise + b"\x00end"


async def test_the_servers_end_is_the_end() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"answer")
        await writer.drain()

    async with serving(answer) as site:
        guest = Guest(patient=True)
        await site.visit(guest, b"GET / HTTP/1.1\r\n\r\n")
    assert guest.got == b"answer"


async def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(10))
        await writer.drain()
        writer.close()

    path = tmp_path / "web.sock"
    async with await asyncio.start_unix_server(answer, path):
        guest = Guest()
        await Fallback(path, CLOSED).visit(guest, b"hello")
    assert guest.got == b"hello"


async def test_a_server_that_is_down_is_a_bad_gateway(tmp_path: Path) -> None:
    guest = Guest()
    await Fallback(tmp_path / "none", CLOSED).visit(guest, b"GET / HTTP/1.0\r\n\r\n")
    assert guest.got.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")


async def test_a_slow_first_request_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "HEADER_TIME", 0.02)
    async with serving(echo) as site:
        guest = Guest(b"ET / HTTP/1.1\r\n", patient=True)
        await site.visit(guest, b"G")
    assert not guest.got.endswith(b"end")


async def test_an_idle_visitor_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "IDLE_TIME", 0.05)
    async with serving(echo) as site:
        guest = Guest(patient=True)
        await site.visit(guest, b"GET / HTTP/1.1\r\n\r\n")
    assert guest.got == b"GET / HTTP/1.1\r\n\r\n"


async def test_a_visitor_that_breaks_off_frees_the_server() -> None:
    freed = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(100):
                pass
        except ConnectionResetError:
            pass
        freed.set()

    class Broken(Guest):
        async def receive(self) -> bytes:
            raise ConnectionResetError

    async with serving(wait) as site:
        with pytest.raises(ConnectionResetError):
            await site.visit(Broken(), b"x")
        await asyncio.wait_for(freed.wait(), 5)
