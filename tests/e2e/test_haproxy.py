"""Streams behind a real HAProxy that lets nothing but TLS through."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.streams import SECONDS, End, ends, visit

pytestmark = pytest.mark.e2e

CONFIG = """
global
    maxconn 256
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend mesh
    bind fd@{listening}
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    tcp-request content reject
    default_backend nodes
backend nodes
    balance roundrobin
"""
DATA = [b"\1" * 1400] * 40
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def balanced(folder: Path, *nodes: End, options: str = "") -> AsyncIterator[tuple[str, int]]:
    """HAProxy in front of `nodes`; the endpoint to dial."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        lines = [
            f"    server node{index} 127.0.0.1:{node.host.port} {options}"
            for index, node in enumerate(nodes)
        ]
        config = folder / "haproxy.cfg"
        config.write_text(CONFIG.format(listening=listening.fileno()) + "\n".join([*lines, ""]))
        process = await asyncio.create_subprocess_exec(
            "haproxy", "-db", "-f", str(config), pass_fds=[listening.fileno()]
        )
        try:
            yield "tls:127.0.0.1", listening.getsockname()[1]
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), SECONDS)


async def test_a_stream_passes_and_a_stranger_sees_the_website(tmp_path: Path) -> None:
    here, there = End(), End()
    async with ends(here, there):
        there.listen()
        async with balanced(tmp_path, there) as endpoint:
            here.send(DATA, endpoint)
            assert await there.heard.until_datagrams(40) == DATA
            there.send(DATA, there.heard.runs[0][2])
            assert await here.heard.until_datagrams(40) == DATA
            assert (await visit(endpoint, REQUEST)).startswith(b"HTTP/1.1 200 OK\r\n")
            assert await visit(endpoint, REQUEST, tls=False) == b""
            assert there.host.counters.plain == 0


async def test_the_real_source_is_told_in_a_proxy_header(tmp_path: Path) -> None:
    here, there = End(), End()
    async with ends(here, there):
        there.listen(sources=[ip_network("127.0.0.1/32")])
        async with balanced(tmp_path, there, options="send-proxy-v2") as endpoint:
            here.send(DATA, endpoint)
            assert await there.heard.until_datagrams(40) == DATA
            await visit(endpoint, REQUEST, source="127.0.0.9")
            assert [seen[0] for _, seen in there.gate.seen] == ["tls:127.0.0.1", "tls:127.0.0.9"]


async def test_an_address_that_fronts_several_nodes_leads_to_each(tmp_path: Path) -> None:
    nodes = [End(), End()]
    callers = [End(), End()]
    async with ends(*nodes, *callers):
        for node in nodes:
            node.listen()
        async with balanced(tmp_path, *nodes) as endpoint:
            for caller in callers:
                caller.send(DATA, endpoint)
            for node in nodes:
                assert await node.heard.until_datagrams(40) == DATA
