"""What the daemon answers when somebody asks: the API's backend over one node."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Sequence

from gossip import MemberState, NodeId
from meshd import __version__
from meshd.contract import (
    Found,
    Invited,
    Left,
    Netcheck,
    PathStatus,
    PeerStatus,
    Pong,
    PortMapping,
    Renewed,
    Revoked,
    Route,
    SelfStatus,
    Status,
    Why,
)
from meshd.host.metrics import Statistics, render
from meshd.host.storage import Storage
from meshd.lookups import Lookups
from meshd.node.errors import LocalError
from meshd.node.grants import Grants
from meshd.node.invitation import invite
from meshd.node.node import Node
from meshd.node.outputs import Pong as PongOutput
from meshd.node.outputs import RenewalEnded
from meshd.node.path import PathKind
from meshd.node.peer import Peer
from meshd.node.wire import Endpoint, format_endpoint
from meshd.pump import Pump
from meshd.seeing import Seeing
from meshd.streaming import Figures

RENEW_TIMEOUT = 40.0
"""Seconds that a person waits for a new certificate."""
LEAVE_STEP, LEAVE_STEPS = 0.05, 120
"""Seconds between two looks whether all is told of our leaving, and how many looks at most."""


class NodeBackend:
    """Implements `meshd.contract.Backend`."""

    def __init__(
        self,
        node: Node,
        pump: Pump,
        storage: Storage,
        notices: Callable[[], Sequence[str]],
        stop: Callable[[], None],
        endpoints: Callable[[], tuple[Endpoint, ...]],
    ) -> None:
        self._node = node
        self._pump = pump
        self._storage = storage
        self._notices = notices
        self._stop = stop
        self._endpoints = endpoints
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        self._tokens = itertools.count(1)
        self.lookups = Lookups(node, pump, endpoints)
        self.seeing = Seeing(node, pump)
        self._pings: dict[int, asyncio.Future[PongOutput]] = {}
        self._renewals: dict[int, asyncio.Future[RenewalEnded]] = {}
        self.port_mapping: Callable[[], PortMapping | None] = lambda: None
        """What a gateway forwards to us."""
        self.streams: Callable[[], Figures] = Figures
        """How many streams there are, and what they carried."""
        self.failing: str | None = None
        """What is wrong with this node, for `/health`; None when nothing is."""

    # Reading

    def status(self) -> Status:
        """As `status --json` shows it."""
        identity, now = self._node.state.identity, self._loop.time()
        own: SelfStatus = {
            "id": identity.id.hex(),
            "name": identity.name,
            "addresses": [str(address) for address in identity.certificate.addresses],
            "roles": list(identity.certificate.roles),
            "mesh": identity.mesh.mesh_id.hex(),
            "network": identity.mesh.name,
            "version": __version__,
            "uptime_s": round(now - self._started_at, 3),
            "neighbours": len(self._node.gossip.neighbours()),
            "port_mapping": self.port_mapping(),
            "streams": self.streams().connections,
        }
        peers = sorted(self._node.state.members(), key=lambda peer: (peer.name, peer.id))
        return {
            "self": own,
            "peers": [self._peer(peer, now) for peer in peers if peer.id != identity.id],
            "notices": [
                *([self.failing] if self.failing else []),
                *self._node.credentials.notices(now),
                *self._clock_notices(),
                *self._notices(),
            ],
        }

    def _clock_notices(self) -> list[str]:
        state = self._node.state

        def name(node: NodeId) -> str:
            peer = state.peers.get(node)
            return node.hex() if peer is None else peer.name

        return state.clocks.notices(state.unix_offset, name)

    def _peer(self, peer: Peer, now: float) -> PeerStatus:
        certificate = peer.certificate
        received = peer.rx_bytes + sum(session.received_bytes for session in peer.sessions())
        return {
            "id": peer.id.hex(),
            "name": peer.name,
            "addresses": [str(a) for a in certificate.addresses] if certificate else [],
            "roles": list(certificate.roles) if certificate else [],
            "state": peer.state,
            "path": _path(peer) if peer.ready(now) else None,
            "tx_bytes": peer.tx_bytes,
            "rx_bytes": received,
            "relayed_bytes": self._node.relay.forwarded.get(peer.id, 0),
            "last_seen_s": None if peer.last_seen is None else round(now - peer.last_seen, 3),
            "last_error": peer.last_error,
        }

    def health(self) -> tuple[bool, str]:
        """Whether the node works, and if not what fails."""
        return self.failing is None, self.failing or "healthy"

    async def metrics(self) -> bytes:
        """Prometheus text, rendered off the event loop."""
        return await asyncio.to_thread(render, self.statistics())

    def statistics(self) -> Statistics:
        """The counters of now."""
        state, now = self._node.state, self._loop.time()
        gossip = self._node.gossip.statistics()
        latency = {
            peer.id.hex(): peer.path.srtt
            for peer in state.members()
            if peer.path is not None and peer.path.srtt is not None and peer.ready(now)
        }
        drops = dict(state.drops)
        drops.pop("multicast", None)
        for session in state.sessions.values():
            for reason, count in session.reassembler.statistics().dropped.items():
                drops[f"reassembly-{reason}"] = drops.get(f"reassembly-{reason}", 0) + count
        for reason, count in gossip.refused.items():
            drops[f"gossip-{reason}"] = count
        streams = self.streams()
        drops["stream-queue"], drops["stream-malformed"] = streams.dropped, streams.malformed
        used = [(peer, peer.path) for peer in state.members() if peer.path is not None]
        return Statistics(
            version=__version__,
            connected_peers=sum(peer.ready(now) for peer in state.members()),
            bytes_sent=self._node.outbound.bytes_taken,
            bytes_received=self._pump.bytes_received,
            packets_sent=self._node.outbound.packets_taken,
            packets_received=self._pump.packets_received,
            auth_failures=sum(state.auth_failures.values()),
            certificate_expiry=state.identity.certificate.not_after,
            drops=drops,
            latency=latency,
            loss={peer.id.hex(): path.loss for peer, path in used if peer.ready(now)},
            parity={peer.id.hex(): path.control.share for peer, path in used if peer.ready(now)},
            recovered={peer.id.hex(): peer.meter.saved for peer in state.members()},
            members={
                MemberState.ALIVE.value: gossip.alive,
                MemberState.SUSPECT.value: gossip.suspect,
                MemberState.DEAD.value: gossip.dead,
                MemberState.LEFT.value: gossip.left,
            },
            stream_connections=streams.connections,
            streams_refused=streams.refused,
            stream_bytes={"received": streams.bytes_in, "sent": streams.bytes_out},
            relayed_bytes=self._node.relay.forwarded_bytes,
            gossip_messages_sent=gossip.messages_sent,
            gossip_messages_received=gossip.messages_received,
            gossip_equivocations=gossip.equivocations,
            gossip_neighbours=len(self._node.gossip.neighbours()),
        )

    async def lookup(self, text: str) -> Found:
        """See `Lookups.find`."""
        return await self.lookups.find(text)

    def routes(self) -> list[Route]:
        """Every prefix on offer, and who carries its packets now."""
        return [
            {
                "prefix": prefix,
                "id": peer.id.hex(),
                "name": peer.name,
                "selected": selected,
            }
            for prefix, peer, selected in self._node.routes()
        ]

    async def why(self, peer: str) -> Why:
        """Why a peer is reached as it is, as both ends see it. Raises LocalError."""
        found = await self.lookups.peer(peer)
        here, there = await self.seeing.ends(found)
        return {
            "id": found.id.hex(),
            "name": found.name,
            "state": found.state,
            "path": _path(found) if found.ready(self._loop.time()) else None,
            "here": here,
            "there": there,
        }

    def netcheck(self) -> Netcheck:
        """See `Seeing.netcheck`."""
        return self.seeing.netcheck(self.port_mapping())

    # Acting

    async def ping(self, peer: str, timeout: float) -> Pong | None:
        """Probe a peer once; None if no answer came in time. Raises LocalError."""
        found = await self.lookups.peer(peer)
        token = next(self._tokens)
        future: asyncio.Future[PongOutput] = self._loop.create_future()
        self._pings[token] = future
        try:
            self._node.ping(found, token, self._loop.time())
            self._pump.settle()
            pong = await asyncio.wait_for(future, timeout)
        except asyncio.TimeoutError:
            return None
        finally:
            del self._pings[token]
        if pong.rtt is None:
            return None
        certificate = found.certificate
        address = str(certificate.address4) if certificate is not None else ""
        return {
            "id": found.id.hex(),
            "name": found.name,
            "address": address,
            "rtt_ms": round(pong.rtt * 1e3, 3),
            "path": _path(found),
            "kind": pong.kind,
            "via": pong.via,
        }

    def answered(self, pong: PongOutput) -> None:
        """The node's answer to a ping."""
        future = self._pings.get(pong.token)
        if future is not None and not future.done():
            future.set_result(pong)

    async def invite(self, grants: Grants, lifetime: int) -> Invited:
        """Make an invitation, on disk before its token is told. Raises LocalError."""
        identity = self._node.state.identity
        if identity.issuer is None:
            raise LocalError(
                "this node cannot invite: only a node with the role `issuer` can; run "
                "`meshd invite` there"
            )
        self._node.credentials.check()
        token, invitation = invite(
            identity.mesh.mesh_id,
            identity.static_public,
            identity.issuer.permit(grants),
            self._endpoints(),
            time.time(),
            float(lifetime),
            os.urandom,
        )
        self._storage.save_invitation(invitation, time.time())
        self._node.add_invitation(invitation)
        return {"token": token.encode(), "expires": token.expiry}

    async def revoke(self, node: str) -> Revoked:
        """Revoke a node or a CA: its list is on disk before it is in force. Raises LocalError."""
        await self.lookups.learn(node)
        now, credentials = self._loop.time(), self._node.credentials
        planned = credentials.plan_revocation(node, now)
        if planned.lists:
            self._storage.save_revocations(self._node.state.identity.trust, planned.lists)
            credentials.revoke(planned, now)
            self._node.handle_timer(now)
            self._pump.settle()
        return {
            "id": planned.node,
            "name": planned.name,
            "serials": [f"{serial:0{34 if serial >> 64 else 16}x}" for serial in planned.serials],
            "elsewhere": list(planned.elsewhere),
        }

    async def renew(self) -> Renewed:
        """Get a new certificate now. Raises LocalError: why there is none."""
        token = next(self._tokens)
        future: asyncio.Future[RenewalEnded] = self._loop.create_future()
        self._renewals[token] = future
        try:
            self._node.credentials.renew(token, self._loop.time())
            self._pump.settle()
            ended = await asyncio.wait_for(future, RENEW_TIMEOUT)
        except asyncio.TimeoutError:
            raise LocalError("no issuer has answered yet: see `meshd status`") from None
        finally:
            del self._renewals[token]
        if ended.problem is not None:
            raise LocalError(f"there is no new certificate: {ended.problem}")
        certificate = self._node.state.identity.certificate
        return {
            "name": certificate.name,
            "serial": f"{certificate.serial:016x}",
            "not_before": _time(certificate.not_before),
            "not_after": _time(certificate.not_after),
            "issuer": certificate.authority.hex(),
        }

    def renewed(self, ended: RenewalEnded) -> None:
        """The node's answer to a renewal."""
        future = self._renewals.get(ended.token)
        if future is not None and not future.done():
            future.set_result(ended)

    def cannot_renew(self, problem: str) -> None:
        """What comes of a renewal could not be written: those who wait are told now."""
        for token in self._renewals:
            self.renewed(RenewalEnded(token, problem))

    async def leave(self) -> Left:
        """Leave for good: tell it, for some seconds at most, and begin to stop."""
        node, now = self._node, self._loop.time()
        told = sum(peer.ready(now) for peer in node.state.holders())
        final = node.leave(now)
        self._pump.settle()
        for _ in range(LEAVE_STEPS):
            if node.has_left:
                break
            await asyncio.sleep(LEAVE_STEP)
        self._stop()
        return {
            "told": told,
            "final": final,
            "certs": str(self._storage.certs.absolute()),
            "state": str(self._storage.state.absolute()),
        }

    async def down(self) -> None:
        """Begin to stop."""
        self._stop()


def _time(unix_time: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_time))


def _path(peer: Peer) -> PathStatus | None:
    path = peer.path
    if path is None:
        return None
    via: NodeId | None = path.relay
    return {
        "kind": path.kind.value,
        "endpoint": format_endpoint(path.endpoint) if path.kind is not PathKind.RELAY else None,
        "via": None if via is None else via.hex(),
        "rtt_ms": None if path.srtt is None else round(path.srtt * 1e3, 3),
        "loss": round(path.loss, 4),
        "span": path.span,
        "parity": round(path.control.share, 4),
        "frames_saved": peer.meter.saved,
    }
