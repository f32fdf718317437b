"""Joining a mesh: the network side of `meshd join`."""

from __future__ import annotations

import os
import select
import socket
import time

from meshd.config import Config
from meshd.host.storage import Storage
from meshd.node.errors import HostError, LocalError, RemoteError
from meshd.node.identity import Identity
from meshd.node.identity import join as assemble_joined
from meshd.node.invitation import Token
from meshd.node.joining import Joiner
from meshd.node.wire import format_endpoint

DEADLINE = 10.0
"""Seconds to wait for the inviter."""


def join(token: Token, storage: Storage, name: str | None, config: Config) -> Identity:
    """Enrol this host with `token` and save what comes of it. Raises LocalError."""
    token.check_time(time.time())
    node_key = storage.prepare_join(time.time(), os.urandom)
    joiner = Joiner(token, node_key, name or config.name(), os.urandom, time.time())
    _exchange(joiner)
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


def _exchange(joiner: Joiner) -> None:
    sockets = _open()
    try:
        deadline = time.monotonic() + DEADLINE
        while not joiner.done and (now := time.monotonic()) < deadline:
            joiner.handle_timer(now)
            for output in joiner.drain():
                family = socket.AF_INET6 if ":" in output.endpoint[0] else socket.AF_INET
                if family in sockets:
                    _send(sockets[family], output.payload, output.endpoint)
            wait = max(0.0, min(deadline, joiner.next_at) - time.monotonic())
            ready, _, _ = select.select(list(sockets.values()), [], [], wait)
            for sock in ready:
                _receive(sock, joiner)
    finally:
        for sock in sockets.values():
            sock.close()


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
        try:
            joiner.receive(datagram, source[:2], time.monotonic())
        except RemoteError:
            continue  # anybody can send us anything; the deadline tells the person


def _no_answer(token: Token, joiner: Joiner) -> LocalError:
    tried = ", ".join(format_endpoint(endpoint) for endpoint in token.endpoints)
    if joiner.answered:
        return LocalError(f"the inviter answered at {tried} but did not finish: run join again")
    return LocalError(
        f"nobody answered at {tried} within {DEADLINE:g} seconds: check that `meshd up` runs on "
        "the inviting node, that UDP reaches it there, and that the invitation was not used "
        "or expired"
    )
