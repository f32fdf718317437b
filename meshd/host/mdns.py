"""Multicast DNS on the LAN (RFC 6762, 6763): says where this node is, and hears of others.

The service says no more than a random name, an address, a port and words that mean something to
those only who know them. What is heard comes from anybody: it is bounded here, and judged by
others. zeroconf is imported only when it is used: it costs 5 MB and a tenth of a second.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from meshd.node.errors import HostError

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

SERVICE = "_aegisray._udp.local."
MAX_INTERFACES = 8
MAX_ADDRESSES = 8
"""Of one service, ours or another's."""
MAX_ASKED = 8
"""Services at a time whose address is asked for, where it did not come along."""
ASK_MS = 1500
HEARD_PER_SECOND, HEARD_BURST = 500.0, 512.0
"""Services that are looked at, a few percent of a processor: so many that who floods the LAN with
them does not hide the others."""

Heard = Callable[[str, Mapping[str, str], "list[tuple[str, int]]"], None]


class Mdns:
    """One responder and browser. `heard` is told name, words and endpoints of each other service,
    `gone` the name of one that says goodbye. Nothing happens before `open`."""

    def __init__(self, heard: Heard, gone: Callable[[str], None]) -> None:
        self._heard = heard
        self._gone = gone
        self.name = f"{os.urandom(8).hex()}.{SERVICE}"
        """Random, for as long as this object lives."""
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._info: ServiceInfo | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._allowance, self._allowed_at = HEARD_BURST, 0.0
        self.ignored = 0
        """Services that came too fast to be looked at."""

    async def open(
        self,
        interfaces: Sequence[str],
        addresses: Sequence[str] = (),
        port: int = 0,
        words: Mapping[str, str] | None = None,
    ) -> None:
        """Listen on the interfaces that have these addresses, and browse; with `addresses`, say
        that a node with `words` is there. Raises HostError where multicast is not to be had."""
        await asyncio.to_thread(importlib.import_module, "zeroconf.asyncio")
        from zeroconf import Error
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

        # Everything else that it says is about sockets of interfaces that are just going away.
        logging.getLogger("zeroconf").setLevel(logging.ERROR)
        try:
            self._zeroconf = AsyncZeroconf(interfaces=list(interfaces[:MAX_INTERFACES]))
        except (OSError, RuntimeError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            raise HostError(f"members on the LAN cannot be found by multicast: {reason}") from error
        if addresses:
            self._info = self._described(addresses, port, words or {})
            with suppress(Error):  # closed meanwhile
                await self._zeroconf.async_register_service(self._info, cooperating_responders=True)
        if self._zeroconf is not None:
            self._browser = AsyncServiceBrowser(
                self._zeroconf.zeroconf, SERVICE, handlers=[self._changed]
            )

    async def tell(self, words: Mapping[str, str]) -> None:
        """Say other words from now on."""
        if self._zeroconf is not None and self._info is not None:
            from zeroconf import Error

            addresses = self._info.parsed_addresses()
            self._info = self._described(addresses, self._info.port or 0, words)
            with suppress(Error):
                await self._zeroconf.async_update_service(self._info)

    async def close(self) -> None:
        """Say goodbye, and listen no more; it may be opened again."""
        self._stop_asking()
        zeroconf, self._zeroconf, self._info = self._zeroconf, None, None
        if zeroconf is not None:
            await zeroconf.async_close()

    def close_now(self) -> None:
        """As `close`, at the end of the event loop."""
        self._stop_asking()
        zeroconf, self._zeroconf, self._info = self._zeroconf, None, None
        if zeroconf is not None:
            goodbye = zeroconf.zeroconf.generate_unregister_all_services()
            if goodbye is not None:
                zeroconf.zeroconf.async_send(goodbye)
            zeroconf.zeroconf.close()

    def _stop_asking(self) -> None:
        for task in self._asking:
            task.cancel()

    def _described(
        self, addresses: Sequence[str], port: int, words: Mapping[str, str]
    ) -> ServiceInfo:
        from zeroconf import ServiceInfo

        return ServiceInfo(
            SERVICE,
            self.name,
            port=port,
            properties=dict(words),
            server=f"{self.name.partition('.')[0]}.local.",
            parsed_addresses=list(addresses[:MAX_ADDRESSES]),
        )

    def _changed(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        """A service appeared, changed or went; zeroconf names these arguments."""
        from zeroconf import ServiceStateChange
        from zeroconf.asyncio import AsyncServiceInfo

        if name.lower() == self.name:
            return
        if state_change is ServiceStateChange.Removed:
            self._gone(name)
            return
        now = asyncio.get_running_loop().time()
        earned = (now - self._allowed_at) * HEARD_PER_SECOND
        self._allowance, self._allowed_at = min(HEARD_BURST, self._allowance + earned), now
        if self._allowance < 1:
            self.ignored += 1
            return
        self._allowance -= 1
        info = AsyncServiceInfo(service_type, name)
        if info.load_from_cache(zeroconf):
            self._found(name, info)
        elif len(self._asking) < MAX_ASKED:
            task = asyncio.get_running_loop().create_task(self._ask(zeroconf, name, info))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        else:
            self.ignored += 1

    async def _ask(self, zeroconf: Zeroconf, name: str, info: AsyncServiceInfo) -> None:
        from zeroconf import Error

        with suppress(Error):  # closed meanwhile
            if await info.async_request(zeroconf, ASK_MS):
                self._found(name, info)

    def _found(self, name: str, info: AsyncServiceInfo) -> None:
        words = {key: value for key, value in info.decoded_properties.items() if value is not None}
        endpoints = [(host, info.port or 0) for host in info.parsed_addresses()[:MAX_ADDRESSES]]
        self._heard(name, words, endpoints)
