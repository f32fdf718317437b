"""Dials a stream: TCP, perhaps by an HTTP proxy, then TLS, then the gate's greeting."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass

from meshd.host import proxies, tcp
from meshd.host.channel import Channel
from meshd.host.proxies import ConnectProxy
from meshd.node.gate import Gate
from meshd.node.wire import STREAM, Endpoint

ADDRESSES = 4
"""Addresses of a proxy's name that are tried."""
ADDRESS_TIME = 2.0
"""Seconds in which each of them has to accept: of two IP versions one may lead nowhere."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How this host dials."""

    context: ssl.SSLContext
    proxy: ConnectProxy | None = None
    server_name: str | None = None
    """Asked for in TLS (SNI); without it no name is, as by a browser that was given an address."""


async def dial(endpoint: Endpoint, manner: Manner, gate: Gate) -> Channel:
    """A channel to `endpoint`, greeted. Raises OSError or RemoteError."""
    loop = asyncio.get_running_loop()
    host, port = endpoint[0].removeprefix(STREAM), endpoint[1]
    proxy = manner.proxy
    sock = await (tcp.connect(host, port, loop) if proxy is None else _reach(proxy, loop))
    channel = Channel(sock, loop)
    try:
        early = b"" if proxy is None else await _ask(channel, host, port, proxy)
        await channel.start_tls(
            manner.context, server_side=False, server_name=manner.server_name, early=early
        )
        greeting = gate.greet(endpoint, channel.peer_fingerprint, loop.time())
        if greeting is None:
            raise ConnectionAbortedError("there is nobody to greet at that address")
        await channel.send(greeting)
    except BaseException:
        channel.close()
        raise
    return channel


async def _reach(proxy: ConnectProxy, loop: asyncio.AbstractEventLoop) -> socket.socket:
    """A connection to the proxy itself."""
    try:
        found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise ConnectionRefusedError("the proxy's name is not known") from None
    failed: OSError | None = None
    for *_, address in found[:ADDRESSES]:
        try:
            connecting = tcp.connect(str(address[0]), proxy.port, loop)
            return await asyncio.wait_for(connecting, ADDRESS_TIME)
        except asyncio.TimeoutError:
            failed = ConnectionRefusedError("the proxy does not answer")
        except OSError as error:
            failed = error
    raise failed or ConnectionRefusedError("the proxy's name has no address")


async def _ask(channel: Channel, host: str, port: int, proxy: ConnectProxy) -> bytes:
    """Have the proxy connect; what came from behind it already. Raises RemoteError."""
    await channel.send(proxies.connect_request(host, port, proxy))
    data = b""
    while piece := await channel.receive():
        data += piece
        size = proxies.parse_answer(data)
        if size is not None:
            return data[size:]
    raise ConnectionResetError("the proxy hung up")
