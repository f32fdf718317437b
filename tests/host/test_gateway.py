from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from meshd.host import gateway
from meshd.host.gateway import Announcements, Gateway, GatewaySocket, gateways
from meshd.node.pcp import ANNOUNCEMENTS, PORT
from tests.host.namespaces import inside, namespace, needs_root, run

HERE = f"127.5.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}"
"""A loopback address that no other test uses."""


@pytest.fixture
def ns() -> Iterator[str]:
    with namespace() as name:
        run("ip", "-n", name, "link", "add", "v0", "type", "veth", "peer", "v1")
        for device in ("v0", "v1"):
            run("ip", "-n", name, "link", "set", device, "up")
        yield name


def ip(ns: str, *arguments: str) -> None:
    run("ip", "-n", ns, *arguments)


@needs_root
def test_default_gateways_are_found_the_nearest_first(ns: str) -> None:
    assert inside(ns, gateways) == []
    ip(ns, "address", "add", "192.168.7.10/24", "dev", "v0")
    ip(ns, "route", "add", "default", "via", "192.168.7.2", "metric", "200")
    ip(ns, "route", "add", "default", "via", "192.168.7.1", "metric", "100")
    ip(ns, "route", "add", "default", "via", "192.168.7.3", "metric", "300")
    ip(ns, "route", "add", "10.0.0.0/8", "via", "192.168.7.9")
    assert inside(ns, gateways) == [
        Gateway("192.168.7.1", "v0", "192.168.7.10"),
        Gateway("192.168.7.2", "v0", "192.168.7.10"),
    ]


@needs_root
def test_a_default_route_without_a_gateway_is_none(ns: str) -> None:
    ip(ns, "address", "add", "192.168.7.10/24", "dev", "v0")
    ip(ns, "route", "add", "default", "dev", "v0")
    assert inside(ns, gateways) == []


@needs_root
def test_an_ipv6_gateway_is_known_by_its_link_and_we_by_our_global_address(ns: str) -> None:
    ip(ns, "address", "add", "2001:db8:7::10/64", "dev", "v0", "nodad")
    ip(ns, "route", "add", "default", "via", "fe80::1", "dev", "v0")
    found = inside(ns, gateways)
    assert found == [Gateway("fe80::1", "v0", "2001:db8:7::10")]
    with closing(inside(ns, lambda: GatewaySocket(found[0]))) as asking:
        assert asking.sock.getsockname()[0] == "2001:db8:7::10"
        assert asking.sock.getpeername()[:2] == ("fe80::1", PORT)


@needs_root
def test_without_an_address_that_others_know_there_is_no_ipv6_gateway(ns: str) -> None:
    ip(ns, "route", "add", "default", "via", "fe80::1", "dev", "v0")
    assert inside(ns, gateways) == []


def test_a_kernel_without_a_family_has_no_gateways(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_ROUTES4", "_ROUTES6"):
        monkeypatch.setattr(gateway, name, Path("/no/such/file"))
    assert gateways() == []


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((HERE, PORT))
        made.settimeout(2)
        yield made


def test_only_the_gateway_is_heard(server: socket.socket) -> None:
    with closing(GatewaySocket(Gateway(HERE, "lo", "127.0.0.1"))) as asking:
        heard: list[tuple[bytes, tuple[str, int]]] = []
        asking.send(b"question")
        data, client = server.recvfrom(100)
        assert (data, client[0]) == (b"question", "127.0.0.1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"lie", client)
        for number in range(20):
            server.sendto(b"answer %d" % number, client)
        asking.read(lambda data, source: heard.append((data, source)))
        assert len(heard) == 16
        asking.read(lambda data, source: heard.append((data, source)))
        assert heard == [(b"answer %d" % number, (HERE, PORT)) for number in range(20)]


def test_a_gateway_where_nobody_listens_is_no_error() -> None:
    with closing(GatewaySocket(Gateway(HERE, "lo", "127.0.0.1"))) as asking:
        for _ in range(3):
            asking.send(b"question")
            asking.read(lambda data, source: pytest.fail("nobody answers"))


def test_an_address_that_is_gone_is_told() -> None:
    with pytest.raises(OSError, match="assign"):
        GatewaySocket(Gateway(HERE, "lo", "192.0.2.77"))


@needs_root
def test_announcements_to_everyone_are_heard_by_all_programs_that_listen(ns: str) -> None:
    ip(ns, "address", "add", "192.168.7.10/24", "dev", "v0")
    ip(ns, "address", "add", "192.168.7.1/24", "dev", "v1")

    def announced() -> list[bytes]:
        heard: list[bytes] = []
        with closing(Announcements()) as one, closing(Announcements()) as other:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
                index = socket.if_nametoindex("v0")
                interface = socket.inet_aton("224.0.0.1") + bytes(4) + index.to_bytes(4, "little")
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
                sender.sendto(b"restarted", ANNOUNCEMENTS)
            for listening in (one, other):
                listening.read(lambda data, source: heard.append(data))
        return heard

    assert inside(ns, announced) == [b"restarted"] * 2
