from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from gossip import GossipConfig
from meshd import forwarding
from meshd.forwarding import Forwarding
from meshd.host.gateway import Gateway as Found
from meshd.node import portmap, repeating
from meshd.node.errors import RemoteError
from meshd.node.node import Node
from meshd.node.pcp import PORT, Transport
from meshd.node.portmap import Protocol
from meshd.node.state import NodeConfig
from tests import igd
from tests.node.gateways import OUTSIDE, Gateway
from tests.node.virtual import Mesh

HERE, CLIENT = igd.HERE, "127.0.0.1"
PORTS = ((Transport.UDP, 443), (Transport.TCP, 443))
MAPPED = (OUTSIDE, 443)


class Router(asyncio.DatagramProtocol):
    """Lets a gateway of the tests answer at port 5351."""

    def __init__(self, changed: asyncio.Event) -> None:
        self.changed = changed
        self.gateway = Gateway(client=CLIENT)
        self.transport: Any = None
        self.client: tuple[str, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        self.client = source
        for answer in self.gateway.answers(data, asyncio.get_running_loop().time()):
            self.transport.sendto(answer, source)
        self.changed.set()


class Watched(Forwarding):
    """Lets tests wait for what it does."""

    changed: asyncio.Event

    def tell(self) -> None:
        super().tell()
        self.changed.set()

    def refused(self, error: RemoteError) -> None:
        super().refused(error)
        self.changed.set()


class Host:
    """A node whose gateway is at a loopback address."""

    def __init__(self, address: str | None = None) -> None:
        now = asyncio.get_running_loop().time()
        config = NodeConfig(gossip=GossipConfig.lan())
        identity = Mesh().alpha().identity
        self.node = Node(identity, config, Random(1), os.urandom, now, time.time())
        self.settled = 0
        self.changed = asyncio.Event()
        self.forwarding = Watched(self.node, PORTS, address, self._settle)
        self.forwarding.changed = self.changed

    def _settle(self) -> None:
        self.settled += 1

    @property
    def mapped(self) -> tuple[tuple[str, int], ...]:
        return self.node.state.mapped_endpoints

    def protocol(self) -> str | None:
        status = self.forwarding.status()
        return status["protocol"] if status else None

    async def until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), 8)

    @asynccontextmanager
    async def router(self) -> AsyncIterator[Router]:
        loop = asyncio.get_running_loop()
        transport, made = await loop.create_datagram_endpoint(
            lambda: Router(self.changed), local_addr=(HERE, PORT)
        )
        try:
            yield made
        finally:
            transport.close()

    def igd(self, busy: Sequence[int] = ()) -> igd.Igd:
        return igd.Igd(busy=set(busy), changed=self.changed)


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> list[Found]:
    """What the host's gateways are."""
    listed = [Found(HERE, "lo", CLIENT)]
    monkeypatch.setattr(forwarding, "gateways", lambda: list(listed))
    monkeypatch.setattr(forwarding, "Announcements", unheard)
    monkeypatch.setattr(portmap, "PATIENCE", 0.2)
    return listed


def unheard() -> None:
    raise OSError("another program has the port")


async def test_the_node_hears_what_a_gateway_forwards_until_it_is_taken_back() -> None:
    host = Host()
    async with host.router() as box:
        host.forwarding.start()
        await host.until(lambda: len(host.forwarding.reports()[0].mappings) == 2)
        assert host.mapped == (MAPPED,)
        assert host.settled
        assert set(box.gateway.taken) == {(17, 443), (6, 443)}
        status = host.forwarding.status()
        assert status is not None
        assert 3500 < status["expires_s"] <= 3600
        assert status == {
            "protocol": "pcp",
            "gateway": HERE,
            "endpoint": f"{OUTSIDE}:443",
            "stream_endpoint": f"{OUTSIDE}:443",
            "expires_s": status["expires_s"],
        }
        await host.forwarding.stop()
        assert box.gateway.taken == {}
        assert host.forwarding.status() is None


async def test_an_answer_that_is_none_is_counted() -> None:
    host = Host()
    async with host.router() as box:
        host.forwarding.start()
        await host.until(lambda: bool(host.mapped))
        box.transport.sendto(b"nonsense", box.client)
        await host.until(lambda: host.node.state.drops["portmap-malformed"] == 1)
        assert host.mapped == (MAPPED,)
        host.forwarding.close()


async def test_a_gateway_that_has_gone_forwards_nothing_more(found: list[Found]) -> None:
    host = Host()
    async with host.router():
        host.forwarding.start()
        await host.until(lambda: bool(host.mapped))
        found.clear()
        host.forwarding.look()
        assert host.mapped == ()
        assert host.forwarding.reports() == []
        found.append(Found(HERE, "lo", CLIENT))
        host.forwarding.look()
        await host.until(lambda: host.mapped == (MAPPED,))
        host.forwarding.close()


async def test_a_gateway_that_cannot_be_reached_is_none(found: list[Found]) -> None:
    found[:] = [Found(HERE, "lo", "192.0.2.77")]
    host = Host()
    host.forwarding.start()
    assert host.forwarding.reports() == []
    await host.forwarding.stop()


async def test_only_gateways_of_the_one_address_that_we_listen_on_are_asked() -> None:
    for address, asked in ((None, 1), (CLIENT, 1), ("192.0.2.7", 0)):
        host = Host(address)
        host.forwarding.start()
        assert len(host.forwarding.reports()) == asked
        host.forwarding.close()


async def test_after_a_change_all_is_asked_for_again() -> None:
    host = Host()
    async with host.router() as box:
        host.forwarding.start()
        await host.until(lambda: len(box.gateway.taken) == 2)
        box.gateway.restart(0.0)
        host.forwarding.look()
        await host.until(lambda: len(box.gateway.taken) == 2)
        host.forwarding.close()


async def test_an_announcement_makes_it_look(monkeypatch: pytest.MonkeyPatch) -> None:
    listening, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.setblocking(False)

    class Heard:
        sock = listening

        def read(self, received: Callable[[bytes, tuple[str, int]], None]) -> None:
            received(listening.recv(100), (HERE, PORT))

        def close(self) -> None:
            listening.close()

    monkeypatch.setattr(forwarding, "Announcements", Heard)
    with sender:
        host = Host()
        async with host.router() as box:
            host.forwarding.start()
            await host.until(lambda: len(box.gateway.taken) == 2)
            box.gateway.restart(box.gateway.started + 0.0)
            before = len(box.gateway.asked)
            sender.send(b"I have restarted")
            await host.until(lambda: len(box.gateway.asked) > before)
            assert box.gateway.asked[-1][:2] == b"\x02\x00"
            host.forwarding.close()


async def test_a_gateway_that_does_not_answer_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarding, "STOP_TIME", 0.05)
    host = Host()
    async with host.router() as box:
        host.forwarding.start()
        await host.until(lambda: bool(host.mapped))
        box.transport.close()
        began = time.monotonic()
        await host.forwarding.stop()
        assert time.monotonic() - began < 1.0


# UPnP


async def test_upnp_is_used_where_nothing_else_answers_and_taken_back() -> None:
    host = Host()
    async with host.igd() as box:
        host.forwarding.start()
        await host.until(lambda: bool(host.mapped))
        assert host.mapped == ((igd.OUTSIDE, 443),)
        assert host.protocol() == "upnp"
        assert {key: value[:2] for key, value in box.taken.items()} == {
            ("UDP", 443): (443, CLIENT),
            ("TCP", 443): (443, CLIENT),
        }
        await host.forwarding.stop()
        assert box.taken == {}


async def test_upnp_asks_for_another_port_where_one_is_taken() -> None:
    host = Host()
    async with host.igd(busy=[443]) as box:
        host.forwarding.start()
        await host.until(lambda: bool(host.mapped))
        port = host.mapped[0][1]
        assert port >= 0x8000
        assert set(box.taken) == {("UDP", port), ("TCP", port)}
        host.forwarding.close()


async def test_upnp_is_given_up_when_something_better_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(repeating, "PCP_FIRST", 0.2)
    host = Host()
    async with host.igd() as box:
        host.forwarding.start()
        await host.until(lambda: host.protocol() == "upnp")
        async with host.router() as better:
            better.gateway.natpmp = False
            await host.until(lambda: host.protocol() == "pcp")
            await host.until(lambda: box.taken == {})
            assert host.mapped == (MAPPED,)
            host.forwarding.close()


async def test_why_upnp_does_not_serve_us_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()

    def not_installed() -> bool:
        host.changed.set()
        return False

    monkeypatch.setattr(forwarding, "available", not_installed)
    async with host.router() as box:
        box.gateway.result = 2
        host.forwarding.start()
        await host.until(lambda: len(host.forwarding.reports()[0].errors) == 3)
        errors = host.forwarding.reports()[0].errors
        assert errors[Protocol.PCP] == errors[Protocol.NAT_PMP] == "not authorized"
        assert "pip install 'aegisray[upnp]'" in errors[Protocol.UPNP]
        assert host.mapped == ()
        host.forwarding.close()


async def test_a_upnp_gateway_that_fails_later_forwards_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarding, "UPNP_INTERVAL", 0.05)
    host = Host()
    async with host.igd() as box:
        host.forwarding.start()
        await host.until(lambda: bool(host.mapped))
        box.refuse = 501
        await host.until(lambda: not host.mapped)
        assert host.forwarding.reports()[0].errors == {Protocol.UPNP: "error 501"}
        host.forwarding.close()
