"""Streams: datagrams inside TLS on TCP, for networks that let nothing else through.

The host's half: which streams there are, who is dialled, what is sent where. How they come about
is in `accepting` and `dialling`, how they carry datagrams in `conduit`; whether they should be, the
node decides.
"""

from __future__ import annotations

import asyncio
import errno
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from meshd.accepting import Acceptor, Counters, Entrance, Limits
from meshd.conduit import Backlog, Conduit, Scratch, Traffic
from meshd.dialling import Manner, dial
from meshd.host import framing, proxies, website
from meshd.host.channel import Channel, told
from meshd.host.fallback import Fallback
from meshd.host.framing import Buffer
from meshd.host.website import Site, Website
from meshd.node.errors import LocalError, RemoteError
from meshd.node.gate import Gate
from meshd.node.wire import Endpoint, is_stream

T = TypeVar("T")

DIALS = 64
"""At one time."""
DIAL_TIME = 10.0
"""Seconds from the beginning of a dial to the greeting."""
RETRY = 1.0
"""Seconds between two dials of one endpoint, the first of which failed."""
REMEMBERED = 4096
"""Endpoints remembered as failed, and as not to be dialled."""

PAGE = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<title>Welcome</title>
</head>
<body>
<h1>Welcome</h1>
<p>This site is being set up. Please come back later.</p>
</body>
</html>
"""
"""What the website shows where none was given."""


def website_for(
    fallback: str | None, *, front: bool, clock: Callable[[], float], made: int = 0
) -> Website:
    """The website for `security.fallback`: http://host:port, unix:/path of a web server's socket,
    or a directory; without one a page if `front`, last modified when `made` says, else nothing but
    404. Raises LocalError."""
    if fallback is None:
        find = website.one_page(PAGE, made) if front else website.nothing()
        return Site(find, clock)
    closed = Site(website.nothing(502), clock)
    if fallback.startswith("unix:/"):
        return Fallback(Path(fallback.removeprefix("unix:")), closed)
    if fallback.startswith("/"):
        if not Path(fallback).is_dir():
            raise LocalError(f"security.fallback {fallback} is no directory")
        return Site(website.directory(Path(fallback)), clock)
    place = proxies.parse_server(fallback)
    if place is None:
        raise LocalError(
            "security.fallback: expected http://127.0.0.1:8080, unix:/run/web.sock or a directory"
        )
    return Fallback(place, closed)


class _Dial:
    """A stream on its way, and what waits for it."""

    __slots__ = ("backlog", "task")

    def __init__(self) -> None:
        self.backlog = Backlog()
        self.task: asyncio.Task[None] | None = None


class StreamHost:
    """All streams of this host.

    `on_batch(data, segment, source)` gets what arrives as a UDP socket would bring it, valid during
    the call. `on_closed(endpoint, reason)` hears of every stream that ended and of every dial that
    failed, but not of those closed with `close`.

    Attributes:
        counters, traffic: what happened.
        dialled, dials_failed: how often.
    """

    def __init__(
        self,
        gate: Gate,
        manner: Manner,
        *,
        on_batch: Callable[[memoryview, int, Endpoint], None],
        on_closed: Callable[[Endpoint, str], None],
    ) -> None:
        self._gate = gate
        self._manner = manner
        self._on_batch = on_batch
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._acceptor: Acceptor | None = None
        self._scratch = Scratch()
        self._streams: dict[Endpoint, Conduit] = {}
        self._accepted: dict[Conduit, None] = {}
        self._dials: dict[Endpoint, _Dial] = {}
        self._failed: OrderedDict[Endpoint, float] = OrderedDict()
        self._gone: OrderedDict[Endpoint, None] = OrderedDict()
        """Whence streams came that have ended: nobody listens there."""
        self.counters = Counters()
        self.traffic = Traffic()
        self.dialled = 0
        self.dials_failed = 0

    @property
    def port(self) -> int:
        """The TCP port, 0 while nothing listens."""
        return self._acceptor.port if self._acceptor else 0

    @property
    def unproven(self) -> int:
        """Accepted connections that are no members'."""
        return self._acceptor.unproven if self._acceptor else 0

    def listen(
        self,
        port: int,
        entrance: Entrance,
        *,
        address: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Accept on TCP `port` (0: any), all addresses or one. Raises HostError."""
        self._acceptor = Acceptor(
            port,
            address,
            entrance,
            self._gate,
            admit=self._admit,
            members=lambda: len(self._accepted),
            limits=limits or Limits(),
            counters=self.counters,
        )

    async def stop(self) -> None:
        """Close everything; nobody hears of it."""
        if self._acceptor is not None:
            await self._acceptor.stop()
            self._acceptor = None
        tasks = [dial.task for dial in self._dials.values() if dial.task is not None]
        for endpoint in [*self._streams, *self._dials]:
            self.close(endpoint)
        await asyncio.gather(*tasks, return_exceptions=True)

    def connections(self) -> list[tuple[Endpoint, bool]]:
        """The streams there are, and whether each was accepted."""
        return [(at, stream in self._accepted) for at, stream in self._streams.items()]

    def send(
        self,
        parts: Sequence[Buffer],
        segment_size: int,
        count: int,
        endpoint: Endpoint,
        parts_per_segment: int = 2,
    ) -> int:
        """Send datagrams as `UdpSockets.send` does: 0, or an errno.

        Where there is no stream to `endpoint` it is dialled, and they wait for it. ENOTCONN: one
        came from there and has ended. EAGAIN: a dial has just failed, or too many go on.
        """
        stream = self._streams.get(endpoint)
        if stream is not None:
            stream.send(parts, segment_size, count, parts_per_segment)
            return 0
        dial = self._dials.get(endpoint)
        if dial is None:
            code = self._refused(endpoint)
            if code:
                return code
            dial = self._dials[endpoint] = _Dial()
            dial.task = self._loop.create_task(self._dial(endpoint, dial))
        data = framing.joined(parts, segment_size, count, parts_per_segment)
        self.traffic.batches_dropped += dial.backlog.put(data)
        return 0

    def close(self, endpoint: Endpoint) -> None:
        """End the stream to `endpoint`, or the dial, if there is one."""
        stream = self._streams.pop(endpoint, None)
        if stream is not None:
            stream.close("closed")
        dial = self._dials.pop(endpoint, None)
        if dial is not None and dial.task is not None:
            dial.task.cancel()

    def _refused(self, endpoint: Endpoint) -> int:
        """Why `endpoint` is not dialled now, as an errno; 0: it is."""
        if not is_stream(endpoint) or endpoint in self._gone:
            return errno.ENOTCONN
        if self._loop.time() < self._failed.get(endpoint, 0.0) + RETRY:
            return errno.EAGAIN
        return errno.EAGAIN if len(self._dials) >= DIALS else 0

    async def _dial(self, endpoint: Endpoint, pending: _Dial) -> None:
        self.dialled += 1
        try:
            channel = await asyncio.wait_for(dial(endpoint, self._manner, self._gate), DIAL_TIME)
        except asyncio.TimeoutError:
            self._fail(endpoint, "no answer over TCP")
        except RemoteError as error:
            self._fail(endpoint, str(error))
        except OSError as error:
            self._fail(endpoint, told(error))
        else:
            if self._dials.get(endpoint) is not pending:  # closed at the last moment
                channel.close()
                return
            del self._dials[endpoint]
            self._failed.pop(endpoint, None)
            self._begin(channel, endpoint).start(b"", pending.backlog)

    def _fail(self, endpoint: Endpoint, reason: str) -> None:
        self._dials.pop(endpoint, None)
        self.dials_failed += 1
        _remember(self._failed, endpoint, self._loop.time())
        self._on_closed(endpoint, reason)

    def _admit(self, channel: Channel, source: Endpoint, rest: bytes) -> None:
        stream = self._begin(channel, source)
        self._accepted[stream] = None
        self._gone.pop(source, None)
        stream.start(rest)

    def _begin(self, channel: Channel, endpoint: Endpoint) -> Conduit:
        old = self._streams.get(endpoint)
        stream = self._streams[endpoint] = Conduit(
            self._loop,
            channel,
            endpoint,
            deliver=self._on_batch,
            ended=self._on_ended,
            scratch=self._scratch,
            traffic=self.traffic,
        )
        if old is not None:
            old.close("another took its place")
        return stream

    def _on_ended(self, stream: Conduit, reason: str) -> None:
        endpoint = stream.endpoint
        if stream in self._accepted:
            del self._accepted[stream]
            _remember(self._gone, endpoint, None)
        if self._streams.get(endpoint) is stream:
            del self._streams[endpoint]
            self._on_closed(endpoint, reason)


def _remember(memory: OrderedDict[Endpoint, T], endpoint: Endpoint, value: T) -> None:
    memory[endpoint] = value
    memory.move_to_end(endpoint)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
