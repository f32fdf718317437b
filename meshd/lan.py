"""Finds members on the LAN, with or without an Internet: says where this node is, and has the node
try where others say they are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_interface

from meshd.host.addresses import Attached, attached
from meshd.host.mdns import Mdns
from meshd.node.errors import HostError
from meshd.node.lantag import Neighbourhood, Network, is_near
from meshd.node.node import Node
from meshd.node.wire import Endpoint

RUN_INTERVAL = 5.0
"""Seconds between two looks at who was heard and is not reached."""
REOPEN_INTERVAL = 2.0
"""Seconds that networks must have been left alone, at least, before it is opened for them anew."""
RETRY_INTERVAL = 60.0
"""Seconds after which it is tried again where it failed."""

_log = logging.getLogger("meshd")


def multicast_addresses(found: Sequence[Attached]) -> list[str]:
    """One address of each interface that multicast may be sent by, of IPv4 where there is one."""
    chosen: dict[int, str] = {}
    for each in found:
        if each.multicast and each.running:
            known = chosen.setdefault(each.index, each.address)
            if ":" in known and ":" not in each.address:
                chosen[each.index] = each.address
    return list(chosen.values())


def networks(found: Sequence[Attached]) -> tuple[Network, ...]:
    """Those that the host is attached to."""
    return tuple(ip_interface(f"{each.address}/{each.length}").network for each in found)


class Lan:
    """Multicast DNS for one node, from the first `moved` to `close`; `settle` follows each hint."""

    def __init__(self, node: Node, port: int, settle: Callable[[], None]) -> None:
        """`port`: our UDP port."""
        self._node = node
        self._port = port
        self._settle = settle
        self._loop = asyncio.get_running_loop()
        self.neighbourhood = Neighbourhood(node.state, node.places.hint)
        self._mdns = Mdns(self._heard, self.neighbourhood.gone)
        self._found: Sequence[Attached] = ()
        self._stale = False
        """Whether the networks have changed since it was opened."""
        self._opening: asyncio.Task[None] | None = None
        self._words: dict[str, str] = {}
        self._ran_at = self._loop.time()
        self._failed_at = 0.0
        self.notice: str | None = None
        """Why members on the LAN are not found, if they are not."""

    def moved(self, found: Sequence[Attached]) -> None:
        """This host's addresses are these now, or their links have come back."""
        self._found, self._stale = found, True
        self.neighbourhood.networks = networks(found)
        if self._opening is None:
            self._opening = self._loop.create_task(self._reopen())

    def tick(self) -> None:
        """Look at the hour and at who is not reached, every second or so."""
        now = self._loop.time()
        if now - self._ran_at < RUN_INTERVAL:
            return
        self._ran_at = now
        words = self._words_of(now)
        if self.notice is not None and now - self._failed_at >= RETRY_INTERVAL:
            self.moved(self._found)
        if self._opening is None and self._words and words != self._words:
            self._opening = self._loop.create_task(self._retell(words))
        self.neighbourhood.run(now)
        self._settle()

    def close(self) -> None:
        """Say goodbye."""
        if self._opening is not None:
            self._opening.cancel()
        self._mdns.close_now()

    async def _reopen(self) -> None:
        """Open it anew for as long as the networks change."""
        try:
            while self._stale:
                self._stale = False
                self._words = {}
                try:
                    await self._mdns.close()
                    await self._open(multicast_addresses(self._found))
                    self.notice = None
                except Exception as error:  # a library's: the node goes on
                    self._failed(error)
                await asyncio.sleep(REOPEN_INTERVAL)
        finally:
            self._opening = None

    async def _open(self, interfaces: Sequence[str]) -> None:
        if not interfaces:
            return
        self._words = self._words_of(self._loop.time())
        addresses = [each.address for each in self._found]
        await self._mdns.open(interfaces, addresses, self._port, self._words)

    def _failed(self, error: Exception) -> None:
        """Say so, once: it is tried again, and when the networks change."""
        self._failed_at = self._loop.time()
        told, unexpected = str(error), not isinstance(error, HostError)
        if unexpected:
            told = f"members on the LAN are not found: {type(error).__name__}: {error}"
        if self.notice is None:
            _log.warning("%s", told, exc_info=error if unexpected else None)
        self.notice = told

    def _words_of(self, now: float) -> dict[str, str]:
        """What to say now, of the addresses that are said first."""
        endpoints = [(each.address, self._port) for each in self._found]
        return self.neighbourhood.words(self._node.state.unix_time(now), endpoints)

    async def _retell(self, words: dict[str, str]) -> None:
        try:
            self._words = words
            await self._mdns.tell(words)
        except Exception as error:  # a library's: the node goes on
            self._failed(error)
        finally:
            self._opening = None
        if self._stale:
            self.moved(self._found)

    def _heard(self, name: str, words: Mapping[str, str], endpoints: list[Endpoint]) -> None:
        self.neighbourhood.heard(name, words, endpoints, self._loop.time())
        self._settle()


async def search(after: float, found: Callable[[list[Endpoint]], None]) -> None:
    """Search the LAN for nodes of whatever mesh, from `after` seconds from now until cancelled,
    for who has no mesh secret yet and cannot tell them apart."""
    await asyncio.sleep(after)
    try:
        here = attached()
        near = networks(here)
        mdns = Mdns(
            lambda name, words, endpoints: found([e for e in endpoints if is_near(e, near)]),
            lambda name: None,
        )
        interfaces = multicast_addresses(here)
        if interfaces:
            try:
                await mdns.open(interfaces)
                await asyncio.Event().wait()
            finally:
                await mdns.close()
    except (HostError, OSError) as error:
        _log.info("the LAN was not searched: %s", error)
