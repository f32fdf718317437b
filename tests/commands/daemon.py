"""A daemon's API with made-up answers, in a thread, for the verbs to talk to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshd.contract import (
    Found,
    Invited,
    Left,
    Netcheck,
    PathStatus,
    PeerStatus,
    Pong,
    Renewed,
    Revoked,
    Route,
    Status,
    Why,
)
from meshd.host.api import ApiServer
from meshd.host.listeners import UnixListener
from meshd.node.errors import LocalError
from meshd.node.grants import Grants

BETA = "be" * 16
DIRECT: PathStatus = {
    "kind": "direct",
    "endpoint": "192.0.2.1:443",
    "via": None,
    "rtt_ms": 1.234,
    "loss": 0.014,
    "span": 5,
    "parity": 0.0,
    "frames_saved": 0,
}
RELAYED: PathStatus = {
    "kind": "relay",
    "endpoint": None,
    "via": BETA,
    "rtt_ms": 32.46,
    "loss": 0.0,
    "span": 128,
    "parity": 0.0,
    "frames_saved": 0,
}


WHY: Why = {
    "id": BETA,
    "name": "beta",
    "state": "alive",
    "path": {**RELAYED, "via": "cc" * 16},
    "here": {
        "id": "a1" * 16,
        "name": "alpha",
        "told": True,
        "reason": "none of 1 direct ways answers, and it is the only one that answers",
        "candidates": [{"endpoint": "203.0.113.5:443", "origin": "seen by peers"}],
        "tried": [
            {
                "kind": "relay",
                "target": "cc" * 16,
                "stands": "used",
                "rtt_ms": 32.46,
                "heard_s": 1.2,
                "sent": 4,
                "answered": 4,
                "asked_s": 1.2,
                "error": "",
            },
            {
                "kind": "direct",
                "target": "192.0.2.1:443",
                "stands": "tried",
                "rtt_ms": None,
                "heard_s": None,
                "sent": 7,
                "answered": 0,
                "asked_s": 9.0,
                "error": "no answer",
            },
        ],
    },
    "there": {
        "id": BETA,
        "name": "beta",
        "told": False,
        "reason": "it could not be asked",
        "candidates": [{"endpoint": "192.0.2.1:443", "origin": "its record"}],
        "tried": [],
    },
}
NETCHECK: Netcheck = {
    "udp": True,
    "ipv4": {"works": True, "own": ["192.168.1.10:443"], "seen": ["203.0.113.5:443"]},
    "ipv6": {"works": False, "own": [], "seen": []},
    "mapping": "endpoint-independent",
    "port_mapping": {
        "protocol": "pcp",
        "gateway": "192.168.1.1",
        "endpoint": "203.0.113.5:443",
        "stream_endpoint": None,
        "expires_s": 3600.0,
    },
    "gateways": [
        {"gateway": "192.168.1.1", "forwards": ["203.0.113.5:443/udp by pcp"], "errors": {}}
    ],
    "accepts_streams": True,
    "direct": 2,
    "relayed": 1,
    "streams": 0,
    "relays": [{"id": BETA, "name": "beta", "role": True, "rtt_ms": 1.2}],
}


def peer(name: str, **changes: Any) -> PeerStatus:
    """A peer that is well, but for `changes`."""
    values: dict[str, Any] = {
        "id": BETA if name == "beta" else f"{name.encode().hex():0<32}"[:32],
        "name": name,
        "addresses": ["100.64.0.2", "fd00::2"],
        "roles": [],
        "state": "alive",
        "path": DIRECT,
        "tx_bytes": 1234,
        "rx_bytes": 0,
        "last_seen_s": 0.5,
        "relayed_bytes": 0,
        "last_error": None,
        **changes,
    }
    return values  # type: ignore[return-value]


@dataclass
class FakeBackend:
    """Answers from its fields, and keeps what it was asked to do."""

    peers: list[PeerStatus] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    offered: list[Route] = field(default_factory=list)
    pongs: list[Pong | None] = field(default_factory=list)
    revoked: Revoked = field(
        default_factory=lambda: Revoked(id=BETA, name="beta", serials=[], elsewhere=[])
    )
    left: Left = field(default_factory=lambda: Left(told=0, final=True, certs="", state=""))
    error: LocalError | None = None
    asked: list[Any] = field(default_factory=list)

    def status(self) -> Status:
        if self.error:
            raise self.error
        return {
            "self": {
                "id": "a1" * 16,
                "name": "alpha",
                "addresses": ["100.64.0.1", "fd00::1"],
                "roles": ["issuer"],
                "mesh": "cd" * 16,
                "network": "production",
                "version": "1.2.3",
                "uptime_s": 1.0,
                "neighbours": 1,
                "streams": 0,
                "port_mapping": None,
            },
            "peers": self.peers,
            "notices": self.notices,
        }

    def health(self) -> tuple[bool, str]:
        return True, ""

    async def metrics(self) -> bytes:
        return b""

    async def lookup(self, text: str) -> Found:
        if self.error:
            raise self.error
        return {
            "query": text,
            "matched": "route",
            "route": "10.0.0.0/8",
            "id": BETA,
            "name": "beta",
            "addresses": ["100.64.0.2"],
            "roles": ["relay"],
            "state": "alive",
            "endpoints": [],
            "answered_by": "known",
            "hops": 0,
        }

    def routes(self) -> list[Route]:
        return self.offered

    async def why(self, peer: str) -> Why:
        return WHY

    def netcheck(self) -> Netcheck:
        return NETCHECK

    async def ping(self, peer: str, timeout: float) -> Pong | None:
        if self.error:
            raise self.error
        self.asked.append((peer, timeout))
        return self.pongs.pop(0)

    async def invite(self, grants: Grants, lifetime: int) -> Invited:
        if self.error:
            raise self.error
        self.asked.append((grants, lifetime))
        return {"token": "aegis1-from-the-daemon", "expires": 7}

    async def revoke(self, node: str) -> Revoked:
        if self.error:
            raise self.error
        self.asked.append(("revoke", node))
        return self.revoked

    async def renew(self) -> Renewed:
        if self.error:
            raise self.error
        self.asked.append("renew")
        return {
            "name": "alpha",
            "serial": "40" * 8,
            "not_before": "2026-10-15T04:00:00Z",
            "not_after": "2027-01-15T06:00:00Z",
            "issuer": BETA,
        }

    async def leave(self) -> Left:
        if self.error:
            raise self.error
        self.asked.append("leave")
        return self.left

    async def down(self) -> None:
        self.asked.append("down")


@contextmanager
def serving(backend: FakeBackend, path: Path) -> Iterator[None]:
    """Serve `backend` on the unix socket `path` while the block runs."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()

    async def serve() -> None:
        listener = UnixListener(path)
        server = ApiServer(backend, listener.socket, None)
        await server.start()
        ready.set()
        await stopping.wait()
        await server.stop()
        listener.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
        loop.close()
