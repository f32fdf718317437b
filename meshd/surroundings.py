"""What a daemon learns of the world around its host: addresses, names, the time.

The kernel tells of changes to links, addresses and routes; where it does not, addresses are read
every half minute. The clocks are looked at every second: timers stand still while the host sleeps.
None of what is learnt is believed by the node before a round trip proves it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Coroutine

from meshd.config import Config
from meshd.host.addresses import Attached, attached, reachable
from meshd.host.watch import Watch
from meshd.interface import Interface
from meshd.lan import Lan
from meshd.node.node import Node
from meshd.node.wire import Endpoint

CLOCK_INTERVAL = 1.0
"""Seconds between two looks at the clocks."""
LOOK_INTERVAL = 30.0
"""Seconds between two looks at the addresses, where the kernel does not tell of changes."""
ASLEEP = 5.0
"""Seconds from which a pause between two looks at the clock was a sleep."""
RESOLVE_FIRST, RESOLVE_AGAIN = 1.0, 60.0
"""Seconds between two look-ups of the bootstrap names: the second, but after one that failed the
first, doubled up to it. A host that has just started may have an address before it has DNS."""
MAX_BOOTSTRAP = 8

_log = logging.getLogger("meshd")


class Surroundings:
    """Tells `node` what changes around it, from `start` to `close`; `settle` follows each time."""

    def __init__(
        self,
        config: Config,
        node: Node,
        port: int,
        settle: Callable[[], None],
        interface: Interface,
    ) -> None:
        """`port`: our UDP port; `interface`: what gets back what it lost."""
        self._config = config
        self._node = node
        self._port = port
        self._settle = settle
        self._interface = interface
        self._loop = asyncio.get_running_loop()
        self._watch: Watch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._attached: list[Attached] | None = None
        self._lan = Lan(node, port, settle) if config.network.lan_discovery else None
        self._resolve = asyncio.Event()
        """Set when names may be looked up now that could not be before."""
        self._look_at: float | None = None
        """When to look without having been told."""
        self._stands = _clocks()
        self.changed: list[Callable[[], None]] = []
        """Who else is to know when addresses or links have changed, or the host woke."""

    def start(self) -> None:
        """Look now, and again whenever something changes."""
        self._open_watch()
        self.look()
        if self._lan is not None:
            self._lan.moved(self._attached or ())
        self.tick()
        self._start(self._resolve_bootstrap())

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._lan is not None:
            self._lan.close()
        if self._watch is not None:
            self._loop.remove_reader(self._watch.sock.fileno())
            self._watch.close()
            self._watch = None
        for task in self._tasks:
            task.cancel()

    def _open_watch(self) -> None:
        try:
            own = socket.if_nametoindex(self._interface.name)
            self._watch = Watch(own, self._loop, self._moved, self._touched)
        except OSError as error:
            _log.warning(
                "the kernel does not tell when addresses change (%s): they are read every %g s",
                error.strerror or error,
                LOOK_INTERVAL,
            )
        else:
            self._loop.add_reader(self._watch.sock.fileno(), self._watch.read)

    def tick(self) -> None:
        """Look at the clocks, now and every second: the wall's may have been set, and the host
        may have slept, or this process been stopped."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(CLOCK_INTERVAL, self.tick)
        before, self._stands = self._stands, _clocks()
        boot, monotonic = self._stands[0] - before[0], self._stands[1] - before[1]
        now = self._loop.time()
        self._node.set_clock(time.time(), now)
        if boot > CLOCK_INTERVAL + ASLEEP:
            _log.info("this host slept, or meshd was stopped, for %.0f s", boot)
            self._node.places.woke(max(0.0, boot - monotonic), now)
            self._moved(True)
        elif self._look_at is not None and now >= self._look_at:
            self._moved(False)
        if self._lan is not None:
            self._lan.tick()

    def look(self) -> bool:
        """Read our addresses, and tell the node; whether they, or their links, have changed."""
        now = self._loop.time()
        self._look_at = now + LOOK_INTERVAL if self._watch is None else None
        own = {str(address) for address in self._node.state.identity.certificate.addresses}
        try:
            found = [each for each in attached() if each.address not in own]
        except OSError as error:  # such as no free descriptor: the next look may find one
            _log.warning("this host's addresses could not be read: %s", error.strerror or error)
            self._look_at = now + LOOK_INTERVAL
            return False
        changed = found != self._attached
        self._attached = found
        self._node.places.set_local([(text, self._port) for text in reachable(found)], now)
        self._settle()
        return changed

    def _moved(self, routes: bool) -> None:
        """Something may have changed; `routes`: default routes have."""
        if self.look() or routes:
            self._node.places.network_changed(self._loop.time())
            self._settle()
            self._resolve.set()
            if self._lan is not None:
                self._lan.moved(self._attached or ())
            for tell in self.changed:
                tell()

    def _touched(self) -> None:
        self._start(self._interface.restore())

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def notices(self) -> list[str]:
        """What a person should know of, a sentence each."""
        return [self._lan.notice] if self._lan is not None and self._lan.notice else []

    def own_endpoints(self) -> tuple[Endpoint, ...]:
        """Where a joiner may reach us, as we tell the members: what peers saw long ago, when this
        host was elsewhere, would take the room of what is so now."""
        return self._node.places.own(self._loop.time())

    async def _resolve_bootstrap(self) -> None:
        """Look up where to begin, again and again while nobody is reached, and when the network
        has changed: names move."""
        loop, state = asyncio.get_running_loop(), self._node.state
        again = RESOLVE_FIRST
        while self._config.bootstrap:
            found: list[Endpoint] = []
            failed = False
            alone = not any(peer.current is not None for peer in state.peers.values())
            for host, port in self._config.bootstrap if alone else ():
                try:
                    results = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
                    found += [(str(item[4][0]), int(item[4][1])) for item in results]
                except OSError:
                    failed = True
            if found:
                places = list(dict.fromkeys(found))[:MAX_BOOTSTRAP]
                self._node.places.set_bootstrap(places, loop.time())
                self._settle()
            pause = again if failed else RESOLVE_AGAIN
            again = min(RESOLVE_AGAIN, 2 * again) if failed else RESOLVE_FIRST
            self._resolve.clear()
            try:
                await asyncio.wait_for(self._resolve.wait(), pause)
                again = RESOLVE_FIRST
            except asyncio.TimeoutError:
                pass


def _clocks() -> tuple[float, float]:
    """The clock that goes on while the host sleeps, and the one that stands still, in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME), time.clock_gettime(time.CLOCK_MONOTONIC)
