"""Strangers, balancers and crowds at the TLS port, over loopback sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_network

import pytest

from meshd import accepting
from meshd.accepting import Limits
from meshd.host.framing import joined
from meshd.host.proxies import HEADER, SIGNATURE
from meshd.host.tlscert import client_context
from meshd.node.wire import Endpoint
from tests.streams import GREETING, SECONDS, End, ends, visit

LOCAL = ip_network("127.0.0.0/8")
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
MEMBERS = b"\x00\x32" + b"\1" * 50


@asynccontextmanager
async def listening(
    limits: Limits | None = None, *, balanced: bool = False
) -> AsyncIterator[tuple[End, Endpoint]]:
    end = End()
    async with ends(end):
        yield end, end.listen(limits=limits, sources=[LOCAL] if balanced else [])


def proxied(source: str = "192.0.2.7", port: int = 4000) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton("198.51.100.1")
    body = addresses + port.to_bytes(2, "big") + (443).to_bytes(2, "big")
    return HEADER.pack(SIGNATURE, 0x21, 0x11, len(body)) + body


async def until(true: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    end = asyncio.get_running_loop().time() + SECONDS
    for _ in iter(true, True):
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0)


def connected(stack: ExitStack, endpoint: Endpoint) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", endpoint[1]), SECONDS)
    return stack.enter_context(sock)


async def test_a_stranger_gets_the_website_and_what_it_sent_is_answered() -> None:
    async with listening() as (end, endpoint):
        answer = await visit(endpoint, REQUEST)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\nServer: nginx\r\n")
        assert end.gate.seen[0][0] == REQUEST
        assert (end.host.counters.visitors, end.host.counters.admitted) == (1, 0)


async def test_a_near_miss_gets_what_any_stranger_gets() -> None:
    async with listening() as (end, endpoint):
        answers = {
            await visit(endpoint, said)
            for said in (GREETING[:39] + b"\x00", b"\x00" * 40, b"\x00" + os.urandom(2000))
        }
        assert len(answers) == 1
        assert answers.pop().startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert end.heard.runs == []


async def test_what_the_gate_waits_for_is_read_on() -> None:
    async with listening() as (end, endpoint):

        def member() -> None:
            with (
                socket.create_connection(("127.0.0.1", endpoint[1]), SECONDS) as plain,
                client_context().wrap_socket(plain) as sock,
            ):
                for at in range(0, len(GREETING), 13):
                    sock.sendall(GREETING[at : at + 13])
                sock.sendall(MEMBERS)
                sock.recv(1)

        talking = asyncio.create_task(asyncio.to_thread(member))
        assert await end.heard.until_datagrams(1) == [b"\1" * 50]
        await end.host.stop()
        await talking


async def test_a_member_may_speak_on_in_the_same_breath() -> None:
    async with listening() as (end, endpoint):
        await visit(endpoint, GREETING + MEMBERS + b"\x00\x00")
        assert end.heard.datagrams == [b"\1" * 50]
        assert end.host.traffic.bad_frames == 1


async def test_plain_http_is_told_where_it_is() -> None:
    async with listening() as (end, endpoint):
        answer = await visit(endpoint, REQUEST, tls=False)
        assert b"The plain HTTP request was sent to HTTPS port" in answer
        assert (await visit(endpoint, b"\x01\x02", tls=False)).startswith(b"HTTP/1.1 400 ")
        assert end.host.counters.plain == 2


async def test_garbage_where_tls_begins_gets_an_alert() -> None:
    async with listening() as (end, endpoint):
        # as nginx with OpenSSL was seen to answer
        assert await visit(endpoint, b"\x16\x03\x01\x00\x05hello", tls=False) == (
            b"\x15\x03\x03\x00\x02\x02\x0a"
        )
        assert end.host.counters.tls_failed == 1


async def test_an_old_tls_is_refused() -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def shake(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as sock:
            context.wrap_socket(sock)

    async with listening() as (_, endpoint):
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            await asyncio.to_thread(shake, endpoint[1])


async def test_a_balancer_tells_whom_it_brings() -> None:
    async with listening(balanced=True) as (end, endpoint):
        await visit(endpoint, GREETING + MEMBERS + b"\x00\x00", before=proxied())
        [(_, _, source)] = end.heard.runs
        assert source == ("tls:192.0.2.7", 4000)


async def test_a_balancers_health_check_is_itself() -> None:
    check = HEADER.pack(SIGNATURE, 0x20, 0, 0)
    async with listening(balanced=True) as (end, endpoint):
        answer = await visit(endpoint, REQUEST, before=check)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert end.gate.seen[0][1][0] == "tls:127.0.0.1"


async def test_a_balancer_that_tells_nothing_is_hung_up_on() -> None:
    async with listening(balanced=True) as (end, endpoint):
        assert await visit(endpoint, REQUEST, tls=False) == b""
        assert end.host.counters.proxy_refused == 1


async def test_nobody_else_may_tell_a_source() -> None:
    async with listening() as (end, endpoint):
        answer = await visit(endpoint, proxied(), tls=False)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert end.gate.seen == []


async def test_the_silent_are_hung_up_on_in_time() -> None:
    async with listening(Limits(first_time=0.05)) as (end, endpoint):
        assert await visit(endpoint, b"", tls=False) == b""
        assert await visit(endpoint, b"") == b""
        assert await visit(endpoint, b"\x16\x03", tls=False) == b""
        assert end.host.counters.timed_out == 3


async def test_who_hangs_up_without_a_word_is_counted() -> None:
    async with listening() as (end, endpoint):

        def come_and_go(how: str) -> None:
            with socket.create_connection(("127.0.0.1", endpoint[1]), SECONDS) as plain:
                if how == "reset":
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif how == "after TLS":
                    client_context().wrap_socket(plain).close()

        for count, how in enumerate(("at once", "reset", "after TLS"), start=1):
            await asyncio.to_thread(come_and_go, how)
            await until(partial(lambda so_far: end.host.counters.ended == so_far, count))
        await until(lambda: end.host.unproven == 0)
        assert end.host.counters.visitors == 0


async def test_two_thousand_that_say_nothing_hinder_nobody() -> None:
    limits = Limits(total=2048, per_origin=4096)
    with ExitStack() as stack:
        async with listening(limits) as (end, endpoint):
            for count in range(100, 2001, 100):
                for _ in range(100):
                    connected(stack, endpoint)
                await until(partial(lambda so_far: end.host.unproven == so_far, count))
            assert end.host.unproven == 2000
            assert (await visit(endpoint, REQUEST)).startswith(b"HTTP/1.1 200 OK\r\n")
            assert end.host.counters.crowded_out == 0


async def test_the_oldest_of_one_origin_goes_for_the_newest() -> None:
    with ExitStack() as stack:
        async with listening(Limits(per_origin=3)) as (end, endpoint):
            idle = [connected(stack, endpoint) for _ in range(3)]
            await until(lambda: end.host.unproven == 3)
            assert (await visit(endpoint, REQUEST)).startswith(b"HTTP/1.1 200 OK\r\n")
            assert end.host.counters.crowded_out == 1
            assert await asyncio.to_thread(idle[0].recv, 1) == b""


async def test_the_oldest_of_all_goes_when_the_host_is_full() -> None:
    with ExitStack() as stack:
        async with listening(Limits(total=2)) as (end, endpoint):
            for _ in range(5):
                connected(stack, endpoint)
            await until(lambda: end.host.counters.accepted == 5)
            assert end.host.unproven == 2
            assert (await visit(endpoint, REQUEST)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_members_stay_when_strangers_come() -> None:
    with ExitStack() as stack:
        async with listening(Limits(total=1)) as (end, endpoint):
            member = End()
            async with ends(member):
                member.send([b"\1" * 50], endpoint)
                await end.heard.until_datagrams(1)
                sock = connected(stack, endpoint)
                assert await asyncio.to_thread(sock.recv, 1) == b""
                assert end.host.counters.crowded_out == 1
                member.send([b"\1" * 60], endpoint)
                await end.heard.until_datagrams(2)


async def test_a_host_without_descriptors_lets_the_oldest_go_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accepting, "PAUSE", 0.0)
    with ExitStack() as stack:
        async with listening() as (end, endpoint):
            idle = connected(stack, endpoint)
            await until(lambda: end.host.unproven == 1)
            real, full = socket.socket.accept, [True]

            def accept(self: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
                if full and full.pop():
                    raise OSError(24, "Too many open files")
                return real(self)

            monkeypatch.setattr(socket.socket, "accept", accept)
            assert (await visit(endpoint, REQUEST)).startswith(b"HTTP/1.1 200 OK\r\n")
            assert end.host.counters.crowded_out == 1
            assert await asyncio.to_thread(idle.recv, 1) == b""


async def test_stopping_hangs_up_on_everybody() -> None:
    with ExitStack() as stack:
        async with listening() as (end, endpoint):
            idle = connected(stack, endpoint)
            await until(lambda: end.host.unproven == 1)
            await end.host.stop()
            assert await asyncio.to_thread(idle.recv, 1) == b""
            with pytest.raises(ConnectionRefusedError):
                connected(stack, endpoint)


def test_a_members_row_is_what_the_framing_says() -> None:
    assert joined([b"\1" * 50], 50, 1, 1) == MEMBERS
