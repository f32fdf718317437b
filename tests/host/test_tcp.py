"""TCP sockets for streams."""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import ExitStack, closing

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
