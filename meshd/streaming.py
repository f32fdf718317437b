"""The daemon's streams: what `streams.StreamHost` needs of the configuration and of the node."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from meshd.accepting import Entrance
from meshd.config import Config, Security
from meshd.dialling import Manner
from meshd.files import write_file
from meshd.host.proxies import parse_proxy
from meshd.host.tlscert import ServedCertificate, client_context, make_certificate
from meshd.host.website import Site, nothing
from meshd.node.errors import HostError, LocalError
from meshd.node.node import Node
from meshd.node.visiting import Visitors
from meshd.node.wire import Endpoint
from meshd.pump import Pump
from meshd.streams import StreamHost, website_for

UNNAMED = "localhost"
"""The name in a certificate that we make without one."""


class Figures(NamedTuple):
    """Counted since the start, but for the connections, which are there now."""

    connections: int = 0
    refused: int = 0
    """Connections that were no members'."""
    bytes_in: int = 0
    bytes_out: int = 0
    dropped: int = 0
    """Sends that waited for a stream and gave way to newer ones."""
    malformed: int = 0
    """Streams that were closed because what came was no row of datagrams."""


class Streaming:
    """Dials and accepts streams for one node.

    Attributes:
        host: what carries the datagrams.
        listening: whether others may dial us.
    """

    def __init__(
        self, config: Config, port: int, mesh_secret: bytes, mesh_id: bytes, state: Path
    ) -> None:
        """Listen on TCP `port`, if the configuration says so. `state`: where a certificate that we
        make is kept.

        Raises LocalError: the configuration asks for what cannot be; a taken port is a notice.
        """
        self._notices: list[str] = []
        self._certificate: ServedCertificate | None = None
        self.listening = False
        self._node: Node | None = None
        self._pump: Pump | None = None
        self._gate = Visitors(
            mesh_secret,
            mesh_id,
            self._invited,
            _wall_clock,
            os.urandom,
            config.security.tls_name,
        )
        self.host = StreamHost(
            self._gate, manner(config), on_batch=self._on_batch, on_closed=self._on_closed
        )
        if config.security.use_tls:
            self._listen(config, port, state)

    def serve(self, node: Node, pump: Pump) -> None:
        """Carry for this node from now on."""
        self._node, self._pump = node, pump
        self._gate.admitted = node.streams.admitted
        pump.streams = self.host

    async def stop(self) -> None:
        """Close everything."""
        self._pump = None
        await self.host.stop()

    def figures(self) -> Figures:
        """The counters of now."""
        host, counters = self.host, self.host.counters
        refused = (
            counters.visitors
            + counters.plain
            + counters.tls_failed
            + counters.proxy_refused
            + counters.ended
            + counters.timed_out
            + counters.crowded_out
        )
        traffic = host.traffic
        return Figures(
            len(host.connections()),
            refused,
            traffic.bytes_in,
            traffic.bytes_out,
            traffic.batches_dropped,
            traffic.bad_frames,
        )

    @property
    def notices(self) -> list[str]:
        """Sentences for `status`."""
        problem = self._certificate.problem if self._certificate is not None else None
        return [*self._notices, *([problem] if problem else [])]

    def _listen(self, config: Config, port: int, state: Path) -> None:
        security = config.security
        shown = self._certificate = certificate(security, state)
        site = website_for(
            security.fallback, front=security.stealth_mode, clock=time.time, made=shown.made
        )
        entrance = Entrance(
            shown,
            site,
            Site(nothing(), time.time, plain=True),
            security.proxy_sources,
        )
        try:
            self.host.listen(port, entrance, address=config.listen_address)
        except HostError as error:
            self._notices.append(f"others cannot reach this node by TLS: {error}")
        else:
            self.listening = True

    def _invited(self, locator: bytes) -> bool:
        return self._node is not None and self._node.streams.invited(locator, time.time())

    def _on_batch(self, data: memoryview, segment: int, source: Endpoint) -> None:
        if self._pump is not None:
            self._pump.take(data, segment, source)

    def _on_closed(self, endpoint: Endpoint, reason: str) -> None:
        if self._pump is not None:
            self._pump.stream_closed(endpoint, reason)


def manner(config: Config) -> Manner:
    """How to dial. Raises LocalError."""
    proxy = None if config.network.proxy is None else parse_proxy(config.network.proxy)
    return Manner(client_context(), proxy, config.security.tls_name)


def certificate(security: Security, state: Path) -> ServedCertificate:
    """The website's certificate: the given one, or our own, made if need be. Raises LocalError."""
    if security.tls_cert is not None and security.tls_key is not None:
        return ServedCertificate(security.tls_cert, security.tls_key)
    if security.tls_cert is not None or security.tls_key is not None:
        raise LocalError("security.tls_cert and security.tls_key are of use together only")
    files = state / "tls.crt", state / "tls.key"
    try:
        return ServedCertificate(*files)
    except HostError:  # there is none yet, or it was damaged
        made, key = make_certificate(security.tls_name or UNNAMED, datetime.now(timezone.utc))
        write_file(files[1], key, 0o600)
        write_file(files[0], made, 0o644)
        return ServedCertificate(*files)


def _wall_clock(now: float) -> float:
    return time.time()
