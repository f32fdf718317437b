"""TCP sockets for streams: both families on one port, and settings against standing queues.

Bytes wait in three places: unsent in the kernel, sent and not acknowledged, and in our own queue
(see `meshd.conduit`). The first two are bounded here, so that a ping behind bulk waits little: at
100 Mbit/s and 10 ms of round trip it took 337 ms with the kernel's own bounds, 46 ms with these.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket

from meshd.node.errors import HostError

UNSENT = 65_536
"""Bytes that the kernel takes beyond those it may send now (`TCP_NOTSENT_LOWAT`, tcp(7))."""
SEND_BUFFER = 393_216
"""Bytes sent and unacknowledged, about (`SO_SNDBUF`; the kernel doubles it for its bookkeeping)."""
SILENCE_MS = 15_000
"""Milliseconds without an acknowledgement after which a connection is dead (RFC 5482)."""
KEEPALIVE = (30, 10, 3)
"""Idle seconds before a probe, seconds between two, and how many may stay unanswered."""
BACKLOG = 1024
RESERVED = 512
"""Descriptors for everything that is no accepted connection."""
_PORT_TRIES = 16
_TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; in the socket module on some platforms only


def listen(port: int, address: str | None = None) -> list[socket.socket]:
    """Sockets that listen on `port` (0: any free one): IPv4 and IPv6 as far as the host has them,
    or on `address` alone. Raises HostError."""
    if address is not None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        only = _listen(family, port, address)
        if only is None:
            raise HostError(f"this host has not the IP version of listen_address {address}")
        return [only]
    for _ in range(_PORT_TRIES):
        ipv4 = _listen(socket.AF_INET, port, "")
        chosen = ipv4.getsockname()[1] if ipv4 else port
        try:
            ipv6 = _listen(socket.AF_INET6, chosen, "")
        except HostError:
            if ipv4:
                ipv4.close()
            if port or not ipv4:
                raise
            continue
        if found := [sock for sock in (ipv4, ipv6) if sock is not None]:
            return found
        raise HostError("this host has neither IPv4 nor IPv6: check `ip address`")
    raise HostError("no TCP port is free in both IPv4 and IPv6: set listen_port")


async def connect(host: str, port: int, loop: asyncio.AbstractEventLoop) -> socket.socket:
    """A tuned socket connected to a numeric address. Raises OSError."""
    sock = socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET,
        socket.SOCK_STREAM | socket.SOCK_NONBLOCK,
    )
    try:
        tune(sock)
        await loop.sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def allow_sockets(wanted: int) -> int:
    """Let this process open `wanted` sockets beside all else, as far as the host allows: how many
    it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, max(soft - RESERVED, 1))


def tune(sock: socket.socket) -> None:
    """Set what a connection needs; what this kernel lacks is left out."""
    idle, interval, tries = KEEPALIVE
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_MS),
        (socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, tries),
    ):
        with contextlib.suppress(OSError):
            sock.setsockopt(level, option, value)


def _listen(family: socket.AddressFamily, port: int, address: str) -> socket.socket | None:
    """A listening, non-blocking socket; None if the host lacks the family. Raises HostError."""
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return None
        raise HostError(f"no TCP socket can be made: {error.strerror}") from error
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRNOTAVAIL and not address:
            return None
        raise _listen_error(port, address, error) from error
    return sock


def _listen_error(port: int, address: str, error: OSError) -> HostError:
    if error.errno == errno.EADDRINUSE:
        return HostError(
            f"TCP port {port} is taken, perhaps by a web server:"
            f" `ss -tlpn 'sport = :{port}'` names the program; stop it, set another listen_port,"
            " or security.use_tls = false"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return HostError(
            f"TCP port {port} may not be used without the capability NET_BIND_SERVICE: run meshd as"
            " root or from its systemd unit, or set a listen_port above 1023"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return HostError(
            f"listen_address {address} is not an address of this host: see `ip address`"
        )
    return HostError(f"TCP port {port} cannot be bound: {error.strerror}")
