"""The daemon on real loopback sockets and real files, with a TUN made of Python."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from gossip import GossipConfig
from meshd import enrol
from meshd.commands.client import DaemonClient
from meshd.config import Api, Config, Logging, Performance, Tun
from meshd.daemon import Daemon, run, within
from meshd.host.addresses import Attached
from meshd.host.priority import NOT_FIRST
from meshd.host.storage import Storage
from meshd.host.udp import UdpSockets
from meshd.node import outputs
from meshd.node.errors import HostError, LocalError
from meshd.node.identity import Identity
from meshd.node.invitation import decode_token
from meshd.node.pcp import Transport
from tests.devices import FakeTun
from tests.node.virtual import packet

LOOPBACK = "127.0.0.1"
PATIENCE = 20.0
CONFIG = Config(listen_port=0, listen_address=LOOPBACK, api=Api(listen=None))


@dataclass
class Kernel:
    """What the host would do: interfaces, addresses, routes."""

    tuns: dict[str, FakeTun] = field(default_factory=dict)
    configured: list[tuple[str, list[str], int]] = field(default_factory=list)
    routes: list[tuple[str, str, list[str]]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=lambda: [LOOPBACK])
    refuse_routes: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self, name: str, *, want_offloads: bool = True) -> FakeTun:
        self.tuns[name] = FakeTun(self.changed.set, name)
        return self.tuns[name]

    def attached(self) -> list[Attached]:
        return [Attached(address, 8, 1, True, False) for address in self.addresses]

    async def configure(self, name: str, addresses: list[str], mtu: int) -> list[str]:
        self.configured.append((name, addresses, mtu))
        return ["the queue is short"]

    async def add(self, name: str, prefixes: list[str]) -> list[str]:
        if self.refuse_routes:
            raise HostError("there is no interface")
        self.routes.append(("add", name, prefixes))
        self.changed.set()
        return []

    async def remove(self, name: str, prefixes: list[str]) -> None:
        self.routes.append(("remove", name, prefixes))
        self.changed.set()


@pytest.fixture
async def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr("meshd.daemon.Tun.open", kernel.open)
    monkeypatch.setattr("meshd.interface.netlink.configure_tun", kernel.configure)
    monkeypatch.setattr("meshd.interface.netlink.add_routes", kernel.add)
    monkeypatch.setattr("meshd.interface.netlink.remove_routes", kernel.remove)
    monkeypatch.setattr("meshd.surroundings.attached", kernel.attached)
    monkeypatch.setattr("meshd.daemon.log.setup", lambda *_: [])
    monkeypatch.setattr("meshd.daemon.gc.freeze", lambda: None)
    return kernel


class Running:
    """A daemon in this loop, and a client of its socket beside the loop."""

    def __init__(self, daemon: Daemon, socket_path: Path) -> None:
        self.daemon = daemon
        self._client = DaemonClient(socket_path)
        self.ended = asyncio.get_running_loop().create_task(daemon.serve())

    async def get(self, target: str) -> Any:
        return await asyncio.to_thread(self._client.get, target)

    async def post(self, target: str, **body: Any) -> Any:
        return await asyncio.to_thread(self._client.post, target, body)

    async def down(self) -> None:
        await self.post("/v1/down")
        await asyncio.wait_for(self.ended, PATIENCE)


@dataclass
class Place:
    """One host's directories."""

    root: Path
    kernel: Kernel

    @property
    def storage(self) -> Storage:
        return Storage(self.root / "certs", self.root / "state")

    @property
    def socket(self) -> Path:
        return self.root / "meshd.sock"

    def daemon(self, config: Config) -> Daemon:
        storage = self.storage
        config = replace(config, logging=Logging(auth_file=self.root / "auth.log"))
        return Daemon(config, storage, storage.load_identity(time.time()), self.socket)

    def init(self, name: str = "alpha") -> Identity:
        cidr = IPv4Network("100.64.0.0/16")
        return self.storage.create_mesh(name, "home", cidr, "aes256gcm", time.time(), os.urandom)

    @asynccontextmanager
    async def running(self, config: Config = CONFIG) -> AsyncIterator[Running]:
        """The daemon, up; ended at the end if it was not before."""
        running = Running(self.daemon(config), self.socket)
        try:
            await asyncio.sleep(0)
            await running.get("/v1/status")
            yield running
        finally:
            if not running.ended.done():
                running.ended.cancel()
                await asyncio.gather(running.ended, return_exceptions=True)


@pytest.fixture
def alpha(tmp_path: Path, kernel: Kernel) -> Place:
    place = Place(tmp_path / "alpha", kernel)
    place.root.mkdir()
    place.init()
    return place


async def until(changed: asyncio.Event, condition: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not condition():
            changed.clear()
            await changed.wait()

    await asyncio.wait_for(wait(), PATIENCE)


async def test_it_comes_up_answers_and_goes_down_leaving_nothing(
    alpha: Place, kernel: Kernel
) -> None:
    async with alpha.running(replace(CONFIG, tun=Tun("mesh7", 1380))) as up:
        status = await up.get("/v1/status")
        identity = up.daemon._identity
        assert status["self"]["name"] == "alpha"
        assert status["peers"] == []
        assert "the queue is short" in status["notices"]
        assert any("virtio header" in notice for notice in status["notices"])
        four, six = identity.certificate.addresses
        assert kernel.configured == [("mesh7", [f"{four}/16", f"{six}/64"], 1380)]
        assert up.daemon._node.state.local_endpoints == ((LOOPBACK, up.daemon._udp.port),)
        port = up.daemon._udp.port
        await up.down()
    assert kernel.tuns["mesh7"].closed
    assert not alpha.socket.exists()
    with socket.socket(type=socket.SOCK_DGRAM) as again:
        again.bind((LOOPBACK, port))


async def test_two_hosts_become_a_mesh(alpha: Place, kernel: Kernel, tmp_path: Path) -> None:
    beta = Place(tmp_path / "beta", kernel)
    beta.root.mkdir()
    async with alpha.running() as first:
        token = decode_token((await first.post("/v1/invite", lifetime=600))["token"])
        assert token.endpoints == ((LOOPBACK, first.daemon._udp.port),)
        assert beta.storage.state.exists() is False
        joined = await asyncio.to_thread(enrol.join, token, beta.storage, "beta", CONFIG)
        async with beta.running(replace(CONFIG, tun=Tun("beta0"))) as second:
            pong = await second.post("/v1/ping", peer="alpha", timeout=10)
            assert pong["pong"]["name"] == "alpha"
            ends = joined.certificate.address4, first.daemon._identity.certificate.address4
            data = packet(*ends, b"from beta")
            kernel.tuns["beta0"].give(data)
            await until(kernel.changed, lambda: kernel.tuns["aegis0"].written == [data])
            await second.down()
        (peer,) = (await first.get("/v1/status"))["peers"]
        assert (peer["name"], peer["state"], peer["path"]) == ("beta", "left", None)
        await first.down()
    assert len(alpha.storage.load_records()) == len(beta.storage.load_records()) == 5


async def test_one_is_renewed_and_then_revoked(
    alpha: Place, kernel: Kernel, tmp_path: Path
) -> None:
    beta = Place(tmp_path / "beta", kernel)
    beta.root.mkdir()
    async with alpha.running() as first:
        token = decode_token((await first.post("/v1/invite", lifetime=600))["token"])
        joined = await asyncio.to_thread(enrol.join, token, beta.storage, "beta", CONFIG)
        async with beta.running(replace(CONFIG, tun=Tun("beta0"))) as second:
            assert (await second.post("/v1/ping", peer="alpha", timeout=10))["pong"]
            renewed = await second.post("/v1/renew")
            assert renewed["serial"] != f"{joined.certificate.serial:016x}"
            held = beta.storage.load_identity(time.time()).certificate
            assert f"{held.serial:016x}" == renewed["serial"]
            own = await first.post("/v1/renew")
            assert own["name"] == "alpha"
            revoked = await first.post("/v1/revoke", node="beta")
            serials = [f"{item.serial:016x}" for item in (held, joined.certificate)]
            assert sorted(revoked["serials"]) == sorted([*serials, f"01{held.node.hex()}"])
            lists = second.daemon._node.credentials.lists
            for _ in range(200):
                if lists.revoked:
                    break
                await asyncio.sleep(0.02)
            (notice,) = [n for n in (await second.get("/v1/status"))["notices"] if "revoked" in n]
            assert "no member any more" in notice
            await second.down()
        await first.down()
    with pytest.raises(LocalError, match="was revoked"):
        beta.storage.load_identity(time.time())


async def test_a_list_that_cannot_be_saved_is_saved_later(
    alpha: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with alpha.running() as up:
        daemon = up.daemon
        storage, save = daemon._storage, daemon._storage.save_revocations
        full = LocalError("no space left on device")
        monkeypatch.setattr(storage, "save_revocations", raising(full))
        with pytest.raises(OSError, match="no space"):
            daemon._perform(outputs.PersistRevocations())
        assert daemon._backend.failing == str(full)
        monkeypatch.setattr(storage, "save_revocations", save)
        daemon._save_records()
        assert daemon._backend.failing is None
        assert (alpha.storage.state / "revocations").exists()
        monkeypatch.setattr(storage, "save_identity", raising(full))
        before = daemon._node.state.identity
        with pytest.raises(OSError, match="no space"):
            daemon._perform(outputs.PersistIdentity(replace(before, mesh_secret=bytes(32))))
        assert daemon._node.state.identity is before
        with pytest.raises(LocalError, match="no space left on device"):
            await asyncio.wait_for(daemon._backend.renew(), 10.0)  # at once, not when it gives up
        await up.down()


def raising(error: LocalError) -> Callable[..., None]:
    def work(*_: object) -> None:
        raise error

    return work


async def test_a_killed_daemon_goes_on_where_it_was(alpha: Place) -> None:
    async with alpha.running() as up:
        counted = up.daemon._node._handshakes.next_counter(0.0)
        up.daemon._pump.settle()
        (own,) = [r for r in up.daemon._node.records() if r.kind == 0]
    storage = alpha.storage
    assert storage.load_sequence(time.time()) > own.sequence
    assert storage.load_handshake_counter() >= counted
    async with alpha.running() as up:
        (later,) = [r for r in up.daemon._node.records() if r.kind == 0]
        assert later.sequence > own.sequence


async def test_a_disk_that_fails_shows_in_health_and_stops_what_rests_on_it(
    alpha: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with alpha.running() as up:
        daemon = up.daemon

        def refuse(*_: object) -> None:
            raise LocalError("cannot write /var/lib/aegisray: No space left on device")

        monkeypatch.setattr(daemon._storage, "save_handshake_counter", refuse)
        sent: list[object] = []
        monkeypatch.setattr(UdpSockets, "send", lambda _, *args: sent.append(args))
        daemon._node.state.outputs += [
            outputs.PersistCounter(1 << 62),
            outputs.SendDatagram(b"x", (LOOPBACK, 9)),
        ]
        daemon._pump.settle()
        assert sent == []
        assert daemon._backend.health() == (
            False,
            "cannot write /var/lib/aegisray: No space left on device",
        )
        daemon._save_records()
        assert daemon._backend.health() == (True, "healthy")


async def test_a_disk_that_failed_is_tried_again_without_being_asked(
    alpha: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    healthy = asyncio.Event()

    def refuse_twice(_: object) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise LocalError("cannot write /var/lib/aegisray: No space left on device")
        healthy.set()

    async with alpha.running() as up:
        daemon = up.daemon
        daemon._save_records()
        monkeypatch.setattr("meshd.daemon.SAVE_AGAIN", 0.0)
        monkeypatch.setattr(daemon._storage, "save_records", refuse_twice)
        daemon._save_records()
        assert daemon._backend.health()[0] is False
        await asyncio.wait_for(healthy.wait(), 10.0)
        assert daemon._backend.health() == (True, "healthy")


async def test_a_tun_that_is_taken_away_ends_it_with_the_reason(
    alpha: Place, kernel: Kernel
) -> None:
    async with alpha.running() as up:
        kernel.tuns["aegis0"].vanish()
        with pytest.raises(HostError, match="the interface aegis0 is gone"):
            await asyncio.wait_for(up.ended, PATIENCE)
    assert kernel.tuns["aegis0"].closed
    assert not alpha.socket.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_stop_it_in_order(alpha: Place, number: int) -> None:
    async with alpha.running() as up:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(up.ended, PATIENCE)
    assert len(alpha.storage.load_records()) == 3


async def test_a_taken_api_port_is_an_error_before_any_peer_can_notice(
    alpha: Place, kernel: Kernel
) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        config = replace(CONFIG, api=Api(listen=taken.getsockname()))
        with pytest.raises(HostError):
            await alpha.daemon(config).serve()
    assert kernel.tuns == {}
    assert not alpha.socket.exists()


@pytest.mark.parametrize("taken", [True, False])
async def test_a_tcp_port_is_forwarded_only_if_it_listens(alpha: Place, taken: bool) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        if not taken:
            other.close()
        async with alpha.running(replace(CONFIG, listen_port=port)) as running:
            ports = dict(running.daemon._forwarding.ports)
            notices = (await running.get("/v1/status"))["notices"]
    assert ports == {Transport.UDP: port} | ({} if taken else {Transport.TCP: port})
    assert any(f"TCP port {port} is taken" in notice for notice in notices) == taken


async def test_what_was_opened_is_closed_when_something_later_fails(
    alpha: Place, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> list[str]:
        raise HostError("the interface aegis0 cannot be configured")

    monkeypatch.setattr("meshd.interface.netlink.configure_tun", refused)
    config = replace(CONFIG, api=Api(listen=(LOOPBACK, 0)))
    with pytest.raises(HostError):
        await alpha.daemon(config).serve()
    assert kernel.tuns["aegis0"].closed
    assert not alpha.socket.exists()


async def test_a_second_daemon_on_the_same_socket_is_refused(alpha: Place) -> None:
    async with alpha.running() as first:
        with pytest.raises(LocalError, match=str(alpha.socket)):
            await alpha.daemon(CONFIG).serve()
        assert (await first.get("/v1/status"))["self"]["name"] == "alpha"


async def test_roles_that_the_certificate_lacks_are_noticed(alpha: Place) -> None:
    async with alpha.running(replace(CONFIG, node_type="relay")) as up:
        notices = (await up.get("/v1/status"))["notices"]
        assert any("meshd invite --role relay" in notice for notice in notices)


async def test_the_kernels_routes_follow_those_on_offer(alpha: Place, kernel: Kernel) -> None:
    async with alpha.running() as up:
        perform = up.daemon._perform
        perform(outputs.RoutesChanged(("10.0.0.0/8", "fd00::/8")))
        await until(kernel.changed, lambda: len(kernel.routes) >= 2)
        assert kernel.routes[-1] == ("add", "aegis0", ["10.0.0.0/8", "fd00::/8"])
        perform(outputs.RoutesChanged(("10.0.0.0/8",)))
        perform(outputs.RoutesChanged(("10.0.0.0/8", "11.0.0.0/8")))
        await until(kernel.changed, lambda: len(kernel.routes) >= 4)
        assert kernel.routes[-2:] == [
            ("remove", "aegis0", ["fd00::/8"]),
            ("add", "aegis0", ["11.0.0.0/8"]),
        ]


async def test_routes_that_are_refused_are_told_and_not_fatal(
    alpha: Place, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[tuple[object, ...]] = []

    def warn(*words: object) -> None:
        warnings.append(words)
        kernel.changed.set()

    async with alpha.running() as up:
        monkeypatch.setattr("meshd.daemon._log.warning", warn)
        kernel.refuse_routes = True
        up.daemon._perform(outputs.RoutesChanged(("10.0.0.0/8",)))
        await until(kernel.changed, lambda: bool(warnings))
        assert warnings == [("%s", "there is no interface")]
        assert (await up.get("/v1/status"))["self"]["name"] == "alpha"


async def test_failures_to_authenticate_are_logged_with_proven_addresses_only(
    alpha: Place,
) -> None:
    file = alpha.root / "auth.log"
    async with alpha.running() as up:
        perform = up.daemon._perform
        perform(outputs.AuthFailure("certificate-expired", None))
        perform(outputs.AuthFailure("invitation-used", ("192.0.2.7", 5)))
        perform(outputs.AuthFailure("handshake-static", None))
    lines = file.read_text().splitlines()
    assert len(lines) == 3
    assert "192.0.2.7" not in lines[0] + lines[2]
    assert lines[1].endswith("(invitation-used) from 192.0.2.7")
    assert len({line.split(": ", 1)[1].split(" (")[0] for line in lines}) == 3


async def test_damaged_state_is_set_aside_told_and_made_again(alpha: Place) -> None:
    async with alpha.running() as up:
        await up.down()
    (alpha.root / "state" / "records").write_bytes(b"damaged")
    (alpha.root / "state" / "sequence").write_bytes(b"damaged")
    async with alpha.running() as up:
        notices = (await up.get("/v1/status"))["notices"]
        assert sum("damaged" in notice for notice in notices) == 2
        assert len(up.daemon._node.records()) == 3


def test_run_holds_the_state_and_loads_the_identity(
    alpha: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []

    async def serve(daemon: Daemon) -> None:
        served.append(daemon._identity.name)
        told.extend(daemon._notices)

    def run_first() -> bool:
        served.append("first")
        return len(served) < 3

    told: list[str] = []
    monkeypatch.setattr(Daemon, "serve", serve)
    monkeypatch.setattr("meshd.daemon.run_first", run_first)
    storage = alpha.storage
    assert run(CONFIG, storage, alpha.socket) == 0
    assert served == ["alpha"]
    ahead = replace(CONFIG, performance=Performance(realtime=True))
    storage.unlock()
    assert run(ahead, storage, alpha.socket) == 0
    assert served == ["alpha", "first", "alpha"]
    assert not told
    storage.unlock()
    assert run(ahead, storage, alpha.socket) == 0
    assert told == [NOT_FIRST]
    with pytest.raises(LocalError, match="another meshd"):
        run(CONFIG, alpha.storage, alpha.socket)
    storage.unlock()


def test_run_without_a_sound_identity_says_what_is_wrong(alpha: Place) -> None:
    (alpha.root / "certs" / "node.key").chmod(0o644)
    storage = alpha.storage
    with pytest.raises(LocalError, match=r"node\.key"):
        run(CONFIG, storage, alpha.socket)
    storage.unlock()


def test_max_peers_bounds_neighbours_and_whom_all_know() -> None:
    small, usual = within(GossipConfig.lan(), 4), within(GossipConfig.wan(), 1024)
    assert (small.full_view, small.active_view) == (4, 4)
    assert (usual.full_view, usual.active_view) == (1024, 24)
    assert within(GossipConfig.lan(), 65_535) == GossipConfig.lan()
