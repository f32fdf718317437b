"""Both ends of streams on this machine's loopback, and strangers who come by."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from meshd.accepting import Entrance, Limits, Network
from meshd.dialling import Manner
from meshd.host.proxies import ConnectProxy
from meshd.host.tlscert import ServedCertificate, client_context, make_certificate
from meshd.host.website import Site, Website, nothing
from meshd.node.gate import Admit, Refuse, Verdict, Wait
from meshd.node.wire import Endpoint
from meshd.streams import StreamHost, website_for

SECONDS = 10.0
"""More than anything here takes."""
GREETING = b"\x07" * 40
LONG_AGO = 1_700_000_000.0


async def soon(waiting: asyncio.Event) -> None:
    await asyncio.wait_for(waiting.wait(), SECONDS)


class Word:
    """A gate that knows one word, of 40 bytes."""

    def __init__(self, greeting: bytes | None = GREETING) -> None:
        self.greeting = greeting
        self.seen: list[tuple[bytes, Endpoint]] = []
        self.certificates: list[bytes] = []

    def greet(self, endpoint: Endpoint, certificate: bytes, now: float) -> bytes | None:
        self.certificates.append(certificate)
        return self.greeting

    def admit(self, first: bytes, source: Endpoint, certificate: bytes, now: float) -> Verdict:
        self.seen.append((first, source))
        self.certificates.append(certificate)
        if first.startswith(GREETING):
            return Admit(len(GREETING))
        return Wait() if GREETING.startswith(first) else Refuse()


class Recorder:
    """What a host was told."""

    def __init__(self) -> None:
        self.runs: list[tuple[bytes, int, Endpoint]] = []
        self.closed: list[tuple[Endpoint, str]] = []
        self.changed = asyncio.Event()

    def on_batch(self, data: memoryview, segment: int, source: Endpoint) -> None:
        self.runs.append((bytes(data), segment, source))
        self.changed.set()

    def on_closed(self, endpoint: Endpoint, reason: str) -> None:
        self.closed.append((endpoint, reason))
        self.changed.set()

    @property
    def datagrams(self) -> list[bytes]:
        return [
            data[at : at + segment]
            for data, segment, _ in self.runs
            for at in range(0, len(data), segment)
        ]

    async def until_datagrams(self, count: int) -> list[bytes]:
        while len(self.datagrams) < count:
            self.changed.clear()
            await soon(self.changed)
        return self.datagrams

    async def until_closed(self) -> tuple[Endpoint, str]:
        while not self.closed:
            self.changed.clear()
            await soon(self.changed)
        return self.closed[-1]


class End:
    """A host of streams, and what it heard."""

    def __init__(
        self, gate: Word | None = None, proxy: ConnectProxy | None = None, name: str | None = None
    ) -> None:
        self.gate = gate or Word()
        self.heard = Recorder()
        self.certificate = certificate()
        self.host = StreamHost(
            self.gate,
            Manner(client_context(), proxy, name),
            on_batch=self.heard.on_batch,
            on_closed=self.heard.on_closed,
        )

    def listen(
        self,
        website: Website | None = None,
        sources: Sequence[Network] = (),
        limits: Limits | None = None,
        address: str | None = "127.0.0.1",
    ) -> Endpoint:
        """Accept streams; the endpoint to dial."""
        site = website or website_for(None, front=True, clock=lambda: LONG_AGO, made=int(LONG_AGO))
        plain = Site(nothing(), lambda: LONG_AGO, plain=True)
        entrance = Entrance(self.certificate, site, plain, sources)
        self.host.listen(0, entrance, address=address, limits=limits)
        return (f"tls:{address or '127.0.0.1'}", self.host.port)

    def send(self, datagrams: Sequence[bytes], endpoint: Endpoint) -> int:
        """Send datagrams of one size, the last maybe shorter, each in two parts."""
        parts = [part for data in datagrams for part in (data[:16], data[16:])]
        return self.host.send(parts, len(datagrams[0]), len(datagrams), endpoint)


@asynccontextmanager
async def ends(*made: End) -> AsyncIterator[None]:
    """Stop them all in the end."""
    try:
        yield
    finally:
        for end in made:
            await end.host.stop()


@cache
def certificate_files() -> tuple[Path, Path]:
    """A certificate and its key, made once."""
    folder = Path(mkdtemp(prefix="aegis-tls-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    pem, key = make_certificate("www.example.org", datetime.now(timezone.utc))
    (folder / "cert.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(key)
    return folder / "cert.pem", folder / "key.pem"


def certificate() -> ServedCertificate:
    return ServedCertificate(*certificate_files())


async def visit(
    endpoint: Endpoint, raw: bytes, *, tls: bool = True, before: bytes = b"", source: str = ""
) -> bytes:
    """All that a stranger at `source` gets who sends `raw` and waits until the end."""
    return await asyncio.to_thread(_visit, endpoint, raw, tls, before, source)


def _visit(endpoint: Endpoint, raw: bytes, tls: bool, before: bytes, source: str) -> bytes:
    address = (endpoint[0].removeprefix("tls:"), endpoint[1])
    with socket.create_connection(address, SECONDS, (source, 0)) as plain:
        if before:
            plain.sendall(before)
        sock = client_context().wrap_socket(plain) if tls else plain
        with sock:
            sock.sendall(raw)
            found = b""
            try:
                while piece := sock.recv(65_536):
                    found += piece
            except (ssl.SSLEOFError, ConnectionResetError):
                pass
            return found
