"""TCP sockets for streams."""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
from contextlib import ExitStack, closing
from typing import Any

import pytest

from meshd.host import tcp
from meshd.node.errors import HostError
from tests.host.namespaces import UNPRIVILEGED, needs_root, python

TCP_NOTSENT_LOWAT = 25


def closed_in_the_end(stack: ExitStack, sockets: list[socket.socket]) -> list[socket.socket]:
    for sock in sockets:
        stack.enter_context(closing(sock))
    return sockets


def test_both_families_listen_on_one_port() -> None:
    with ExitStack() as stack:
        found = closed_in_the_end(stack, tcp.listen(0))
        assert [sock.family for sock in found] == [socket.AF_INET, socket.AF_INET6]
        assert len({sock.getsockname()[1] for sock in found}) == 1
        assert not any(sock.getblocking() for sock in found)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_one_address_listens_alone(address: str) -> None:
    with ExitStack() as stack:
        [found] = closed_in_the_end(stack, tcp.listen(0, address))
        assert found.getsockname()[0] == address


def test_a_taken_port_is_told() -> None:
    with ExitStack() as stack:
        found = closed_in_the_end(stack, tcp.listen(0))
        with pytest.raises(HostError, match=r"is taken, perhaps by a web server"):
            tcp.listen(found[0].getsockname()[1])


def test_an_address_that_is_not_ours_is_told() -> None:
    with pytest.raises(HostError, match=r"192\.0\.2\.1 is not an address of this host"):
        tcp.listen(0, "192.0.2.1")


@needs_root
def test_a_privileged_port_is_told() -> None:
    code = (
        "from meshd.host import tcp\nfrom meshd.node.errors import HostError\n"
        "import socket\n"
        f"{UNPRIVILEGED}\n"
        "try: tcp.listen(443)\nexcept HostError as e: print(e)\n"
    )
    told = python(
        code, "unshare", "-n", "sh", "-c",
        'echo 1024 > /proc/sys/net/ipv4/ip_unprivileged_port_start; exec "$@"', "sh",
    )  # fmt: skip
    assert "NET_BIND_SERVICE" in told


async def test_a_connection_keeps_little_waiting() -> None:
    with ExitStack() as stack:
        [listening] = closed_in_the_end(stack, tcp.listen(0, "127.0.0.1"))
        port = listening.getsockname()[1]
        sock = await tcp.connect("127.0.0.1", port, asyncio.get_running_loop())
        stack.enter_context(closing(sock))
        assert sock.getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT) == tcp.UNSENT
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == tcp.SILENCE_MS
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        buffer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert buffer <= 2 * tcp.SEND_BUFFER


async def test_nobody_there_is_an_error_and_leaves_no_socket() -> None:
    [listening] = tcp.listen(0, "127.0.0.1")
    port = listening.getsockname()[1]
    listening.close()
    with pytest.raises(ConnectionRefusedError):
        await tcp.connect("127.0.0.1", port, asyncio.get_running_loop())


@pytest.mark.parametrize(
    ("limits", "wanted", "granted", "set_to"),
    [
        ((1024, 1_048_576), 4096, 4096, 4608),
        ((1024, 2048), 4096, 1536, 2048),
        ((1024, resource.RLIM_INFINITY), 4096, 4096, 4608),
        ((8192, 8192), 4096, 4096, None),
        ((256, 256), 4096, 1, 256),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 4096, 4096, None),
    ],
)
def test_as_many_sockets_as_the_host_allows(
    limits: tuple[int, int],
    wanted: int,
    granted: int,
    set_to: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda which, value: asked.append(value))
    assert tcp.allow_sockets(wanted) == granted
    assert asked == ([] if set_to is None else [(set_to, limits[1])])


class Told(socket.socket):
    """A socket whose connection is said to be so."""

    def __init__(self, shortest: int, now: int, waiting: int = 1000, size: int = 152) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.tell(shortest, now, waiting, size)
        tcp.tune(self)

    def tell(self, shortest: int, now: int, waiting: int = 1000, size: int = 152) -> None:
        info = bytearray(152)
        for at, value in ((16, 1448), (24, waiting), (68, now), (148, shortest)):
            struct.pack_into("=I", info, at, value)
        self.info = bytes(info[:size])

    def getsockopt(self, level: int, option: int, *room: int) -> Any:
        if (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO):
            return self.info[: room[0]]
        return super().getsockopt(level, option, *room)

    @property
    def send_buffer(self) -> int:
        return super().getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2


def fitted(sock: Told, times: int = 1) -> int:
    with sock:
        for _ in range(times):
            tcp.fit(sock)
        return sock.send_buffer


@needs_root
def test_a_far_way_without_a_queue_gets_a_larger_send_buffer_and_no_end_of_it() -> None:
    far = 100_000
    assert fitted(Told(far, 110_000)) == pytest.approx(tcp.SEND_BUFFER * 130 / 110, rel=0.01)
    assert fitted(Told(far, far), 50) == pytest.approx(1448 * 1000 * tcp.ROOM, rel=0.01)
    assert fitted(Told(far, far, waiting=100_000), 50) == tcp.SEND_BUFFER_MAX
    assert fitted(Told(1000, 1000)) == pytest.approx(tcp.SEND_BUFFER * tcp.GROW, rel=0.01)


@needs_root
def test_what_waits_on_the_way_makes_the_send_buffer_smaller_down_to_the_least() -> None:
    sock = Told(100_000, 100_000)
    for _ in range(5):
        tcp.fit(sock)
    before = sock.send_buffer
    sock.tell(100_000, 160_000)
    tcp.fit(sock)
    assert sock.send_buffer == pytest.approx(before * 130 / 160, rel=0.01)
    sock.tell(10_000, 500_000)
    tcp.fit(sock)
    assert sock.send_buffer == pytest.approx(before * 130 / 160 * tcp.SHRINK, rel=0.01)
    assert fitted(sock, 20) == tcp.SEND_BUFFER


def test_a_larger_buffer_is_given_a_round_trip_and_what_waits_is_looked_at_at_once() -> None:
    with Told(100_000, 120_000) as sock:
        assert tcp.fit(sock) == pytest.approx(0.12)
        sock.tell(100_000, 140_000)
        assert tcp.fit(sock) == 0.0


def test_a_kernel_that_does_not_know_changes_nothing() -> None:
    least = Told(1000, 1000)
    with least:
        usual = least.send_buffer
    assert fitted(Told(1000, 1000, size=104)) == usual
    assert fitted(Told(0xFFFF_FFFF, 1000)) == usual
    assert fitted(Told(1000, 0)) == usual


async def test_a_real_connection_tells_its_round_trip() -> None:
    with ExitStack() as stack:
        [listening] = closed_in_the_end(stack, tcp.listen(0, "127.0.0.1"))
        port = listening.getsockname()[1]
        sock = await tcp.connect("127.0.0.1", port, asyncio.get_running_loop())
        stack.enter_context(closing(sock))
        assert 0 < tcp.fit(sock) < 1
