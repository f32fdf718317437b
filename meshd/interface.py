"""Keeps the TUN interface as the node wants it: addresses, and routes that members offer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from meshd.host import netlink
from meshd.node.errors import LocalError

_log = logging.getLogger("meshd")


class Interface:
    """One interface, by name. One change at a time; what is refused is logged."""

    def __init__(self, name: str, prefix4: int) -> None:
        """`prefix4`: bits of the mesh's IPv4 prefix; that of IPv6 has 64."""
        self.name = name
        self._prefix4 = prefix4
        self._addresses: list[str] = []
        self._routes: frozenset[str] = frozenset()
        self._lock = asyncio.Lock()
        self.routes_wanted: frozenset[str] = frozenset()
        """Prefixes; `follow_routes` makes them those of the kernel."""

    async def configure(self, addresses: Iterable[object], mtu: int) -> list[str]:
        """Bring it up; a sentence for each thing that this host cannot have. Raises HostError."""
        self._addresses = self._with_prefixes(addresses)
        return await netlink.configure_tun(self.name, self._addresses, mtu)

    async def follow_addresses(self, addresses: Sequence[str]) -> None:
        """Another node held an address of ours: the interface gets the new one."""
        async with self._lock:
            self._addresses = self._with_prefixes(addresses)
            try:
                refused = await netlink.replace_addresses(self.name, self._addresses)
            except LocalError as error:
                refused = [str(error)]
        for sentence in refused:
            _log.error("%s", sentence)
        _log.warning("this node's addresses are now %s", ", ".join(addresses))

    async def follow_routes(self) -> None:
        """Make the kernel's routes into the TUN those that members offer."""
        async with self._lock:
            wanted = self.routes_wanted
            if wanted == self._routes:
                return
            try:
                await netlink.remove_routes(self.name, sorted(self._routes - wanted))
                refused = await netlink.add_routes(self.name, sorted(wanted - self._routes))
                self._routes = wanted
            except LocalError as error:
                refused = [str(error)]  # the next change tries all of it again
        for sentence in refused:
            _log.warning("%s", sentence)

    async def restore(self) -> None:
        """Something happened to the interface: what it has lost of ours comes back. One that was
        set down is left alone until it is up again."""
        async with self._lock:
            try:
                if not await netlink.restore_addresses(self.name, self._addresses):
                    return
                refused = await netlink.add_routes(self.name, sorted(self._routes))
            except LocalError as error:
                refused = [str(error)]
        for sentence in refused:
            _log.warning("%s", sentence)

    def _with_prefixes(self, addresses: Iterable[object]) -> list[str]:
        texts = map(str, addresses)
        return [f"{text}/{64 if ':' in text else self._prefix4}" for text in texts]
