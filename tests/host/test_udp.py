from __future__ import annotations

import errno
import select
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from meshd.host import udp
from meshd.host.udp import UdpSockets
from meshd.node.errors import HostError
from tests.host.namespaces import UNPRIVILEGED, inside, namespace, needs_root, python, run

HEADER = b"h" * 16
IP_RECVTTL = 12
"""Of linux/in.h: not in the socket module."""
LOCAL = [pytest.param("127.0.0.1", id="ipv4"), pytest.param("::1", id="ipv6")]


@pytest.fixture
def sockets() -> Iterator[UdpSockets]:
    opened = UdpSockets.open(0)
    yield opened
    opened.close()


@pytest.fixture
def ns() -> Iterator[str]:
    with namespace() as name:
        yield name


def datagrams(count: int, size: int, last: int | None = None) -> list[bytes]:
    """[header, slice] per datagram; each slice starts with its number."""
    parts: list[bytes] = []
    for index in range(count):
        length = (last or size) if index == count - 1 else size
        parts += [HEADER, index.to_bytes(4, "big") + b"." * (length - 20)]
    return parts


def receive_all(sockets: UdpSockets, expected: int) -> list[bytes]:
    """`expected` datagrams, as they were sent, whatever batches they come in."""
    view = memoryview(bytearray(65_535))
    found: list[bytes] = []
    while len(found) < expected:
        ready = select.select(sockets.sockets, [], [], 2)[0]
        assert ready, f"{len(found)} of {expected} datagrams came"
        for sock in ready:
            while received := sockets.receive_into(sock, view):
                size, segment, source = received
                assert len(source) == 2
                found += [
                    bytes(view[at : min(at + segment, size)]) for at in range(0, size, segment)
                ]
    return found


def joined(parts: Sequence[bytes]) -> list[bytes]:
    return [parts[at] + parts[at + 1] for at in range(0, len(parts), 2)]


def test_both_families_share_one_port(sockets: UdpSockets) -> None:
    assert [sock.family for sock in sockets.sockets] == [socket.AF_INET, socket.AF_INET6]
    assert {sock.getsockname()[1] for sock in sockets.sockets} == {sockets.port}
    assert not any(sock.getblocking() for sock in sockets.sockets)


@needs_root
def test_this_kernel_has_everything(sockets: UdpSockets) -> None:
    assert sockets.gso_segments == 128
    assert sockets.gro
    assert sockets.missing == []
    for sock in sockets.sockets:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            assert sock.getsockopt(socket.SOL_SOCKET, option) == 2 * udp.BUFFER_SIZE
    assert sockets.sockets[0].getsockopt(socket.IPPROTO_IP, 10) == 3
    assert sockets.sockets[1].getsockopt(socket.IPPROTO_IPV6, 23) == 3


@pytest.mark.parametrize("host", LOCAL)
@pytest.mark.parametrize(
    ("count", "size", "last"),
    [(1, 1000, None), (45, 1440, 700), (46, 1440, 21), (66, 1000, None), (129, 100, 50)],
)
@pytest.mark.parametrize("want_gso", [True, False])
@pytest.mark.parametrize("want_gro", [True, False])
def test_a_batch_arrives_as_it_was_sent(
    host: str, count: int, size: int, last: int | None, want_gso: bool, want_gro: bool
) -> None:
    parts = datagrams(count, size, last)
    with closing(UdpSockets.open(0, want_gso=want_gso, want_gro=want_gro)) as sockets:
        assert sockets.send(parts, size, count, (host, sockets.port)) == 0
        assert receive_all(sockets, count) == joined(parts)
        data = memoryview(b"".join(parts))
        assert sockets.send_joined(data, size, (host, sockets.port)) == 0
        assert receive_all(sockets, count) == joined(parts)


def test_a_batch_is_one_send_and_one_receive(sockets: UdpSockets) -> None:
    parts = datagrams(45, 1440)
    assert sockets.send(parts, 1440, 45, ("127.0.0.1", sockets.port)) == 0
    view = memoryview(bytearray(65_535))
    size, segment, source = sockets.receive_into(sockets.sockets[0], view) or (0, 0, ("", 0))
    assert (size, segment) == (45 * 1440, 1440)
    assert source == ("127.0.0.1", sockets.port)


def test_datagrams_may_have_any_number_of_parts(sockets: UdpSockets) -> None:
    parts = [b"a", b"b", b"c"] * 200
    assert sockets.send(parts, 3, 200, ("::1", sockets.port), 3) == 0
    assert receive_all(sockets, 200) == [b"abc"] * 200


def test_nothing_waiting_is_none(sockets: UdpSockets) -> None:
    assert sockets.receive_into(sockets.sockets[0], memoryview(bytearray(100))) is None


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_family_can_be_missing(family: str) -> None:
    only_six = family == "ipv4"
    opened = UdpSockets.open(0, want_ipv4=not only_six, want_ipv6=only_six)
    with closing(opened) as sockets:
        assert len(sockets.sockets) == 1
        assert any(f"no {'IPv4' if only_six else 'IPv6'}" in text for text in sockets.missing)
        absent = "127.0.0.1" if only_six else "::1"
        assert sockets.send([b"x"], 1, 1, (absent, 9), 1) == errno.EAFNOSUPPORT


def test_no_family_at_all_is_an_error() -> None:
    with pytest.raises(HostError, match="neither IPv4 nor IPv6"):
        UdpSockets.open(0, want_ipv4=False, want_ipv6=False)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_taken_port_is_named_with_how_to_find_its_owner(family: socket.AddressFamily) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as other:
        if family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("", 0))
        port = other.getsockname()[1]
        with pytest.raises(HostError, match=rf"UDP port {port} is taken.*ss -ulpn.*listen_port"):
            UdpSockets.open(port)
    UdpSockets.open(port).close()


@needs_root
def test_a_privileged_port_is_told_in_one_sentence(ns: str) -> None:
    code = f"""
from meshd.host.udp import UdpSockets
{UNPRIVILEGED}
try:
    UdpSockets.open(443)
except Exception as error:
    print(type(error).__name__, error)
"""
    told = python(code, "ip", "netns", "exec", ns)
    assert told.startswith("HostError UDP port 443 may not be used")
    assert "NET_BIND_SERVICE" in told
    assert "\n" not in told


@needs_root
def test_small_buffers_are_told(ns: str) -> None:
    code = """
from meshd.host.udp import UdpSockets
sockets = UdpSockets.open(0, buffer_size=64 << 20)
print(*sockets.missing, sep="\\n")
"""
    told = python(code, "ip", "netns", "exec", ns, "setpriv", "--bounding-set=-net_admin")
    assert told.startswith("socket buffers are ")
    assert "net.core.rmem_max" in told


@needs_root
def test_without_a_loopback_interface_the_older_limit_is_assumed() -> None:
    with (
        namespace(loopback=False) as ns,
        closing(inside(ns, lambda: UdpSockets.open(0))) as sockets,
    ):
        assert sockets.gso_segments == 64
        assert sockets.send([b"x"], 1, 1, ("192.0.2.1", 9), 1) == errno.ENETUNREACH


class Refusing:
    """A socket that does as an older kernel would: batches fail with `code`."""

    def __init__(self, real: socket.socket, code: int) -> None:
        self.real = real
        self.code = code
        self.sends = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def sendmsg(self, parts: Sequence[bytes], option: Any, flags: int, address: Any) -> int:
        self.sends += 1
        if option:
            raise OSError(self.code, "refused")
        return self.real.sendmsg(parts, option, flags, address)


@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL])
def test_refused_batches_go_one_by_one(code: int) -> None:
    parts = datagrams(10, 500, 100)
    with closing(UdpSockets.open(0, want_ipv6=False)) as sockets:
        refusing = Refusing(sockets.sockets[0], code)
        sockets._ipv4 = refusing  # type: ignore[assignment]
        told = len(sockets.missing)
        for _ in range(2):
            assert sockets.send(parts, 500, 10, ("127.0.0.1", sockets.port)) == 0
            assert receive_all(sockets, 10) == joined(parts)
        sent = refusing.sends
        data = memoryview(b"".join(parts))
        assert sockets.send_joined(data, 500, ("127.0.0.1", sockets.port)) == 0
        assert receive_all(sockets, 10) == joined(parts)
    # only EIO says that no batch will ever pass
    assert sockets.gso_segments == (0 if code == errno.EIO else 128)
    assert len(sockets.missing) == told + (code == errno.EIO)
    assert sent == (21 if code == errno.EIO else 22)


@needs_root
@pytest.mark.parametrize("want_gso", [True, False])
def test_a_segment_larger_than_the_device_takes_is_said_not_fragmented(
    ns: str, want_gso: bool
) -> None:
    run("ip", "-n", ns, "link", "set", "lo", "mtu", "1400")
    with closing(inside(ns, lambda: UdpSockets.open(0, want_gso=want_gso))) as sockets:
        for host in ("127.0.0.1", "::1"):
            to = (host, sockets.port)
            assert sockets.send(datagrams(1, 1500), 1500, 1, to) == errno.EMSGSIZE
            assert sockets.send(datagrams(20, 1500), 1500, 20, to) == errno.EMSGSIZE
            assert sockets.send(datagrams(20, 1300), 1300, 20, to) == 0
            assert receive_all(sockets, 20) == joined(datagrams(20, 1300))


@needs_root
def test_a_full_socket_buffer_is_eagain_not_waiting(ns: str) -> None:
    shaping = ("root", "tbf", "rate", "8kbit", "burst", "70kb", "limit", "10mb")
    run("tc", "-n", ns, "qdisc", "add", "dev", "lo", *shaping)
    with closing(inside(ns, lambda: UdpSockets.open(0, buffer_size=65_536))) as sockets:
        to = ("127.0.0.1", sockets.port)
        codes = [sockets.send(datagrams(40, 1400), 1400, 40, to) for _ in range(20)]
    assert codes[0] == 0
    assert codes[-1] == errno.EAGAIN


def test_a_datagram_that_is_to_die_near_is_empty_and_has_few_hops(sockets: UdpSockets) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as far:
        far.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        far.bind(("127.0.0.1", 0))
        far.settimeout(2)
        sockets.send_near(("2001:db8::1", 443), 2)  # IPv6 has no NAT to open
        sockets.send_near(far.getsockname(), 2)
        data, ((_, _, hops),), _, source = far.recvmsg(100, 100)
        assert (data, int.from_bytes(hops, sys.byteorder), source[1]) == (b"", 2, sockets.port)
        assert sockets.send([b"a", b"b"], 2, 1, far.getsockname()) == 0
        _, ((_, _, hops),), _, _ = far.recvmsg(100, 100)
        assert int.from_bytes(hops, sys.byteorder) > 2


def test_segment_options_are_kept_but_not_without_bound(sockets: UdpSockets) -> None:
    for size in range(20, 220):
        assert sockets.send(datagrams(2, size), size, 2, ("127.0.0.1", sockets.port)) == 0
    assert len(sockets._options) <= 64


def test_one_address_alone_can_be_listened_on() -> None:
    with closing(UdpSockets.open(0, address="127.0.0.1")) as sockets:
        assert [sock.getsockname()[0] for sock in sockets.sockets] == ["127.0.0.1"]


def test_an_address_of_another_host_is_told_in_one_sentence() -> None:
    with pytest.raises(HostError, match=r"listen_address 203\.0\.113\.7 is not an address"):
        UdpSockets.open(0, address="203.0.113.7")
