"""What a daemon learns of the world around its host: addresses, names, the time.

None of it is believed by the node before a round trip proves it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable

from meshd.config import Config
from meshd.host.addresses import local_addresses
from meshd.node.node import Node
from meshd.node.wire import Endpoint

CLOCK_INTERVAL = 30.0
"""Seconds between two looks at the wall clock and at the host's addresses."""
RESOLVE_AGAIN = 60.0
"""Seconds between two look-ups of the bootstrap names."""
MAX_BOOTSTRAP = 8

_log = logging.getLogger("meshd")


class Surroundings:
    """Tells `node` what changes around it, from `start` to `close`; `settle` follows each time."""

    def __init__(self, config: Config, node: Node, port: int, settle: Callable[[], None]) -> None:
        """`port`: our UDP port."""
        self._config = config
        self._node = node
        self._port = port
        self._settle = settle
        self._timer: asyncio.TimerHandle | None = None
        self._resolving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look now, and again and again."""
        self.look()
        self._resolving = asyncio.get_running_loop().create_task(self._resolve_bootstrap())

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._resolving is not None:
            self._resolving.cancel()

    def look(self) -> None:
        """Look at the wall clock and at our addresses, now and every half minute."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(CLOCK_INTERVAL, self.look)
        self._node.set_clock(time.time(), loop.time())
        try:
            addresses = self._underlay_addresses()
        except OSError as error:  # such as no free descriptor: half a minute later there may be one
            _log.warning("this host's addresses could not be read: %s", error.strerror or error)
        else:
            endpoints = [(address, self._port) for address in addresses]
            self._node.places.set_local(endpoints, loop.time())
        self._settle()

    def own_endpoints(self) -> tuple[Endpoint, ...]:
        """Where a joiner may reach us: named, mapped, seen by peers, local."""
        state = self._node.state
        named = (*state.config.endpoints, *state.mapped_endpoints)
        return tuple(dict.fromkeys((*named, *state.reflexive, *state.local_endpoints)))

    def _underlay_addresses(self) -> list[str]:
        own = {str(address) for address in self._node.state.identity.certificate.addresses}
        return [address for address in local_addresses() if address not in own]

    async def _resolve_bootstrap(self) -> None:
        """Look up where to begin, again and again while nobody is reached: names move."""
        loop, state = asyncio.get_running_loop(), self._node.state
        while self._config.bootstrap:
            found: list[Endpoint] = []
            alone = not any(peer.current is not None for peer in state.peers.values())
            for host, port in self._config.bootstrap if alone else ():
                with contextlib.suppress(OSError):
                    results = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
                    found += [(str(item[4][0]), int(item[4][1])) for item in results]
            if found:
                self._node.places.set_bootstrap(list(dict.fromkeys(found))[:MAX_BOOTSTRAP])
            await asyncio.sleep(RESOLVE_AGAIN)
