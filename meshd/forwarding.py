"""Has this host's gateways forward our ports: by PCP or NAT-PMP, else by UPnP where it is there.

A gateway's word gives the node no more than a candidate, which it tells its peers.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from meshd.contract import PortMapping
from meshd.host.gateway import Announcements, Gateway, GatewaySocket, gateways
from meshd.host.upnp import Upnp, available
from meshd.node.errors import RemoteError
from meshd.node.node import Node
from meshd.node.pcp import Transport
from meshd.node.portmap import LIFETIME, REST_MAX, REST_MIN, Mapping, Portmap, Protocol
from meshd.node.wire import Endpoint, format_endpoint

STOP_TIME = 1.0
"""Seconds in which gateways may confirm that they forward nothing any more."""
UPNP_INTERVAL = 120.0
"""Seconds between two times that UPnP is asked for the same: it does not tell of restarts."""
UPNP_TRIES = 3
"""Outer ports that UPnP is asked for, until one is free."""

_log = logging.getLogger("meshd")

Ports = Sequence[tuple[Transport, int]]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of asking one gateway; `errors`: why a protocol did not serve us, in words."""

    gateway: str
    client: str
    mappings: tuple[Mapping, ...]
    errors: dict[Protocol, str]


class Forwarding:
    """Asks every default gateway from `start` to `stop`, and tells the node what they forward."""

    def __init__(
        self, node: Node, ports: Ports, address: str | None, settle: Callable[[], None]
    ) -> None:
        """`ports`: ours, that of UDP first; `address`: the only one that we listen on, if it is
        one only; `settle`: called after the node was told."""
        self._node = node
        self._address = address
        self._ports = ports
        self._settle = settle
        self._loop = asyncio.get_running_loop()
        self._rng = Random(os.urandom(16))
        # The same after a restart: a gateway gives a mapping again only to who made it.
        secret = node.state.identity.node_key.private_bytes_raw()
        self._key = hashlib.blake2s(secret, person=b"portmap").digest()
        self._asked: dict[Gateway, _Asked] = {}
        self._announcements: Announcements | None = None
        self._stopping = False

    def start(self) -> None:
        """Ask now, and go on."""
        try:
            self._announcements = Announcements()
        except OSError as error:  # a restart of the gateway is noticed all the same, but later
            _log.debug("gateways' announcements are not heard: %s", error.strerror or error)
        else:
            self._loop.add_reader(self._announcements.sock, self._hear)
        self.look()

    def look(self) -> None:
        """Gateways, or our addresses towards them, may have changed, or the host has slept."""
        only = self._address
        found = [each for each in gateways() if only is None or each.client == only]
        for gateway in [known for known in self._asked if known not in found]:
            self._asked.pop(gateway).close()
        for gateway in found:
            if gateway in self._asked:
                self._asked[gateway].recheck()
                continue
            with contextlib.suppress(OSError):  # it has gone meanwhile: we are told again
                self._asked[gateway] = _Asked(self, gateway)
        self.tell()

    async def stop(self) -> None:
        """Take all mappings back, as far as gateways answer soon. The node is not told."""
        self._stopping = True
        asked = list(self._asked.values())
        if asked:
            await asyncio.wait(
                [self._loop.create_task(each.take_back()) for each in asked], timeout=STOP_TIME
            )
        self.close()

    def close(self) -> None:
        """Ask no more."""
        for asked in self._asked.values():
            asked.close()
        self._asked.clear()
        if self._announcements is not None:
            self._loop.remove_reader(self._announcements.sock)
            self._announcements.close()
            self._announcements = None

    def reports(self) -> list[Report]:
        """What came of it so far, for each gateway."""
        return [asked.report() for asked in self._asked.values()]

    def status(self) -> PortMapping | None:
        """The mapping of the UDP port, for `status`; the first gateway's if there are several."""
        for report in self.reports():
            by_transport = {mapping.transport: mapping for mapping in report.mappings}
            udp, tcp = by_transport.get(Transport.UDP), by_transport.get(Transport.TCP)
            if udp is not None:
                return {
                    "protocol": udp.protocol.value,
                    "gateway": report.gateway,
                    "endpoint": format_endpoint(udp.endpoint),
                    "stream_endpoint": None if tcp is None else format_endpoint(tcp.endpoint),
                    "expires_s": round(udp.expires - self._loop.time(), 3),
                }
        return None

    def tell(self) -> None:
        """Tell the node where UDP is forwarded to it from."""
        if self._stopping:
            return
        mappings = [mapping for asked in self._asked.values() for mapping in asked.mappings()]
        endpoints = [each.endpoint for each in mappings if each.transport is Transport.UDP]
        self._node.places.set_mapped(list(dict.fromkeys(endpoints)), self._loop.time())
        self._settle()

    def _hear(self) -> None:
        if self._announcements is not None:
            self._announcements.read(self._announced)

    def _announced(self, data: bytes, source: Endpoint) -> None:
        for gateway, asked in self._asked.items():
            if gateway.address == source[0]:
                asked.nudge()

    # What each gateway shares

    @property
    def ports(self) -> Ports:
        """Ours."""
        return self._ports

    def machine(self, gateway: Gateway) -> Portmap:
        """What decides what to ask a gateway."""
        now = self._loop.time()
        return Portmap(
            gateway.address, gateway.client, self._ports, self._key, Random(self._rng.random()), now
        )

    def refused(self, error: RemoteError) -> None:
        """A datagram was no answer."""
        self._node.state.drops[error.reason] += 1


class _Asked:
    """One gateway that is asked."""

    def __init__(self, forwarding: Forwarding, gateway: Gateway) -> None:
        """Raises OSError: it cannot be reached."""
        self._forwarding = forwarding
        self._loop = asyncio.get_running_loop()
        self._socket = GatewaySocket(gateway)
        self._loop.add_reader(self._socket.sock, self._readable)
        self._machine = forwarding.machine(gateway)
        self._timer: asyncio.TimerHandle | None = None
        self._told: list[tuple[Transport, Endpoint]] = []
        self._closed = asyncio.Event()
        self._upnp = _Upnp(gateway, forwarding.ports, self._step)
        self._step()

    def mappings(self) -> list[Mapping]:
        """What it forwards."""
        return self._machine.mappings() or self._upnp.mappings

    def report(self) -> Report:
        """What came of asking it."""
        gateway, errors = self._socket.gateway, dict(self._machine.errors)
        if self._upnp.error is not None:
            errors[Protocol.UPNP] = self._upnp.error
        return Report(gateway.address, gateway.client, tuple(self.mappings()), errors)

    def recheck(self) -> None:
        """Something around us changed."""
        self._machine.recheck(self._loop.time())
        self._step()

    def nudge(self) -> None:
        """It may have restarted."""
        self._machine.nudge(self._loop.time())
        self._step()

    async def take_back(self) -> None:
        """Return when it forwards nothing any more."""
        self._upnp.close()
        self._machine.close(self._loop.time())
        self._step()
        await self._upnp.take_back()
        await self._closed.wait()

    def close(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._upnp.close()
        self._loop.remove_reader(self._socket.sock)
        self._socket.close()

    def _readable(self) -> None:
        self._socket.read(self._received)
        self._step()

    def _received(self, data: bytes, source: Endpoint) -> None:
        try:
            self._machine.receive(data, source, self._loop.time())
        except RemoteError as error:
            self._forwarding.refused(error)

    def _step(self) -> None:
        """Do what is due, send what is to be sent, and say what has changed."""
        now = self._loop.time()
        self._machine.handle_timer(now)
        for data in self._machine.drain():
            self._socket.send(data)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._machine.next_at(now), self._step)
        if self._machine.closed:
            self._closed.set()
        elif self._machine.mappings():
            self._upnp.leave()
        elif self._machine.failed(now):
            self._upnp.start()
        held = [(mapping.transport, mapping.endpoint) for mapping in self.mappings()]
        if held != self._told:
            before, self._told = self._told, held
            if not held:
                _log.info("%s forwards nothing to us any more", self._socket.gateway.address)
            for mapping in self.mappings():
                if (mapping.transport, mapping.endpoint) in before:
                    continue
                _log.info(
                    "%s forwards %s port %s to us (%s)",
                    mapping.gateway,
                    mapping.transport.name,
                    format_endpoint(mapping.endpoint),
                    mapping.protocol.value,
                )
            self._forwarding.tell()


class _Upnp:
    """The same gateway by UPnP, where nothing else works."""

    def __init__(self, gateway: Gateway, ports: Ports, changed: Callable[[], None]) -> None:
        self._gateway = gateway
        self._ports = ports
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._service: Upnp | None = None
        self._stopped = self._leaving = False
        self.mappings: list[Mapping] = []
        self.error: str | None = None
        """Why it does not serve us, in words."""

    def start(self) -> None:
        """Begin with it, unless that was done."""
        if self._task is not None or self._stopped or ":" in self._gateway.address:
            return
        if not available():
            self.error = "not installed: pip install 'aegisray[upnp]'"
            return
        self._task = self._loop.create_task(self._keep())

    def leave(self) -> None:
        """Something better serves us: what UPnP made is given back, beside."""
        if self._task is not None and not self._leaving:
            self._task.cancel()
            self._leaving = True
            self._task = self._loop.create_task(self._leave())

    async def _leave(self) -> None:
        await self.take_back()
        self._leaving = False
        self._task = None

    def close(self) -> None:
        """Ask no more; `take_back` may still be called."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def take_back(self) -> None:
        """Return when the gateway forwards nothing of ours any more, or refuses to talk."""
        mappings, self.mappings = self.mappings, []
        for mapping in mappings:
            if self._service is not None:
                with contextlib.suppress(RemoteError):
                    await self._service.take_back(mapping.transport.name, mapping.endpoint[1])

    async def _keep(self) -> None:
        """Find the gateway's service, and have it forward, for ever."""
        while True:
            try:
                self._service = await Upnp.find(self._gateway.address, self._gateway.client)
                while True:
                    await self._forward(self._service)
                    self.error = None
                    self._changed()
                    await asyncio.sleep(UPNP_INTERVAL)
            except RemoteError as error:
                self.error = str(error).partition(": ")[2]
            rest = REST_MIN if self.mappings else REST_MAX
            self.mappings = []
            self._changed()
            await asyncio.sleep(rest)

    async def _forward(self, service: Upnp) -> None:
        """Have all our ports forwarded, again or for the first time. Raises RemoteError if not even
        the first one is."""
        address = await service.address()
        known = {mapping.transport: mapping.endpoint[1] for mapping in self.mappings}
        made: list[Mapping] = []
        for transport, internal in self._ports:
            wanted = made[0].endpoint[1] if made else known.get(transport, internal)
            try:
                external = await self._forward_one(service, transport, internal, wanted)
            except RemoteError:
                if not made:
                    raise
                continue
            endpoint, expires = (address, external), self._loop.time() + LIFETIME
            made.append(Mapping(Protocol.UPNP, transport, self._gateway.address, endpoint, expires))
        self.mappings = made

    async def _forward_one(
        self, service: Upnp, transport: Transport, internal: int, wanted: int
    ) -> int:
        """The outer port that is forwarded: `wanted` if it is free. Raises RemoteError."""
        others = [int.from_bytes(os.urandom(2), "big") | 0x8000 for _ in range(UPNP_TRIES - 1)]
        for external in (wanted, *others):
            try:
                await service.forward(transport.name, internal, external, LIFETIME)
            except RemoteError as error:
                refusal = error
            else:
                return external
        raise refusal
