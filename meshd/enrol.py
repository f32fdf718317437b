"""Joining a mesh: the network side of `meshd join`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time

from meshd.config import Config
from meshd.host.storage import Storage
from meshd.lan import search
from meshd.node import visiting
from meshd.node.errors import HostError, LocalError, RemoteError
from meshd.node.identity import Identity
from meshd.node.identity import join as assemble_joined
from meshd.node.invitation import Token, locate
from meshd.node.joining import Joiner
from meshd.node.wire import Endpoint, format_endpoint, is_stream
from meshd.streaming import manner
from meshd.streams import StreamHost

DEADLINE = 10.0
"""Seconds to wait for the inviter."""
SEARCH_AFTER = 1.0
"""Seconds without an answer after which the LAN is searched for it, too."""


def join(token: Token, storage: Storage, name: str | None, config: Config) -> Identity:
    """Enrol this host with `token` and save what comes of it. Raises LocalError."""
    token.check_time(time.time())
    node_key = storage.prepare_join(time.time(), os.urandom)
    joiner = Joiner(token, node_key, name or config.name(), os.urandom, time.time())
    asyncio.run(_exchange(joiner, token, config))
    if joiner.refusal is not None:
        raise LocalError(f"the inviter refused: {joiner.refusal}")
    if joiner.reply is None:
        raise _no_answer(token, joiner)
    try:
        identity = assemble_joined(node_key, token.mesh_id, joiner.reply, time.time())
    except RemoteError as error:
        raise LocalError(
            f"the inviter's answer cannot be trusted ({error.reason}): check this host's clock, "
            "then ask for a new invitation"
        ) from None
    storage.save_enrolment(identity, joiner.reply.records)
    return identity


async def _exchange(joiner: Joiner, token: Token, config: Config) -> None:
    """Ask by UDP, and by streams beside it, until it is over or too late."""
    loop = asyncio.get_running_loop()
    sockets, stirred = _open(), asyncio.Event()

    def on_readable(sock: socket.socket) -> None:
        _receive(sock, joiner)
        stirred.set()

    def on_batch(data: memoryview, segment: int, source: Endpoint) -> None:
        for at in range(0, len(data), segment):
            _take(joiner, bytes(data[at : at + segment]), source)
        stirred.set()

    def on_nearby(endpoints: list[Endpoint]) -> None:
        if not joiner.answered:
            joiner.consider(endpoints)
            stirred.set()

    locator = locate(token.invitation_id)
    gate = visiting.Joiner(token.mesh_id, locator, lambda now: time.time(), os.urandom)
    streams = StreamHost(gate, manner(config), on_batch=on_batch, on_closed=lambda *_: None)
    wanted = config.network.lan_discovery
    searching = loop.create_task(search(SEARCH_AFTER, on_nearby)) if wanted else None
    for sock in sockets.values():
        loop.add_reader(sock.fileno(), on_readable, sock)
    try:
        deadline = loop.time() + DEADLINE
        while not joiner.done and (now := loop.time()) < deadline:
            joiner.handle_timer(now)
            for output in joiner.drain():
                payload, endpoint = output.payload, output.endpoint
                family = socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET
                if is_stream(endpoint):
                    streams.send([payload], len(payload), 1, endpoint, 1)
                elif family in sockets:
                    _send(sockets[family], payload, endpoint)
            wait = max(0.0, min(deadline, joiner.next_at) - loop.time())
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stirred.wait(), wait)
            stirred.clear()
    finally:
        for sock in sockets.values():
            loop.remove_reader(sock.fileno())
            sock.close()
        if searching is not None:
            searching.cancel()
            await asyncio.wait([searching])
        await streams.stop()


def _open() -> dict[socket.AddressFamily, socket.socket]:
    sockets = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            continue
        sockets[family] = sock
    if not sockets:
        raise HostError("this host has neither IPv4 nor IPv6: check `ip address`")
    return sockets


def _send(sock: socket.socket, payload: bytes, endpoint: tuple[str, int]) -> None:
    try:
        sock.sendto(payload, endpoint)
    except OSError:
        return  # another endpoint, or the next try, may do


def _receive(sock: socket.socket, joiner: Joiner) -> None:
    for _ in range(64):
        try:
            datagram, source = sock.recvfrom(65_535)
        except OSError:
            return
        _take(joiner, datagram, source[:2])


def _take(joiner: Joiner, datagram: bytes, source: Endpoint) -> None:
    # Anybody can send us anything; the deadline tells the person.
    with contextlib.suppress(RemoteError):
        joiner.receive(datagram, source, time.monotonic())


def _no_answer(token: Token, joiner: Joiner) -> LocalError:
    tried = ", ".join(format_endpoint(endpoint) for endpoint in token.endpoints)
    if joiner.answered:
        return LocalError(f"the inviter answered at {tried} but did not finish: run join again")
    return LocalError(
        f"nobody answered at {tried} within {DEADLINE:g} seconds: check that `meshd up` runs on "
        "the inviting node, that UDP or TCP reaches it there, and that the invitation was not used "
        "or expired"
    )
