"""`meshd join` over the loopback interface, from the token to the files."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Network
from pathlib import Path
from random import Random
from typing import Any

import pytest

from meshd import enrol
from meshd.config import Config, Network
from meshd.host.storage import Storage
from meshd.host.udp import UdpSockets
from meshd.node import outputs
from meshd.node.errors import HostError, LocalError
from meshd.node.grants import Grants
from meshd.node.identity import join as assemble_joined
from meshd.node.invitation import Token, invite
from meshd.node.joining import Joiner
from meshd.node.node import Node
from meshd.node.outputs import Output
from meshd.node.wire import Endpoint
from meshd.pump import Pump
from meshd.streaming import Streaming
from tests.devices import FakeTun
from tests.node.virtual import CONFIG

LOOPBACK = "127.0.0.1"


class Inviter:
    """A node on a loopback port, with its files."""

    def __init__(self, directory: Path) -> None:
        loop, now = asyncio.get_running_loop(), time.time()
        self.storage = Storage(directory / "certs", directory / "state")
        cidr = IPv4Network("100.64.0.0/16")
        self.identity = self.storage.create_mesh(
            "alpha", "home", cidr, "aes256gcm", now, os.urandom
        )
        rng = Random(1)
        self.node = Node(self.identity, CONFIG, rng, os.urandom, loop.time(), now)
        self.udp = UdpSockets.open(0)
        self.tun = FakeTun(lambda: None)
        self.pump = Pump(self.node, self.tun, self.udp, self.perform, lambda _: None)
        self.endpoint = (LOOPBACK, self.udp.port)
        self.node.places.set_local([self.endpoint], loop.time())
        self.pump.start()

    def perform(self, output: Output) -> None:
        match output:
            case outputs.PersistInvitation(invitation):
                self.storage.save_invitation(invitation, time.time())
            case outputs.PersistLedger():
                assert self.identity.issuer is not None
                self.storage.save_ledger(self.identity.issuer)
            case _:
                pass

    def invite(self, *endpoints: tuple[str, int]) -> Token:
        token, invitation = invite(
            self.identity.mesh.mesh_id,
            self.identity.static_public,
            Grants(),
            endpoints or (self.endpoint,),
            time.time(),
            600.0,
            os.urandom,
        )
        self.node.add_invitation(invitation)
        return token

    def close(self) -> None:
        self.pump.stop()
        self.tun.close()
        self.udp.close()


@pytest.fixture
async def inviter(tmp_path: Path) -> AsyncIterator[Inviter]:
    inviter = Inviter(tmp_path / "alpha")
    yield inviter
    inviter.close()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "certs", tmp_path / "state")


async def join(token: Token, storage: Storage, name: str | None = "beta") -> str:
    """`enrol.join` beside the loop; the name that was given."""
    identity = await asyncio.to_thread(enrol.join, token, storage, name, Config(node_name="gamma"))
    return identity.name


async def test_a_token_becomes_files_that_load(inviter: Inviter, storage: Storage) -> None:
    assert await join(inviter.invite(), storage) == "beta"
    identity = storage.load_identity(time.time())
    assert identity.mesh == inviter.identity.mesh
    assert identity.mesh_secret == inviter.identity.mesh_secret
    assert len(storage.load_records()) == 2
    (used,) = inviter.storage.invitations()
    assert used.used_by == identity.id


async def test_without_a_name_the_configuration_gives_one(
    inviter: Inviter, storage: Storage
) -> None:
    assert await join(inviter.invite(), storage, None) == "gamma"


async def test_the_first_endpoint_that_answers_will_do(inviter: Inviter, storage: Storage) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as deaf:
        deaf.bind((LOOPBACK, 0))
        token = inviter.invite(deaf.getsockname(), ("::1", 9), inviter.endpoint)
        assert await join(token, storage) == "beta"


async def nowhere(after: float, found: Callable[[list[Endpoint]], None]) -> None:
    """A LAN on which nobody is."""


async def test_an_inviter_that_has_moved_is_found_on_the_lan(
    inviter: Inviter, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as deaf, socket.socket(type=socket.SOCK_DGRAM) as x:
        for sock in (deaf, x):
            sock.bind((LOOPBACK, 0))

        async def search(after: float, found: Callable[[list[Endpoint]], None]) -> None:
            assert after == enrol.SEARCH_AFTER
            found([x.getsockname(), inviter.endpoint])

        monkeypatch.setattr(enrol, "search", search)
        assert await join(inviter.invite(deaf.getsockname()), storage) == "beta"
        assert x.recv(2000)


async def test_a_search_ends_with_the_answer(
    inviter: Inviter, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    async def search(after: float, found: Callable[[list[Endpoint]], None]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    monkeypatch.setattr(enrol, "search", search)
    await join(inviter.invite(), storage)
    assert ended == [True]


async def test_who_does_not_want_the_lan_searched_has_it_not(
    inviter: Inviter, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("searched")

    monkeypatch.setattr(enrol, "search", refuse)
    config = Config(network=Network(lan_discovery=False))
    await asyncio.to_thread(enrol.join, inviter.invite(), storage, "beta", config)


async def test_a_used_token_is_refused_and_nothing_is_saved(
    inviter: Inviter, storage: Storage, tmp_path: Path
) -> None:
    token = inviter.invite()
    await join(token, storage)
    late = Storage(tmp_path / "late" / "certs", tmp_path / "late" / "state")
    with pytest.raises(LocalError, match="the inviter refused: this invitation was used"):
        await join(token, late)
    assert not late.is_member()


async def test_a_join_that_broke_off_is_repeated_with_the_same_key(
    inviter: Inviter, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = inviter.invite()
    with monkeypatch.context() as broken:
        broken.setattr(Storage, "save_enrolment", _crash)
        with pytest.raises(KeyboardInterrupt):
            await join(token, storage)
    assert not storage.is_member()
    assert await join(token, storage) == "beta"
    assert storage.is_member()


def _crash(*_: object) -> None:
    raise KeyboardInterrupt


async def test_who_is_a_member_already_is_told_so(inviter: Inviter, storage: Storage) -> None:
    await join(inviter.invite(), storage)
    with pytest.raises(LocalError, match="this host is in a mesh already"):
        await join(inviter.invite(), storage)


async def test_an_answer_that_cannot_be_trusted_is_not_saved(
    inviter: Inviter, storage: Storage
) -> None:
    late = time.time() + 365 * 86_400
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "meshd.enrol.assemble_joined",
            lambda key, mesh_id, reply, _: assemble_joined(key, mesh_id, reply, late),
        )
        with pytest.raises(LocalError, match=r"cannot be trusted \(certificate-expired\): check"):
            await join(inviter.invite(), storage)
    assert not storage.is_member()


def test_when_nobody_answers_the_person_learns_where_it_was_tried(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrol, "DEADLINE", 0.05)
    monkeypatch.setattr(enrol, "search", nowhere)
    with socket.socket(type=socket.SOCK_DGRAM) as deaf:
        deaf.bind((LOOPBACK, 0))
        endpoint = deaf.getsockname()
        token = Token(bytes(16), b"\x09" + bytes(31), bytes(16), 1 << 31, (endpoint, ("::1", 9)))
        with pytest.raises(LocalError) as caught:
            enrol.join(token, storage, "beta", Config())
        assert f"nobody answered at {LOOPBACK}:{endpoint[1]}, [::1]:9" in str(caught.value)
        assert "meshd up" in str(caught.value)
        assert deaf.recv(2000)
    assert token.secret.hex() not in str(caught.value)


def test_whatever_else_arrives_is_no_answer(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrol, "DEADLINE", 0.1)
    with socket.socket(type=socket.SOCK_DGRAM) as liar:
        liar.bind((LOOPBACK, 0))
        receive, send = enrol._receive, enrol._send
        heard = []

        def lie(sock: socket.socket, payload: bytes, endpoint: tuple[str, int]) -> None:
            send(sock, payload, endpoint)
            _, source = liar.recvfrom(2000)
            for kind in range(7):
                liar.sendto(bytes((kind,)) * 1200, source)
                liar.sendto(bytes((kind,)) * 64, source)
            liar.sendto(b"", source)

        def hear(sock: socket.socket, joiner: Joiner) -> None:
            heard.append(joiner.answered)
            receive(sock, joiner)

        monkeypatch.setattr(enrol, "_send", lie)
        monkeypatch.setattr(enrol, "_receive", hear)
        token = Token(bytes(16), b"\x09" + bytes(31), bytes(16), 1 << 31, (liar.getsockname(),))
        with pytest.raises(LocalError, match="nobody answered"):
            enrol.join(token, storage, "beta", Config())
    assert heard
    assert not any(heard)


def test_an_expired_token_is_refused_before_anything_is_made(storage: Storage) -> None:
    token = Token(bytes(16), bytes(32), bytes(16), 1000, ((LOOPBACK, 9),))
    with pytest.raises(LocalError, match="this invitation expired"):
        enrol.join(token, storage, "beta", Config())
    assert not storage.certs.exists()


def test_a_host_without_ip_says_so(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def refuse(family: int = -1, kind: int = -1, *rest: Any) -> socket.socket:
        if kind & socket.SOCK_DGRAM and kind != -1:
            raise OSError("no such family")
        return real(family, kind, *rest)

    monkeypatch.setattr("meshd.enrol.socket.socket", refuse)
    token = Token(bytes(16), b"\x09" + bytes(31), bytes(16), 1 << 31, ((LOOPBACK, 9),))
    with pytest.raises(HostError, match="neither IPv4 nor IPv6"):
        enrol.join(token, storage, "beta", Config())


async def test_where_udp_is_blocked_a_stream_brings_the_joiner_in(
    inviter: Inviter, storage: Storage, tmp_path: Path
) -> None:
    config = Config(listen_address=LOOPBACK)
    identity, state = inviter.identity, inviter.storage.state
    streaming = Streaming(config, 0, identity.mesh_secret, identity.mesh.mesh_id, state)
    streaming.serve(inviter.node, inviter.pump)
    # A UDP port of the same number on which nobody answers.
    with socket.socket(type=socket.SOCK_DGRAM) as deaf:
        deaf.bind((LOOPBACK, streaming.host.port))
        token = inviter.invite((LOOPBACK, streaming.host.port))
        assert await join(token, storage) == "beta"
    assert streaming.figures().refused == 0
    await streaming.stop()
