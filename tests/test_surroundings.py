"""What a daemon tells its node of the world around, on a real loop."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random

import pytest

from gossip import GossipConfig
from meshd.config import Config
from meshd.node.node import Node
from meshd.node.state import NodeConfig
from meshd.surroundings import Surroundings
from tests.node.virtual import Mesh

LOOPBACK = "127.0.0.1"
PORT = 4443
CONFIG = Config(listen_port=PORT, listen_address=LOOPBACK)


class Around:
    """A node and its surroundings, on a host with `addresses`."""

    def __init__(self, config: Config, addresses: list[str]) -> None:
        identity = Mesh().alpha().identity
        self.own = [str(address) for address in identity.certificate.addresses]
        now = asyncio.get_running_loop().time()
        node_config = NodeConfig(gossip=GossipConfig.lan())
        self.node = Node(identity, node_config, Random(1), os.urandom, now, time.time())
        self.settled = 0
        self.addresses = addresses
        self.surroundings = Surroundings(config, self.node, PORT, self._settle)

    def _settle(self) -> None:
        self.settled += 1


@contextmanager
def around(monkeypatch: pytest.MonkeyPatch, config: Config = CONFIG) -> Iterator[Around]:
    made = Around(config, [LOOPBACK])
    monkeypatch.setattr("meshd.surroundings.local_addresses", lambda: made.addresses)
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


async def test_addresses_that_cannot_be_read_once_are_read_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused() -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    with around(monkeypatch) as made:
        known, timer = made.node.state.local_endpoints, made.surroundings._timer
        monkeypatch.setattr("meshd.surroundings.local_addresses", refused)
        made.surroundings.look()
        assert made.node.state.local_endpoints == known
        assert made.surroundings._timer is not timer
