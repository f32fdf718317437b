"""TCP sockets for streams: both families on one port, and settings against standing queues.

Bytes wait in three places: unsent in the kernel, sent and not acknowledged, and in our own queue
(see `meshd.conduit`). The first two are bounded here, so that a ping behind bulk waits little: at
100 Mbit/s and 10 ms of round trip it took 337 ms with the kernel's own bounds, 46 ms with these.

What is sent and not acknowledged is either under way or waits before the narrowest part of the way.
A far way needs much of the former (1.2 MB at 100 Mbit/s and 100 ms), and nobody wants the latter:
so the send buffer begins small, and `fit` has it follow the round trip.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import struct

from meshd.node.errors import HostError

UNSENT = 65_536
"""Bytes that the kernel takes beyond those it may send now (`TCP_NOTSENT_LOWAT`, tcp(7))."""
SEND_BUFFER, SEND_BUFFER_MAX = 393_216, 8_388_608
"""Bytes sent and unacknowledged, about: at first and at least, and at most (`SO_SNDBUF`; the kernel
doubles it for its bookkeeping, which takes up to half of that)."""
STANDING = 0.03
"""Seconds that bytes may wait on the way: 375 KB at 100 Mbit/s."""
SHRINK, GROW = 0.7, 1.25
"""The most that one `fit` changes the send buffer by."""
ROOM = 3
"""Times the bytes under way that the send buffer is at most."""
SILENCE_MS = 15_000
"""Milliseconds without an acknowledgement after which a connection is dead (RFC 5482)."""
KEEPALIVE = (30, 10, 3)
"""Idle seconds before a probe, seconds between two, and how many may stay unanswered."""
BACKLOG = 1024
RESERVED = 512
"""Descriptors for everything that is no accepted connection."""
_PORT_TRIES = 16
_TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; in the socket module on some platforms only
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h: beyond net.core.wmem_max, with CAP_NET_ADMIN
_INFO = struct.Struct("=16xI4xI40xI76xI")
"""Of `struct tcp_info` (linux/tcp.h): snd_mss, unacked, rtt, min_rtt; times in microseconds."""
_UNKNOWN = 0xFFFF_FFFF


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
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, tries),
    ):
        with contextlib.suppress(OSError):
            sock.setsockopt(level, option, value)
    _set_send_buffer(sock, SEND_BUFFER)


def fit(sock: socket.socket) -> float:
    """Have the send buffer of a connection that has more to send than goes follow the round trip:
    larger while that is hardly longer than the shortest one was, smaller as soon as bytes wait on
    the way for more than `STANDING`. Returns for how many seconds it is of no use again: a round
    trip where it grew, 0 where it shrank or the kernel tells nothing. Raises OSError.
    """
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    if len(info) < _INFO.size:
        return 0.0
    segment, segments, now, shortest = _INFO.unpack(info)
    if not now or shortest == _UNKNOWN:
        return 0.0
    wanted = (shortest + STANDING * 1e6) / now
    size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2
    most = min(SEND_BUFFER_MAX, ROOM * segment * segments)
    fitting = min(int(size * min(max(wanted, SHRINK), GROW)), most)
    _set_send_buffer(sock, max(fitting, SEND_BUFFER))
    return float(now / 1e6) if wanted > 1 else 0.0


def _set_send_buffer(sock: socket.socket, size: int) -> None:
    for option in (_SO_SNDBUFFORCE, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, size)
            return


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
