"""Streams between two hosts on loopback sockets."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from meshd.host.website import Site, one_page
from meshd.node.errors import LocalError
from meshd.streams import website_for
from tests.streams import GREETING, LONG_AGO, End, Word, ends, visit

LOCAL = "tls:127.0.0.1"


def datagrams(count: int, size: int, last: int = 0) -> list[bytes]:
    return [
        bytes([1 + index % 5]) * ((last or size) if index == count - 1 else size)
        for index in range(count)
    ]


async def test_datagrams_arrive_in_order_both_ways_in_runs_of_one_size() -> None:
    here, there = End(), End()
    async with ends(here, there):
        endpoint = there.listen()
        sent = datagrams(3, 1400, 900)
        assert here.send(sent, endpoint) == 0
        assert await there.heard.until_datagrams(3) == sent
        data, segment, source = there.heard.runs[0]
        assert (data, segment) == (b"".join(sent), 1400)
        assert source[0] == "tls:127.0.0.1"
        assert there.send(sent[:1], source) == 0
        assert await here.heard.until_datagrams(1) == sent[:1]
        assert here.heard.runs[0][2] == endpoint
        assert here.host.connections() == [(endpoint, False)]
        assert there.host.connections() == [(source, True)]
        assert there.gate.seen == [(GREETING, source)]


async def test_what_is_sent_before_the_stream_stands_arrives_too() -> None:
    here, there = End(), End()
    async with ends(here, there):
        endpoint = there.listen()
        sent = [datagrams(1, 100 + size)[0] for size in range(20)]
        for data in sent:
            assert here.send([data], endpoint) == 0
        assert await there.heard.until_datagrams(20) == sent
        assert here.host.dialled == 1


async def test_both_ends_see_the_same_certificate() -> None:
    here, there = End(), End()
    async with ends(here, there):
        here.send(datagrams(1, 50), there.listen())
        await there.heard.until_datagrams(1)
        assert here.gate.certificates == there.gate.certificates
        assert len(here.gate.certificates[0]) == 32


async def test_who_does_not_know_the_word_gets_the_website_and_is_told_from_a_member() -> None:
    here, there = End(Word(b"\x09" * 40)), End()
    async with ends(here, there):
        endpoint = there.listen()
        assert here.send(datagrams(1, 500), endpoint) == 0
        assert await here.heard.until_closed() == (
            endpoint,
            "a website answered: it does not know us",
        )
        assert there.heard.runs == []
        assert there.host.counters.visitors == 1


async def test_a_dial_that_fails_is_told_and_not_repeated_at_once() -> None:
    here, there = End(), End()
    async with ends(here, there):
        endpoint = there.listen()
        await there.host.stop()
        assert here.send(datagrams(1, 50), endpoint) == 0
        assert await here.heard.until_closed() == (endpoint, "Connection refused")
        assert here.send(datagrams(1, 50), endpoint) == errno.EAGAIN
        assert here.host.dials_failed == 1


async def test_nobody_is_dialled_whom_the_gate_does_not_greet() -> None:
    here, there = End(Word(None)), End()
    async with ends(here, there):
        endpoint = there.listen()
        here.send(datagrams(1, 50), endpoint)
        assert await here.heard.until_closed() == (
            endpoint,
            "there is nobody to greet at that address",
        )


async def test_an_accepted_stream_that_ended_is_not_dialled_back() -> None:
    here, there = End(), End()
    async with ends(here, there):
        endpoint = there.listen()
        here.send(datagrams(1, 50), endpoint)
        await there.heard.until_datagrams(1)
        source = there.heard.runs[0][2]
        here.host.close(endpoint)
        assert await there.heard.until_closed() == (source, "closed by the other side")
        assert there.send(datagrams(1, 50), source) == errno.ENOTCONN
        assert here.heard.closed == []
        assert here.send(datagrams(1, 50), endpoint) == 0  # that one is dialled anew
        await there.heard.until_datagrams(2)


async def test_udp_endpoints_are_not_dialled() -> None:
    here = End()
    async with ends(here):
        assert here.send(datagrams(1, 50), ("192.0.2.1", 443)) == errno.ENOTCONN


async def test_dials_are_bounded_and_what_waits_for_them_too() -> None:
    here = End()
    async with ends(here):
        codes = [here.send(datagrams(1, 50), (LOCAL, port)) for port in range(1, 70)]
        assert codes == [0] * 64 + [errno.EAGAIN] * 5
        for _ in range(10):
            here.send(datagrams(1, 60_000), (LOCAL, 1))
        assert here.host.traffic.batches_dropped == 7


async def test_a_closed_dial_stays_closed() -> None:
    here, there = End(), End()
    async with ends(here, there):
        endpoint = there.listen()
        here.send(datagrams(1, 50), endpoint)
        here.host.close(endpoint)
        here.send(datagrams(1, 60), endpoint)
        assert await there.heard.until_datagrams(1) == datagrams(1, 60)


async def test_an_ipv6_address_is_dialled_too() -> None:
    here, there = End(), End()
    async with ends(here, there):
        here.send(datagrams(1, 50), there.listen(address="::1"))
        await there.heard.until_datagrams(1)
        assert there.heard.runs[0][2][0] == "tls:::1"


class Talk:
    """A connection of a web server's, as a visitor."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def receive(self) -> bytes:
        return await self._reader.read(65_536)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        GREETING[:39] + b"\x08",
        b"\x00" * 5000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_a_stranger_gets_what_the_fallback_says_byte_for_byte(said: bytes) -> None:
    site = Site(one_page("a page", 0), lambda: LONG_AGO)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await site.visit(Talk(reader, writer), b"")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        there = End()
        async with ends(there):
            url = f"http://127.0.0.1:{port}"
            endpoint = there.listen(website_for(url, front=True, clock=lambda: LONG_AGO))
            through = await visit(endpoint, said)
            assert through == await visit((LOCAL, port), said, tls=False)
            assert through.startswith(b"HTTP/1.1 ")
            assert there.host.counters.visitors == 1


@pytest.mark.parametrize("text", ["http:/x", "https://127.0.0.1", "ftp://x", "x", "http://a:b@c/"])
def test_a_fallback_that_is_none_is_told(text: str) -> None:
    with pytest.raises(LocalError, match=r"security\.fallback"):
        website_for(text, front=True, clock=lambda: LONG_AGO)


def test_a_fallback_directory_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="is no directory"):
        website_for(str(tmp_path / "none"), front=True, clock=lambda: LONG_AGO)


async def test_without_stealth_there_is_nothing_to_see(tmp_path: Path) -> None:
    there = End()
    async with ends(there):
        endpoint = there.listen(website_for(None, front=False, clock=lambda: LONG_AGO))
        answer = await visit(endpoint, b"GET / HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
