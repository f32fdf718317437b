"""What `meshd why` and `meshd netcheck` show: the ways to a peer as both ends see them, and what
the network around this host lets through.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

from meshd.contract import (
    EndStatus,
    FamilyStatus,
    GatewayStatus,
    Netcheck,
    PortMapping,
    RelayStatus,
)
from meshd.forwarding import Report
from meshd.node.account import ORIGINS, Candidate, View
from meshd.node.node import Node
from meshd.node.outputs import Explained
from meshd.node.path import Path, PathKind
from meshd.node.peer import Peer
from meshd.node.shortlist import Willing
from meshd.node.wire import STREAM, Endpoint, format_endpoint, is_stream
from meshd.pump import Pump

ASK_TIMEOUT = 2.0
"""Seconds to wait for the other end's view."""
MAX_RELAYS = 16
"""Relays that are shown, the best first."""


class Seeing:
    """Looks at one daemon's node; the questions to peers are told apart by token."""

    def __init__(self, node: Node, pump: Pump) -> None:
        self._node = node
        self._pump = pump
        self._loop = asyncio.get_running_loop()
        self._tokens = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[View]] = {}
        self.gateways: Callable[[], Sequence[Report]] = list
        """What came of asking gateways to forward our ports."""

    async def ends(self, peer: Peer) -> tuple[EndStatus, EndStatus]:
        """How this end sees the ways to `peer`, and how the other one does."""
        identity = self._node.state.identity
        here = self._node.explaining.view(peer, self._loop.time())
        there = await self._ask(peer)
        return (
            _end(identity.id.hex(), identity.name, here, True),
            _end(peer.id.hex(), peer.name, there or _recorded(peer), there is not None),
        )

    async def _ask(self, peer: Peer) -> View | None:
        """The other end's view; None if it cannot be asked, or does not answer."""
        token = next(self._tokens)
        future: asyncio.Future[View] = self._loop.create_future()
        self._waiting[token] = future
        try:
            if not self._node.explaining.ask(peer, token, self._loop.time()):
                return None
            self._pump.settle()
            return await asyncio.wait_for(future, ASK_TIMEOUT)
        except asyncio.TimeoutError:
            return None
        finally:
            del self._waiting[token]

    def explained(self, answer: Explained) -> None:
        """A peer's answer."""
        future = self._waiting.get(answer.token)
        if future is not None and not future.done():
            future.set_result(answer.view)

    def netcheck(self, port_mapping: PortMapping | None) -> Netcheck:
        """What the paths to all peers show of the network around this host."""
        state, now = self._node.state, self._loop.time()
        peers = [peer for peer in state.members() if peer.id != state.identity.id]
        used = [peer.path for peer in peers if peer.ready(now) and peer.path is not None]
        proven = [path for peer in peers for path in peer.paths if path.valid]
        udp = [path for path in proven if not is_stream(path.endpoint)]
        kinds = [path.kind for path in used]
        return {
            "udp": bool(udp) if proven else None,
            "ipv4": self._family(udp, 4),
            "ipv6": self._family(udp, 6),
            "mapping": state.mappings.judge(state.local_endpoints, now).kind.value,
            "port_mapping": port_mapping,
            "gateways": [_gateway(report) for report in self.gateways()],
            "accepts_streams": state.config.accepts_streams,
            "direct": kinds.count(PathKind.DIRECT),
            "relayed": kinds.count(PathKind.RELAY),
            "streams": kinds.count(PathKind.STREAM),
            "relays": self._relays(peers, now),
        }

    def _family(self, udp: list[Path], version: int) -> FamilyStatus:
        state = self._node.state

        def told(endpoints: tuple[Endpoint, ...]) -> list[str]:
            return [format_endpoint(e) for e in endpoints if _version(e) == version]

        return {
            "works": any(_version(path.endpoint) == version for path in udp),
            "own": told(state.local_endpoints),
            "seen": told(tuple(state.reflexive)),
        }

    def _relays(self, peers: list[Peer], now: float) -> list[RelayStatus]:
        willing = {
            peer.id: Willing(peer.id, _has_role(peer), peer.path.srtt, 0.0)
            for peer in peers
            if peer.ready(now)
            and peer.path is not None
            and peer.path.relay is None
            and peer.record is not None
            and peer.record.relays
        }
        names = {peer.id: peer.name for peer in peers}
        best = sorted(willing.values(), key=lambda relay: relay.rank)[:MAX_RELAYS]
        return [
            {
                "id": relay.node.hex(),
                "name": names[relay.node],
                "role": relay.is_relay,
                "rtt_ms": None if relay.first is None else round(relay.first * 1e3, 3),
            }
            for relay in best
        ]


def _gateway(report: Report) -> GatewayStatus:
    forwards = [
        f"{format_endpoint(each.endpoint)}/{each.transport.name.lower()} by {each.protocol.value}"
        for each in report.mappings
    ]
    errors = {protocol.value: text for protocol, text in report.errors.items()}
    return {"gateway": report.gateway, "forwards": forwards, "errors": errors}


def _version(endpoint: Endpoint) -> int:
    return 6 if ":" in endpoint[0].removeprefix(STREAM) else 4


def _has_role(peer: Peer) -> bool:
    return peer.certificate is not None and "relay" in peer.certificate.roles


def _recorded(peer: Peer) -> View:
    """What its record says, where the peer itself cannot be asked."""
    candidates = [Candidate(format_endpoint(e), ORIGINS[-1]) for e in peer.candidates()]
    return View("it could not be asked", tuple(candidates), ())


def _end(node: str, name: str, view: View, told: bool) -> EndStatus:
    return {
        "id": node,
        "name": name,
        "told": told,
        "reason": view.reason,
        "candidates": [{"endpoint": c.endpoint, "origin": c.origin} for c in view.candidates],
        "tried": [
            {
                "kind": way.kind,
                "target": way.target,
                "stands": way.stands,
                "rtt_ms": None if way.rtt is None else round(way.rtt * 1e3, 3),
                "heard_s": None if way.heard is None else round(way.heard, 3),
                "sent": way.sent,
                "answered": way.answered,
                "asked_s": None if way.asked is None else round(way.asked, 3),
                "error": way.error,
            }
            for way in view.tried
        ],
    }
