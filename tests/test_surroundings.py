"""What a daemon tells its node of the world around, on a real loop."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from gossip import GossipConfig, NodeId
from meshd.config import Config, Network
from meshd.host.addresses import Attached
from meshd.host.tun import Tun
from meshd.interface import Interface
from meshd.node.node import Node
from meshd.node.state import NodeConfig
from meshd.surroundings import Surroundings
from tests.host.namespaces import inside, namespace, needs_root, run
from tests.node.virtual import Mesh

LOOPBACK = "127.0.0.1"
PORT = 4443
CONFIG = Config(listen_port=PORT, listen_address=LOOPBACK, network=Network(lan_discovery=False))


class Around:
    """A node and its surroundings, on a host with `addresses`, whose clocks are `clocks`."""

    def __init__(self, config: Config, addresses: list[str]) -> None:
        identity = Mesh().alpha().identity
        self.own = [str(address) for address in identity.certificate.addresses]
        now = asyncio.get_running_loop().time()
        node_config = NodeConfig(gossip=GossipConfig.lan())
        self.node = Node(identity, node_config, Random(1), os.urandom, now, time.time())
        self.settled = 0
        self.told = 0
        self.addresses = addresses
        self.running = True
        self.clocks = (1000.0, 1000.0)
        self.woke: list[float] = []
        self.asked = 0
        """How often all ways were to be asked again."""
        self.interface = Interface("no-such-if", 16)
        self.surroundings = Surroundings(config, self.node, PORT, self._settle, self.interface)
        self.surroundings.changed.append(self._changed)

    def attached(self) -> list[Attached]:
        return [Attached(address, 24, 7, self.running, True) for address in self.addresses]

    def pass_time(self, boot: float, monotonic: float) -> None:
        """Let the clocks go on, and the daemon look at them."""
        self.clocks = (self.clocks[0] + boot, self.clocks[1] + monotonic)
        self.surroundings.tick()

    def _settle(self) -> None:
        self.settled += 1

    def _changed(self) -> None:
        self.told += 1


@contextmanager
def around(monkeypatch: pytest.MonkeyPatch, config: Config = CONFIG) -> Iterator[Around]:
    made = Around(config, [LOOPBACK])
    monkeypatch.setattr("meshd.surroundings._clocks", lambda: made.clocks)
    monkeypatch.setattr("meshd.surroundings.attached", made.attached)
    places = made.node.places
    network_changed, woke = places.network_changed, places.woke

    def asked(now: float) -> None:
        made.asked += 1
        network_changed(now)

    def slept(seconds: float, now: float) -> None:
        made.woke.append(seconds)
        woke(seconds, now)

    monkeypatch.setattr(places, "network_changed", asked)
    monkeypatch.setattr(places, "woke", slept)
    made.surroundings.start()
    try:
        yield made
    finally:
        made.surroundings.close()


async def test_bootstrap_names_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, bootstrap=((LOOPBACK, 7), ("no-such-name.invalid", 8)))
    with around(monkeypatch, config) as made:
        for _ in range(1000):
            if made.node.state.bootstrap:
                break
            await asyncio.sleep(0.01)
        assert made.node.state.bootstrap == ((LOOPBACK, 7),)


async def test_addresses_that_come_and_go_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with around(monkeypatch) as made:
        assert list(made.node.state.local_endpoints) == [(LOOPBACK, PORT)]
        made.addresses = ["192.0.2.1", *made.own, "2001:db8::1"]
        settled = made.settled
        made.surroundings.look()
        known = [("192.0.2.1", PORT), ("2001:db8::1", PORT)]
        assert list(made.node.state.local_endpoints) == known
        assert list(made.surroundings.own_endpoints()) == known
        assert made.settled == settled + 1


async def test_a_joiner_hears_of_named_and_mapped_endpoints_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with around(monkeypatch) as made:
        mapped = ("198.51.100.9", 12345)
        made.node.places.set_mapped([mapped], asyncio.get_running_loop().time())
        assert made.surroundings.own_endpoints() == (mapped, (LOOPBACK, PORT))


async def test_a_joiner_does_not_hear_of_where_the_host_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with around(monkeypatch) as made:
        now = asyncio.get_running_loop().time()
        seen = made.node.state.reflexive
        node = made.node.state.identity.id
        seen.update({("203.0.113.1", port): {node: now - 100} for port in range(1, 9)})
        seen["203.0.113.7", 99] = {node: now, NodeId(bytes(16)): now}  # two agree
        assert made.surroundings.own_endpoints() == (("203.0.113.7", 99), (LOOPBACK, PORT))


async def test_addresses_that_cannot_be_read_once_are_read_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused() -> list[Attached]:
        raise OSError(errno.EMFILE, "Too many open files")

    with around(monkeypatch) as made:
        known = made.node.state.local_endpoints
        made.addresses = ["192.0.2.1"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("meshd.surroundings.attached", refused)
            assert not made.surroundings.look()
        assert made.node.state.local_endpoints == known
        monkeypatch.setattr("meshd.surroundings.LOOK_INTERVAL", 0.0)
        assert made.surroundings.look()
        assert made.node.state.local_endpoints == (("192.0.2.1", PORT),)


async def test_where_the_kernel_tells_nothing_addresses_are_read_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("meshd.surroundings.LOOK_INTERVAL", 0.0)
    with around(monkeypatch) as made:  # there is no such interface
        assert "the kernel does not tell when addresses change" in caplog.text
        made.addresses = ["192.0.2.1"]
        made.pass_time(1.0, 1.0)
        assert made.node.state.local_endpoints == (("192.0.2.1", PORT),)
        assert (made.asked, made.told) == (1, 1)
        made.pass_time(1.0, 1.0)
        assert (made.asked, made.told) == (1, 1)


async def test_a_link_that_comes_back_has_all_ways_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with around(monkeypatch) as made:
        made.running = False
        made.surroundings._moved(False)
        made.running = True
        made.surroundings._moved(False)
        assert (made.asked, made.told) == (2, 2)
        made.surroundings._moved(False)
        assert (made.asked, made.told) == (2, 2)


async def test_another_default_route_has_all_ways_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with around(monkeypatch) as made:
        made.surroundings._moved(True)
        assert (made.asked, made.told) == (1, 1)


async def test_a_host_that_slept_tells_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with around(monkeypatch) as made:
        made.pass_time(1.2, 1.2)
        made.pass_time(5.9, 5.9)  # a busy host
        assert made.woke == []
        made.pass_time(300.5, 0.5)
        assert made.woke == [pytest.approx(300.0)]
        assert made.told == 1


async def test_a_process_that_was_stopped_asks_again_though_no_clock_stood_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with around(monkeypatch) as made:
        made.pass_time(60.0, 60.0)
        assert made.woke == [0.0]


async def test_a_clock_that_was_set_is_followed_within_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with around(monkeypatch) as made:
        set_to = time.time() + 86_400
        monkeypatch.setattr("meshd.surroundings.time.time", lambda: set_to)
        made.pass_time(1.0, 1.0)
        now = asyncio.get_running_loop().time()
        assert made.node.state.unix_time(now) == pytest.approx(set_to, abs=1.0)
        assert made.woke == []


@needs_root
async def test_what_the_interface_lost_is_given_back_when_it_is_touched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restored = asyncio.Event()

    async def restore() -> None:
        restored.set()

    with namespace() as ns:
        tun = inside(ns, lambda: Tun.open("t0"))
        identity = Mesh().alpha().identity
        loop = asyncio.get_running_loop()
        node_config = NodeConfig(gossip=GossipConfig.lan())
        node = Node(identity, node_config, Random(1), os.urandom, loop.time(), time.time())
        interface = Interface("t0", 16)
        monkeypatch.setattr(interface, "restore", restore)
        made = Surroundings(CONFIG, node, PORT, lambda: None, interface)
        inside(ns, made._open_watch)
        assert made._watch is not None
        run("ip", "-n", ns, "link", "set", "t0", "up")
        await asyncio.wait_for(restored.wait(), 5.0)
        made.close()
        tun.close()


async def test_the_lan_is_told_where_the_host_is_and_when_it_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Told:
        notice: str | None = None

        def __init__(self, *_: object) -> None:
            self.moves: list[list[str]] = []
            self.ticks = 0
            self.closed = False

        def moved(self, found: list[Attached]) -> None:
            self.moves.append([each.address for each in found])

        def tick(self) -> None:
            self.ticks += 1

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr("meshd.surroundings.Lan", Told)
    with around(monkeypatch, replace(CONFIG, network=Network())) as made:
        lan = made.surroundings._lan
        assert isinstance(lan, Told)
        made.addresses = ["192.0.2.1"]
        made.surroundings._moved(False)
        assert lan.moves == [[LOOPBACK], ["192.0.2.1"]]
        assert lan.ticks == 1
        assert made.surroundings.notices() == []
        lan.notice = "there is no multicast"
        assert made.surroundings.notices() == ["there is no multicast"]
    assert lan.closed


async def test_names_are_looked_up_again_at_once_when_the_network_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def unreachable(host: str, *_: object, **__: object) -> list[object]:
        asked.put_nowait(host)
        raise OSError("no network")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unreachable)
    config = replace(CONFIG, bootstrap=(("seed.example", 7),))
    with around(monkeypatch, config) as made:
        assert await asyncio.wait_for(asked.get(), 5.0) == "seed.example"
        made.surroundings._moved(True)
        assert await asyncio.wait_for(asked.get(), 5.0) == "seed.example"


async def test_names_that_are_not_known_yet_are_looked_up_again_soon_and_then_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: asyncio.Queue[float] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def unreachable(host: str, *_: object, **__: object) -> list[object]:
        asked.put_nowait(loop.time())
        raise OSError("no name server")

    monkeypatch.setattr(loop, "getaddrinfo", unreachable)
    monkeypatch.setattr("meshd.surroundings.RESOLVE_FIRST", 0.01)
    config = replace(CONFIG, bootstrap=(("seed.example", 7),))
    with around(monkeypatch, config):
        times = [await asyncio.wait_for(asked.get(), 5.0) for _ in range(5)]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    for turn, pause in enumerate(pauses):
        assert pause > 0.009 * 2**turn
