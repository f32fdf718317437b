"""The daemon: opens what a node needs of its host, runs the pump, and closes in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from gossip import DecodeError, GossipConfig, Record
from gossip.records import decode as decode_record
from meshd.backend import NodeBackend
from meshd.config import Config
from meshd.forwarding import Forwarding
from meshd.host import log
from meshd.host.listeners import UnixListener, open_tcp
from meshd.host.priority import NOT_FIRST, run_first
from meshd.host.storage import Storage
from meshd.host.tun import Tun
from meshd.host.udp import UdpSockets
from meshd.interface import Interface
from meshd.node import outputs, parity
from meshd.node.errors import LocalError
from meshd.node.identity import Identity
from meshd.node.leaving import has_left
from meshd.node.node import Node
from meshd.node.outputs import Output
from meshd.node.pcp import Transport
from meshd.node.state import NodeConfig
from meshd.node.wire import Endpoint, address_of
from meshd.pump import Pump
from meshd.streaming import Streaming
from meshd.surroundings import Surroundings

RECORDS_DELAY = 1.0
"""Seconds that changed records may wait to be written, so that a burst is one write."""
SAVE_AGAIN = 10.0
"""Seconds until a state directory that could not be written is tried again."""

_log = logging.getLogger("meshd")


def run(config: Config, storage: Storage, socket_path: Path) -> int:
    """Run a node until it is told to stop; the exit code. Raises LocalError."""
    storage.lock()
    identity = storage.load_identity(time.time())
    notices = [NOT_FIRST] if config.performance.realtime and not run_first() else []
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Daemon(config, storage, identity, socket_path, notices).serve())
    return 0


class Daemon:
    """One node on one host."""

    def __init__(
        self,
        config: Config,
        storage: Storage,
        identity: Identity,
        socket_path: Path,
        notices: Sequence[str] = (),
    ) -> None:
        """`notices`: what `status` is to say from the start."""
        self._config = config
        self._storage = storage
        self._identity = identity
        self._socket_path = socket_path
        self._stopping = asyncio.Event()
        self._failure: LocalError | None = None
        self._lists_unsaved = False
        self._notices = list(notices)
        self._tasks: set[asyncio.Task[None]] = set()
        self._saving: asyncio.TimerHandle | None = None

    async def serve(self) -> None:
        """Open everything, run until told to stop, close everything. Raises LocalError."""
        config = self._config
        logging_ = config.logging
        self._notices += log.setup(logging_.format, logging_.level, logging_.file)
        self._auth_log = log.AuthLog(logging_.auth_file)
        self._notices += [*config.notices(self._identity.mesh), *self._auth_log.missing]
        self._notices += self._role_notices()
        with contextlib.ExitStack() as stack:
            stack.callback(self._auth_log.close)
            listener = UnixListener(self._socket_path)
            stack.callback(listener.close)
            public = open_tcp(*config.api.listen) if config.api.listen is not None else None
            if public is not None:
                stack.callback(public.close)
            self._udp = UdpSockets.open(
                config.listen_port,
                want_gso=config.offload.gso,
                want_gro=config.offload.gro,
                address=config.listen_address,
            )
            stack.callback(self._udp.close)
            self._tun = Tun.open(config.tun.name, want_offloads=config.offload.tun)
            stack.callback(self._tun.close)
            await self._configure_tun()
            self._streaming = Streaming(
                config,
                self._udp.port,
                self._identity.mesh_secret,
                self._identity.mesh.mesh_id,
                self._storage.state,
            )
            self._node = self._make_node()
            self._pump = Pump(self._node, self._tun, self._udp, self._perform, self._fail)
            self._streaming.serve(self._node, self._pump)
            self._surroundings = Surroundings(
                config, self._node, self._udp.port, self._pump.settle, self._interface
            )
            self._forwarding = self._make_forwarding()
            self._backend = NodeBackend(
                self._node,
                self._pump,
                self._storage,
                self._all_notices,
                self._stopping.set,
                self._surroundings.own_endpoints,
            )
            self._backend.port_mapping = self._forwarding.status
            self._backend.seeing.gateways = self._forwarding.reports
            self._backend.streams = self._streaming.figures
            self._pump.start()
            stack.callback(self._pump.stop)
            stack.callback(self._cancel)
            self._surroundings.start()
            stack.callback(self._surroundings.close)
            if config.network.port_mapping:
                self._surroundings.changed.append(self._forwarding.look)
                self._forwarding.start()
            stack.callback(self._forwarding.close)
            self._signals()
            await self._serve_api(listener, public)
            self._close()
            await self._forwarding.stop()
            await self._streaming.stop()
        if self._failure is not None:
            raise self._failure

    # Opening

    async def _configure_tun(self) -> None:
        self._interface = Interface(self._tun.name, self._identity.mesh.cidr.prefixlen)
        addresses = self._identity.certificate.addresses
        self._notices += await self._interface.configure(addresses, self._config.tun.mtu)

    def _make_node(self) -> Node:
        config, storage, now = self._config, self._storage, time.time()
        records = self._stored_records()
        if has_left(self._identity, records):
            raise LocalError(
                f"this host has left {self._identity.mesh.name} for good: type `meshd leave` again "
                "to set its files aside, then join with a new invitation"
            )
        profile = GossipConfig.wan() if config.gossip.profile == "wan" else GossipConfig.lan()
        node_config = NodeConfig(
            gossip=within(profile, config.performance.max_peers),
            vnet_header=self._tun.vnet_header,
            segmentation="tso4" in self._tun.offloads,
            udp_segmentation="uso" in self._tun.offloads,
            endpoints=config.network.endpoints,
            max_peers=config.performance.max_peers,
            relays=config.performance.relay_capacity > 0,
            relay_capacity=config.performance.relay_capacity * 125e3,
            accepts_streams=self._streaming.listening,
            routes=tuple(map(str, self._offered_routes())),
        )
        node = Node(
            self._identity,
            node_config,
            random.Random(os.urandom(16)),
            os.urandom,
            asyncio.get_running_loop().time(),
            now,
            storage.load_sequence(now),
            storage.load_handshake_counter(),
            records,
            storage.invitations(),
        )
        for notice in storage.drain_notices():
            _log.warning("%s", notice)
            self._notices.append(notice)
        return node

    def _make_forwarding(self) -> Forwarding:
        ports = [(Transport.UDP, self._udp.port)]
        if self._streaming.listening:
            ports.append((Transport.TCP, self._udp.port))
        address = self._config.listen_address
        return Forwarding(self._node, ports, address, self._pump.settle)

    def _stored_records(self) -> list[Record]:
        records = []
        for data in self._storage.load_records():
            with contextlib.suppress(DecodeError):
                records.append(decode_record(data))
        return records

    def _offered_routes(self) -> list[IPv4Network | IPv6Network]:
        """What the certificate grants, but for default routes: those wait for exits."""
        return [route for route in self._identity.certificate.routes if route.prefixlen]

    def _role_notices(self) -> list[str]:
        notices = []
        wanted = self._config.node_type
        if wanted not in ("access", *self._identity.certificate.roles):
            notices.append(
                f"node_type is {wanted}, but this node's certificate does not grant the role: "
                f"invite it anew with `meshd invite --role {wanted}`"
            )
        for version, name in ((4, "net.ipv4.ip_forward"), (6, "net.ipv6.conf.all.forwarding")):
            switch = Path("/proc/sys", *name.split("."))
            offers = any(route.version == version for route in self._offered_routes())
            if offers and switch.exists() and switch.read_text().strip() == "0":
                notices.append(f"this node offers routes but does not forward: sysctl {name}=1")
        return notices

    async def _serve_api(self, listener: UnixListener, public: socket.socket | None) -> None:
        # Late and beside the loop: importing aiohttp costs half a second.
        await asyncio.to_thread(importlib.import_module, "meshd.host.api")
        await asyncio.to_thread(parity.load)
        from meshd.host.api import ApiServer

        hosts = (*self._config.api.hosts, self._identity.name, socket.gethostname())
        server = ApiServer(self._backend, listener.socket, public, hosts)
        await server.start()
        # What lives now lives on: the collector need not look at it again while packets flow.
        gc.collect()
        gc.freeze()
        _log.info("%s is up", self._identity.name)
        try:
            await self._stopping.wait()
        finally:
            await server.stop()

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)

    # Running

    def _all_notices(self) -> list[str]:
        tun = self._tun.missing
        if not self._config.offload.tun:
            tun = ["the TUN device's offloads are not used, as offload.tun = false says"]
        own = [*self._notices, *self._streaming.notices, *self._surroundings.notices()]
        return [*own, *self._node.state.notices.values(), *tun, *self._udp.missing]

    def _fail(self, error: LocalError) -> None:
        """Nothing can go on without it: stop, and let the person know why."""
        self._failure = error
        self._stopping.set()

    def _perform(self, output: Output) -> None:
        """Do one output. Raises OSError when it must stop what follows it."""
        try:
            self._perform_output(output)
        except LocalError as error:
            self._cannot_save(error)
            if isinstance(output, outputs.PersistIdentity | outputs.PersistLedger):
                self._backend.cannot_renew(str(error))
            raise OSError(str(error)) from error

    def _perform_output(self, output: Output) -> None:
        storage = self._storage
        match output:
            case outputs.PersistSequence(value):
                storage.save_sequence(value)
            case outputs.PersistCounter(value):
                storage.save_handshake_counter(value)
            case outputs.PersistInvitation(invitation):
                storage.save_invitation(invitation, time.time())
            case outputs.PersistLedger():
                if self._identity.issuer is not None:
                    storage.save_ledger(self._identity.issuer)
            case outputs.PersistTrust():
                self._save_trust()
            case outputs.PersistRevocations():
                self._lists_unsaved = True
                self._save_lists()
            case outputs.PersistIdentity(identity):
                self._adopt(identity)
            case outputs.PersistRecords():
                if self._saving is None:
                    loop = asyncio.get_running_loop()
                    self._saving = loop.call_later(RECORDS_DELAY, self._save_records)
            case outputs.RoutesChanged(prefixes):
                self._interface.routes_wanted = frozenset(prefixes)
                self._start(self._interface.follow_routes())
            case outputs.AddressesChanged(addresses):
                self._start(self._interface.follow_addresses(addresses))
            case outputs.PeerChanged(peer, name, event):
                _log.info("%s (%s): %s", name, peer.hex()[:8], event)
            case outputs.Warned(text):
                _log.warning("%s", text)
            case outputs.AuthFailure(reason, source):
                self._auth_failed(reason, source)
            case outputs.Pong():
                self._backend.answered(output)
            case outputs.LookedUp():
                self._backend.lookups.ended(output)
            case outputs.RenewalEnded():
                self._backend.renewed(output)
            case outputs.Explained():
                self._backend.seeing.explained(output)
            case _:
                raise AssertionError(f"the pump does {type(output).__name__}")

    def _auth_failed(self, reason: str, source: Endpoint | None) -> None:
        event = log.AuthEvent.AUTHENTICATION
        if reason.startswith("certificate"):
            event = log.AuthEvent.CERTIFICATE
        elif reason.startswith("invitation"):
            event = log.AuthEvent.CREDENTIALS
        address = address_of(source) if source is not None else ""
        self._auth_log.write(event, reason, address, proven=source is not None)

    def _save_trust(self) -> None:
        """`ca.crt` is for people's tools: a read-only directory is no reason to stop."""
        try:
            self._storage.save_trust(self._identity.trust)
        except LocalError as error:
            _log.warning("%s", error)

    def _save_lists(self) -> None:
        self._storage.save_revocations(self._identity.trust)
        self._lists_unsaved = False

    def _adopt(self, identity: Identity) -> None:
        """A new certificate: on disk first, then in use."""
        self._storage.save_identity(identity)
        self._identity = identity
        loop = asyncio.get_running_loop()
        self._node.credentials.adopt(identity, loop.time())
        loop.call_soon(self._pump.settle)

    def _save_records(self) -> None:
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        try:
            if self._lists_unsaved:
                self._save_lists()
            self._storage.save_records([record.encode() for record in self._node.records()])
            self._backend.failing = None
        except LocalError as error:
            self._cannot_save(error)

    def _cannot_save(self, error: LocalError) -> None:
        """Tell it, and try again: nothing else may need to be written for hours."""
        self._backend.failing = str(error)
        _log.error("%s", error)
        if self._saving is None:
            loop = asyncio.get_running_loop()
            self._saving = loop.call_later(SAVE_AGAIN, self._save_records)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _close(self) -> None:
        """Say goodbye, and keep what was learnt."""
        self._node.close(asyncio.get_running_loop().time())
        self._pump.settle()
        self._save_records()
        _log.info("%s is down", self._identity.name)

    def _cancel(self) -> None:
        """Wait for nothing any more."""
        if self._saving is not None:
            self._saving.cancel()
        for task in self._tasks:
            task.cancel()


def within(profile: GossipConfig, max_peers: int) -> GossipConfig:
    """`profile`, with no more neighbours than `max_peers`, and others known up to so many."""
    return replace(
        profile,
        full_view=min(profile.full_view, max_peers),
        active_view=min(profile.active_view, max_peers),
    )
