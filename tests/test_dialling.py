"""Dialling, straight and by an HTTP proxy."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from meshd import dialling
from meshd.host import tcp
from meshd.host.proxies import ConnectProxy
from tests.streams import End, ends

DATA = [b"\1" * 50]


class Proxy:
    """An HTTP proxy that knows CONNECT, and perhaps wants a password."""

    def __init__(self, authorization: bytes | None = None, status: bytes = b"200 OK") -> None:
        self.authorization = authorization
        self.status = status
        self.asked: list[bytes] = []
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            if self.authorization and b"Basic " + self.authorization not in head:
                self.status = b"407 Proxy Authentication Required"
            writer.write(b"HTTP/1.1 " + self.status + b"\r\nVia: 1.1 test\r\n\r\n")
            if self.status.startswith(b"200"):
                host, _, port = head.split()[1].decode().rpartition(":")
                far_reader, far_writer = await asyncio.open_connection(host.strip("[]"), int(port))
                self.writers.append(far_writer)
                await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))
        finally:
            writer.close()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except ConnectionError:
        pass
    writer.close()


@asynccontextmanager
async def running(proxy: Proxy) -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with server:
        proxy.port = server.sockets[0].getsockname()[1]
        yield proxy
    for writer in proxy.writers:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_proxy_leads_to_any_address(address: str) -> None:
    there = End()
    async with running(Proxy(b"dXNlcjpwYXNz")) as proxy:
        here = End(proxy=ConnectProxy("localhost", proxy.port, "Basic dXNlcjpwYXNz"))
        async with ends(here, there):
            endpoint = there.listen(address=address)
            here.send(DATA, endpoint)
            assert await there.heard.until_datagrams(1) == DATA
            there.send(DATA, there.heard.runs[0][2])
            assert await here.heard.until_datagrams(1) == DATA
        shown = f"[{address}]" if ":" in address else address
        assert proxy.asked[0].startswith(f"CONNECT {shown}:{endpoint[1]} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        (Proxy(b"eA=="), "proxy-refused: status 407"),
        (Proxy(status=b"503 No"), "proxy-refused: status 503"),
        (Proxy(status=b"\x00"), "proxy-answer: not HTTP"),
    ],
)
async def test_a_proxys_refusal_is_the_reason(proxy: Proxy, reason: str) -> None:
    async with running(proxy):
        here = End(proxy=ConnectProxy("127.0.0.1", proxy.port))
        async with ends(here):
            here.send(DATA, ("tls:192.0.2.1", 443))
            assert await here.heard.until_closed() == (("tls:192.0.2.1", 443), reason)


async def test_a_proxy_that_hangs_up_is_the_reason() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        here = End(proxy=ConnectProxy("127.0.0.1", server.sockets[0].getsockname()[1]))
        async with ends(here):
            here.send(DATA, ("tls:192.0.2.1", 443))
            assert (await here.heard.until_closed())[1] == "the proxy hung up"


async def test_a_proxy_that_is_not_there_is_the_reason() -> None:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    here = End(proxy=ConnectProxy("127.0.0.1", port))
    async with ends(here):
        here.send(DATA, ("tls:192.0.2.1", 443))
        assert (await here.heard.until_closed())[1] == "Connection refused"


async def test_of_a_proxys_addresses_one_that_leads_nowhere_is_soon_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []
    connect = tcp.connect

    async def hanging(host: str, port: int, loop: asyncio.AbstractEventLoop) -> socket.socket:
        tried.append(host)
        if host == "192.0.2.1":
            await asyncio.Event().wait()
        return await connect(host, port, loop)

    async def resolved(host: str, port: int, **options: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (address, port)) for address in ("192.0.2.1", "127.0.0.1")]

    monkeypatch.setattr(dialling, "ADDRESS_TIME", 0.01)
    monkeypatch.setattr(tcp, "connect", hanging)
    async with running(Proxy(status=b"503 No")) as proxy:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved)
        here = End(proxy=ConnectProxy("proxy.example", proxy.port))
        async with ends(here):
            here.send(DATA, ("tls:192.0.2.9", 443))
            assert (await here.heard.until_closed())[1] == "proxy-refused: status 503"
    assert tried == ["192.0.2.1", "127.0.0.1"]


async def test_a_proxy_without_address_is_the_reason() -> None:
    here = End(proxy=ConnectProxy("x" * 70, 3128))
    async with ends(here):
        here.send(DATA, ("tls:192.0.2.1", 443))
        assert (await here.heard.until_closed())[1] == "the proxy's name is not known"


@pytest.mark.parametrize("name", [None, "www.example.org"])
async def test_a_name_is_asked_for_only_where_one_is_set(name: str | None) -> None:
    asked: list[str | None] = []
    here, there = End(name=name), End()
    async with ends(here, there):
        endpoint = there.listen()
        context = there.certificate.identity.context
        context.sni_callback = lambda sock, given, context: asked.append(given)
        here.send(DATA, endpoint)
        await there.heard.until_datagrams(1)
    assert asked == [name]
