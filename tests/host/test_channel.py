"""TLS over a socket, without anybody in between."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest

from meshd.host.channel import HANDSHAKE_MAX, Channel, told
from meshd.host.tlscert import client_context
from tests.streams import SECONDS, certificate

RAW = memoryview(bytearray(131_072))


@asynccontextmanager
async def plain() -> AsyncIterator[tuple[Channel, socket.socket]]:
    """A channel, and a blocking socket at its other end."""
    one, two = socket.socketpair()
    one.setblocking(False)
    two.settimeout(SECONDS)
    channel = Channel(one, asyncio.get_running_loop())
    try:
        yield channel, two
    finally:
        channel.close()
        two.close()


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Channel, Channel]]:
    """Client and server, their handshake done."""
    one, two = socket.socketpair()
    loop = asyncio.get_running_loop()
    client, server = Channel(one, loop), Channel(two, loop)
    for sock in (one, two):
        sock.setblocking(False)
    try:
        await asyncio.gather(
            client.start_tls(client_context(), server_side=False, server_name="x.example"),
            server.start_tls(certificate().identity.context, server_side=True),
        )
        yield client, server
    finally:
        client.close()
        server.close()


def pulled(channel: Channel, count: int) -> bytes:
    """`count` bytes that are on their way."""
    plain, found = memoryview(bytearray(65_536)), b""
    while len(found) < count:
        assert channel.pull(RAW)
        while size := channel.open_into(plain):
            found += plain[:size]
    return found


async def test_what_is_sent_arrives_both_ways() -> None:
    async with pair() as (client, server):
        await client.send(b"question")
        assert await server.receive() == b"question"
        await server.send(b"answer")
        assert await client.receive() == b"answer"


async def test_a_short_send_arrives_whole() -> None:
    async with pair() as (client, server):
        await client.send(b"x" * 16_000)
        assert await server.receive() == b"x" * 16_000


async def test_callbacks_carry_on_where_coroutines_ended() -> None:
    async with pair() as (client, server):
        await client.send(b"first")
        assert client.push(b"second" * 10_000)
        assert await server.receive() == b"first"
        assert pulled(server, 60_000) == b"second" * 10_000
        assert not server.pull(RAW)
        assert server.push(b"back")
        assert pulled(client, 4) == b"back"


async def test_what_the_kernel_does_not_take_is_sent_later() -> None:
    async with pair() as (client, server):
        sent, taken = 0, True
        while taken:
            taken = client.push(b"z" * 50_000)
            sent += 50_000
        found = 0
        while found < sent:
            found += len(pulled(server, 1))
            client.flush()
        assert found == sent
        assert client.flush()


async def test_the_client_sees_the_servers_certificate() -> None:
    async with pair() as (client, server):
        shown = client.peer_fingerprint
        assert shown == certificate().identity.fingerprint
        assert len(shown) == sha256().digest_size
        assert server.peer_fingerprint == b""


async def test_an_orderly_end_is_an_end() -> None:
    async with pair() as (client, server):
        await asyncio.gather(client.finish(), receive_nothing(server))
        assert client.fileno() == -1


async def receive_nothing(channel: Channel) -> None:
    assert await channel.receive() == b""
    channel.close()


async def test_an_end_is_told_to_callbacks_as_an_error() -> None:
    async with pair() as (client, server):
        client.close()
        assert server.pull(RAW)
        with pytest.raises(ConnectionResetError, match="closed by the other side"):
            server.open_into(memoryview(bytearray(100)))


async def test_bytes_before_the_handshake_are_plain_and_may_be_given_back() -> None:
    async with plain() as (server, visitor):
        visitor.sendall(b"header")
        assert await server.receive() == b"header"
        with client_context().wrap_socket(visitor, do_handshake_on_connect=False) as secured:
            shaking = asyncio.create_task(asyncio.to_thread(secured.do_handshake))
            early = await server.receive()
            await server.start_tls(certificate().identity.context, server_side=True, early=early)
            await shaking
            assert secured.version() == "TLSv1.3"
            assert secured.selected_alpn_protocol() == "http/1.1"
            secured.sendall(b"hello")
            assert await server.receive() == b"hello"


async def test_older_tls_gets_an_alert() -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with plain() as (server, visitor):
        with context.wrap_socket(visitor, do_handshake_on_connect=False) as secured:
            shaking = asyncio.create_task(asyncio.to_thread(secured.do_handshake))
            with pytest.raises(ssl.SSLError) as caught:
                await server.start_tls(certificate().identity.context, server_side=True)
            assert told(caught.value) == "TLS failed: unsupported protocol"
            with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
                await shaking


async def test_a_handshake_without_end_is_given_up() -> None:
    async with plain() as (server, visitor):
        # a ClientHello that says it has 100,000 bytes, in records of 16 KB
        record = b"\x16\x03\x01\x40\x00"
        hello = b"\x01\x01\x86\xa0" + bytes(16_380)
        visitor.sendall(record + hello)
        shaking = asyncio.create_task(
            server.start_tls(certificate().identity.context, server_side=True)
        )
        sending = asyncio.create_task(
            asyncio.to_thread(visitor.sendall, (record + bytes(16_384)) * (HANDSHAKE_MAX // 16_384))
        )
        with pytest.raises(OSError):
            await asyncio.wait_for(shaking, SECONDS)
        await sending


async def test_each_step_of_a_handshake_awaits_its_turn() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        turns += 1

    one, two = socket.socketpair()
    loop = asyncio.get_running_loop()
    client, server = Channel(one, loop), Channel(two, loop)
    for sock in (one, two):
        sock.setblocking(False)
    await asyncio.gather(
        client.start_tls(client_context(), server_side=False, server_name="x.example"),
        server.start_tls(certificate().identity.context, server_side=True, turn=turn),
    )
    client.close()
    server.close()
    assert turns >= 2


async def test_closing_twice_is_closing_once() -> None:
    async with pair() as (client, _):
        client.close()
        client.close()


def test_errors_are_told_in_words_that_are_ours() -> None:
    assert told(ConnectionRefusedError(111, "Connect call failed ('a', 1)")) == "Connection refused"
    assert told(ConnectionResetError("closed by the other side")) == "closed by the other side"
    assert told(ssl.SSLError(1, "[SSL: X] anything")) == "TLS failed: ended"
