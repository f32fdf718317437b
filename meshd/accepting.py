"""Accepted TCP connections, from their first byte to what they turn out to be.

Each step is bounded in time and number:

    a balancer's PROXY header, from `proxy_sources` only
    -> TLS                      else the answer of a web server to plain HTTP
    -> its first bytes          asked about at the gate
    -> a stream                 or the website, with all the visitor has said
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple

from meshd.host import proxies, tcp
from meshd.host.channel import Channel
from meshd.host.crowd import Crowd
from meshd.host.tlscert import ServedCertificate
from meshd.host.turnstile import Turnstile
from meshd.host.website import Website
from meshd.node.errors import RemoteError
from meshd.node.gate import Admit, Gate, Refuse
from meshd.node.wire import STREAM, Endpoint

Network = IPv4Network | IPv6Network

FIRST_MAX = 4096
"""Bytes that are shown to the gate."""
ACCEPTS = 16
"""Connections accepted in one turn of the loop."""
HANDSHAKES = 4
"""Steps of TLS handshakes in one turn: a thousand at once would hold up everything else for half a
second."""
PAUSE = 0.1
"""Seconds without accepting after the host ran out of descriptors."""
CERTIFICATE_INTERVAL = 10.0
"""Seconds between two looks at the certificate's files."""
_HANDSHAKE, _SSLV2 = 0x16, 0x80
"""A TLS handshake's first byte, and the bit of SSLv2's: by these nginx tells them from HTTP."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections, and for how many seconds."""

    total: int = 4096
    """Members' and others'."""
    per_origin: int = 64
    """Of one IPv4 address or IPv6 /64, unproven."""
    first_time: float = 10.0
    """From a connection's beginning to the gate's verdict."""


@dataclass(slots=True)
class Counters:
    """What became of connections."""

    accepted: int = 0
    admitted: int = 0
    visitors: int = 0
    """Handed to the website."""
    plain: int = 0
    """Spoke no TLS."""
    tls_failed: int = 0
    proxy_refused: int = 0
    """Came from a balancer without a good PROXY header."""
    ended: int = 0
    """Hung up before it was known what they were."""
    timed_out: int = 0
    crowded_out: int = 0
    """Closed unproven, for others to come in."""


class Member(NamedTuple):
    """The gate let it in."""

    source: Endpoint
    rest: bytes
    """What it has said since."""


class Stranger(NamedTuple):
    """It gets this website."""

    website: Website
    first: bytes
    """What it has said."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """What an accepting host shows, and to whom."""

    certificate: ServedCertificate
    website: Website
    """For who is no member."""
    plain: Website
    """For who speaks no TLS."""
    proxy_sources: Sequence[Network] = ()
    """Connections from here must begin with a PROXY header."""


class Acceptor:
    """Accepts on one TCP port until `stop`.

    `admit(channel, source, rest)` takes over a member's connection; `members()` tells how many of
    those there are.
    """

    def __init__(
        self,
        port: int,
        address: str | None,
        entrance: Entrance,
        gate: Gate,
        *,
        admit: Callable[[Channel, Endpoint, bytes], None],
        members: Callable[[], int],
        limits: Limits,
        counters: Counters,
    ) -> None:
        """Listen on `port` (0: any), all addresses or one. Raises HostError."""
        self._entrance = entrance
        self._gate = gate
        self._admit = admit
        self._members = members
        self._limits = limits
        self._total = tcp.allow_sockets(limits.total)
        self.counters = counters
        self._loop = asyncio.get_running_loop()
        self._turnstile = Turnstile(self._loop, HANDSHAKES)
        self._crowd: Crowd[asyncio.Task[None]] = Crowd(limits.per_origin)
        self._looked = self._loop.time()
        self._listening = tcp.listen(port, address)
        self.port: int = self._listening[0].getsockname()[1]
        self._resuming: asyncio.TimerHandle | None = None
        self._resume()

    @property
    def unproven(self) -> int:
        """Connections that are no members'."""
        return len(self._crowd)

    async def stop(self) -> None:
        """Close the port and every connection that is no member's."""
        if self._resuming is not None:
            self._resuming.cancel()
        for sock in self._listening:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        tasks = self._crowd.members()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _resume(self) -> None:
        for sock in self._listening:
            self._loop.add_reader(sock.fileno(), self._on_acceptable, sock)

    def _on_acceptable(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._make_room()
                    return
                continue  # that one has gone already
            self._enter(sock, (address[0], address[1]))

    def _make_room(self) -> None:
        """The host can open no more: the oldest stranger goes, and the rest waits a little."""
        oldest = self._crowd.oldest()
        if oldest is not None:
            self._crowd_out(oldest)
        for sock in self._listening:
            self._loop.remove_reader(sock.fileno())
        self._resuming = self._loop.call_later(PAUSE, self._resume)

    def _enter(self, sock: socket.socket, source: Endpoint) -> None:
        self.counters.accepted += 1
        room = self._total - self._members()
        if room < 1:
            self.counters.crowded_out += 1
            sock.close()
            return
        sock.setblocking(False)
        tcp.tune(sock)
        channel = Channel(sock, self._loop)
        task = self._loop.create_task(self._receive(channel, source))
        # also where it was cancelled before it began
        task.add_done_callback(lambda done: self._leave(done, channel))
        for old in self._crowd.enter(task, room):
            self._crowd_out(old)
        if not self._trusted(source):
            self._place(task, source)

    def _place(self, task: asyncio.Task[None], source: Endpoint) -> None:
        old = self._crowd.place(task, source[0])
        if old is not None:
            self._crowd_out(old)

    def _crowd_out(self, task: asyncio.Task[None]) -> None:
        self._crowd.leave(task)
        self.counters.crowded_out += 1
        task.cancel()

    def _leave(self, task: asyncio.Task[None], channel: Channel) -> None:
        self._crowd.leave(task)
        if task.cancelled():
            channel.close()

    def _trusted(self, source: Endpoint) -> bool:
        address = ip_address(source[0].partition("%")[0])
        return any(address in network for network in self._entrance.proxy_sources)

    async def _receive(self, channel: Channel, source: Endpoint) -> None:
        """A connection until it is a member's, or at its end."""
        found: Member | Stranger | None = None
        try:
            found = await asyncio.wait_for(
                self._introduce(channel, source, asyncio.current_task()), self._limits.first_time
            )
            if isinstance(found, Member):
                self.counters.admitted += 1
                self._admit(channel, found.source, found.rest)
                return
            if found is not None:
                await found.website.visit(channel, found.first)
                await channel.finish()
        except asyncio.TimeoutError:
            self.counters.timed_out += 1
        except OSError:  # it broke
            self.counters.ended += found is None
        except BaseException:
            channel.close()
            raise
        channel.close()

    async def _introduce(
        self, channel: Channel, source: Endpoint, task: asyncio.Task[None] | None
    ) -> Member | Stranger | None:
        """Whose connection this is; None: nobody's any more."""
        counters, entrance = self.counters, self._entrance
        data = b""
        if self._trusted(source):
            try:
                source, data = await self._after_header(channel, source)
            except RemoteError:
                counters.proxy_refused += 1
                return None
            if task is not None:
                self._place(task, source)
        data = data or await channel.receive()
        if not data:
            counters.ended += 1
            return None
        if data[0] != _HANDSHAKE and not data[0] & _SSLV2:
            counters.plain += 1
            return Stranger(entrance.plain, data)
        self._look_at_certificate()
        identity = entrance.certificate.identity
        try:
            await channel.start_tls(
                identity.context, server_side=True, early=data, turn=self._turnstile.wait
            )
        except OSError:
            counters.tls_failed += 1
            return None
        endpoint = (STREAM + source[0], source[1])
        first = b""
        while piece := await channel.receive():
            first += piece
            now = self._loop.time()
            verdict = self._gate.admit(first[:FIRST_MAX], endpoint, identity.fingerprint, now)
            if isinstance(verdict, Admit):
                return Member(endpoint, first[verdict.taken :])
            if isinstance(verdict, Refuse) or len(first) >= FIRST_MAX:
                counters.visitors += 1
                return Stranger(entrance.website, first)
        counters.ended += 1
        return None

    async def _after_header(self, channel: Channel, source: Endpoint) -> tuple[Endpoint, bytes]:
        """The source that a balancer tells, and what stands behind. Raises RemoteError."""
        data = b""
        while piece := await channel.receive():
            data += piece
            header = proxies.parse_header(data)
            if header is not None:
                return header.source or source, data[header.size :]
        raise RemoteError("proxy-header", "ended too soon")

    def _look_at_certificate(self) -> None:
        now = self._loop.time()
        if now >= self._looked + CERTIFICATE_INTERVAL:
            self._looked = now
            self._entrance.certificate.refresh()
