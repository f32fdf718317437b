"""Members on the LAN: when it is told and looked at, and what a joiner finds there."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from random import Random

import pytest

from gossip import GossipConfig
from meshd.host.addresses import Attached
from meshd.lan import Lan, multicast_addresses, networks, search
from meshd.node.errors import HostError
from meshd.node.lantag import HOUR
from meshd.node.node import Node
from meshd.node.state import NodeConfig
from tests.node.virtual import Mesh

PORT = 4443
HOME = Attached("192.168.7.2", 24, 2, True, True)
CAFE = Attached("10.3.4.5", 16, 3, True, True)

Heard = Callable[[str, Mapping[str, str], "list[tuple[str, int]]"], None]


class Air:
    """What would be multicast."""

    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []
        self.refuses = False
        self.breaks = False
        self.heard: Heard = lambda *_: None
        self.happened = asyncio.Event()

    def mdns(self, heard: Heard, gone: Callable[[str], None]) -> Air:
        self.heard = heard
        return self

    def _do(self, *what: object) -> None:
        self.done.append(what)
        self.happened.set()

    async def open(
        self,
        interfaces: Sequence[str],
        addresses: Sequence[str] = (),
        port: int = 0,
        words: Mapping[str, str] | None = None,
    ) -> None:
        self._do("open", list(interfaces), list(addresses), port, dict(words or {}))
        if self.refuses:
            raise HostError("there is no multicast")
        if self.breaks:
            raise KeyError("surprise")

    async def tell(self, words: Mapping[str, str]) -> None:
        self._do("tell", dict(words))
        if self.breaks:
            raise KeyError("surprise")

    async def close(self) -> None:
        self.done.append(("close",))

    def close_now(self) -> None:
        self.done.append(("close now",))

    async def next(self) -> tuple[object, ...]:
        """The next thing that is done, but for closing."""
        await asyncio.wait_for(self.happened.wait(), 5.0)
        self.happened.clear()
        return self.done[-1]


@pytest.fixture
async def air(monkeypatch: pytest.MonkeyPatch) -> Air:
    air = Air()
    monkeypatch.setattr("meshd.lan.Mdns", air.mdns)
    monkeypatch.setattr("meshd.lan.REOPEN_INTERVAL", 0.0)
    monkeypatch.setattr("meshd.lan.RUN_INTERVAL", 0.0)
    return air


@pytest.fixture
async def lan(air: Air) -> AsyncIterator[Lan]:
    identity = Mesh().alpha().identity
    config = NodeConfig(gossip=GossipConfig.lan())
    now = asyncio.get_running_loop().time()
    node = Node(identity, config, Random(1), os.urandom, now, time.time())
    made = Lan(node, PORT, lambda: None)
    yield made
    made.close()


async def settled(lan: Lan) -> None:
    """Wait until it has done what it was told."""
    if lan._opening is not None:
        await lan._opening


def said(lan: Lan, at: Attached, later: float = 0.0) -> dict[str, str]:
    """The words of a node that is there alone."""
    return lan.neighbourhood.words(time.time() + later, [(at.address, PORT)])


async def test_it_is_opened_where_the_host_is_and_anew_where_it_goes(lan: Lan, air: Air) -> None:
    lan.moved([HOME])
    words = said(lan, HOME)
    assert await air.next() == ("open", [HOME.address], [HOME.address], PORT, words)
    lan.moved([CAFE])
    words = said(lan, CAFE)
    assert await air.next() == ("open", [CAFE.address], [CAFE.address], PORT, words)
    assert lan.neighbourhood.networks == networks([CAFE])
    assert air.done.count(("close",)) == 2


async def test_moves_that_come_together_open_it_once_more(lan: Lan, air: Air) -> None:
    for found in ([HOME], [CAFE], [HOME], [HOME, CAFE]):
        lan.moved(found)
    assert (await air.next())[1] == [HOME.address, CAFE.address]
    assert [what[0] for what in air.done] == ["close", "open"]


async def test_without_a_network_it_is_not_open(lan: Lan, air: Air) -> None:
    lan.moved([HOME])
    await air.next()
    lan.moved([])
    await settled(lan)
    assert air.done[-1] == ("close",)
    lan.tick()
    assert air.done[-1] == ("close",)


async def test_the_words_change_with_the_hour(lan: Lan, air: Air) -> None:
    lan.moved([HOME])
    await air.next()
    await settled(lan)
    lan.tick()
    assert air.done[-1][0] == "open"
    lan._node.state.unix_offset += HOUR
    lan.tick()
    lan.tick()
    assert await air.next() == ("tell", said(lan, HOME, HOUR))
    lan.moved([CAFE])
    assert (await air.next())[4] == said(lan, CAFE, HOUR)


async def test_where_multicast_fails_a_notice_says_so_until_it_works(
    lan: Lan, air: Air, caplog: pytest.LogCaptureFixture
) -> None:
    air.refuses = True
    for _ in range(2):
        lan.moved([HOME])
        await air.next()
        await settled(lan)
    assert lan.notice == "there is no multicast"
    assert caplog.messages == ["there is no multicast"]
    air.refuses = False
    lan.moved([HOME])
    await air.next()
    assert lan.notice is None


async def test_what_nobody_expected_is_told_too_and_it_is_tried_again(
    lan: Lan, air: Air, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    air.breaks = True
    lan.moved([HOME])
    await air.next()
    await settled(lan)
    told = "members on the LAN are not found: KeyError: 'surprise'"
    assert (lan.notice, caplog.messages) == (told, [told])
    lan.tick()
    assert lan._opening is None  # not at once
    monkeypatch.setattr("meshd.lan.RETRY_INTERVAL", 0.0)
    air.breaks = False
    lan.tick()
    assert (await air.next())[0] == "open"
    await settled(lan)
    assert lan.notice is None


async def test_words_that_cannot_be_told_are_no_end_either(lan: Lan, air: Air) -> None:
    lan.moved([HOME])
    await air.next()
    await settled(lan)
    air.breaks = True
    lan._node.state.unix_offset += HOUR
    lan.tick()
    assert (await air.next())[0] == "tell"
    await settled(lan)
    assert lan.notice is not None


async def test_what_is_heard_reaches_the_neighbourhood(
    lan: Lan, air: Air, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr(lan.neighbourhood, "heard", lambda *what: told.append(what[:3]))
    air.heard("x", {"t": "1"}, [("192.168.7.9", 443)])
    assert told == [("x", {"t": "1"}, [("192.168.7.9", 443)])]


def test_each_interface_is_asked_once_by_ipv4_where_it_has_it() -> None:
    found = [
        HOME,
        Attached("192.168.7.3", 24, 2, True, True),
        Attached("10.9.9.9", 24, 5, False, True),  # no cable
        Attached("10.8.8.8", 24, 6, True, False),  # no multicast
        Attached("fd00::2", 64, 7, True, True),
        Attached("fd00::3", 64, 2, True, True),
        Attached("169.254.1.1", 16, 7, True, True),
    ]
    assert multicast_addresses(found) == [HOME.address, "169.254.1.1"]


# A joiner's search


async def test_a_search_finds_what_is_near_until_it_is_ended(
    air: Air, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[tuple[str, int]]] = []
    monkeypatch.setattr("meshd.lan.attached", lambda: [HOME])
    searching = asyncio.create_task(search(0.0, found.append))
    assert (await air.next())[:3] == ("open", [HOME.address], [])
    air.heard("x", {}, [("192.168.7.9", 443), ("8.8.8.8", 53)])
    assert found == [[("192.168.7.9", 443)]]
    searching.cancel()
    await asyncio.wait([searching])
    assert air.done[-1] == ("close",)


async def test_a_search_begins_late(air: Air, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshd.lan.attached", lambda: [HOME])
    searching = asyncio.create_task(search(60.0, print))
    await asyncio.sleep(0)
    searching.cancel()
    await asyncio.wait([searching])
    assert air.done == []


async def test_a_search_that_fails_finds_nothing(
    air: Air, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    air.refuses = True
    monkeypatch.setattr("meshd.lan.attached", lambda: [HOME])
    await search(0.0, print)
    assert caplog.messages == ["the LAN was not searched: there is no multicast"]
    assert air.done[-1] == ("close",)


async def test_a_host_without_a_lan_is_not_searched(
    air: Air, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.lan.attached", lambda: [])
    await search(0.0, print)
    assert air.done == []
