"""The interface follows what the node wants, one change at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest

from meshd.interface import Interface
from meshd.node.errors import HostError


@dataclass
class Kernel:
    """What would be done to the interface, in order."""

    done: list[tuple[str, list[str]]] = field(default_factory=list)
    refuses: bool = False
    up: bool = True

    async def configure(self, name: str, addresses: Sequence[str], mtu: int) -> list[str]:
        self.done.append((f"configure {name} {mtu}", list(addresses)))
        return ["the queue is short"]

    async def change(self, what: str, prefixes: Iterable[str]) -> list[str]:
        await asyncio.sleep(0)
        if self.refuses:
            raise HostError("there is no interface")
        self.done.append((what, list(prefixes)))
        return []

    async def add(self, name: str, prefixes: Iterable[str]) -> list[str]:
        return await self.change("add", prefixes)

    async def remove(self, name: str, prefixes: Iterable[str]) -> list[str]:
        return await self.change("remove", prefixes)

    async def replace(self, name: str, addresses: Iterable[str]) -> list[str]:
        return await self.change("replace", addresses)

    async def restore(self, name: str, addresses: Iterable[str]) -> bool:
        await self.change("restore", addresses)
        return self.up


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    for name, function in (
        ("configure_tun", kernel.configure),
        ("add_routes", kernel.add),
        ("remove_routes", kernel.remove),
        ("replace_addresses", kernel.replace),
        ("restore_addresses", kernel.restore),
    ):
        monkeypatch.setattr(f"meshd.interface.netlink.{name}", function)
    return kernel


async def test_addresses_get_the_prefixes_of_the_mesh(kernel: Kernel) -> None:
    interface = Interface("aegis0", 16)
    addresses = [ip_address("100.64.0.7"), ip_address("fd00::7")]
    assert await interface.configure(addresses, 1380) == ["the queue is short"]
    await interface.follow_addresses(("100.64.0.8", "fd00::7"))
    assert kernel.done == [
        ("configure aegis0 1380", ["100.64.0.7/16", "fd00::7/64"]),
        ("replace", ["100.64.0.8/16", "fd00::7/64"]),
    ]


async def test_routes_that_come_and_go_at_once_are_changed_one_after_the_other(
    kernel: Kernel,
) -> None:
    interface = Interface("aegis0", 16)
    interface.routes_wanted = frozenset({"10.0.0.0/8", "11.0.0.0/8"})
    first = asyncio.create_task(interface.follow_routes())
    await asyncio.sleep(0)
    interface.routes_wanted = frozenset({"11.0.0.0/8"})
    await asyncio.gather(first, interface.follow_routes(), interface.follow_routes())
    assert kernel.done == [
        ("remove", []),
        ("add", ["10.0.0.0/8", "11.0.0.0/8"]),
        ("remove", ["10.0.0.0/8"]),
        ("add", []),
    ]


async def test_what_is_refused_is_told_and_tried_again_with_the_next_change(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    interface, kernel.refuses = Interface("aegis0", 16), True
    interface.routes_wanted = frozenset({"10.0.0.0/8"})
    await interface.follow_routes()
    await interface.follow_addresses(("100.64.0.8",))
    assert caplog.messages.count("there is no interface") == 2
    kernel.refuses = False
    await interface.follow_routes()
    assert kernel.done[-1] == ("add", ["10.0.0.0/8"])


async def test_an_interface_that_is_up_again_gets_back_what_it_lost(kernel: Kernel) -> None:
    interface = Interface("aegis0", 16)
    await interface.configure([ip_address("100.64.0.7")], 1380)
    interface.routes_wanted = frozenset({"10.0.0.0/8", "11.0.0.0/8"})
    await interface.follow_routes()
    kernel.done.clear()
    await interface.restore()
    lost = ("restore", ["100.64.0.7/16"])
    assert kernel.done == [lost, ("add", ["10.0.0.0/8", "11.0.0.0/8"])]
    await interface.follow_addresses(("100.64.0.8",))
    kernel.done.clear()
    kernel.up = False
    await interface.restore()
    assert kernel.done == [("restore", ["100.64.0.8/16"])]


async def test_an_interface_that_cannot_be_restored_is_told(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    interface, kernel.refuses = Interface("aegis0", 16), True
    await interface.restore()
    assert caplog.messages == ["there is no interface"]
