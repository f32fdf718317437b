from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.host.tun import FEATURES, Tun
from meshd.node.errors import HostError
from meshd.node.segmentation import split
from tests.host.namespaces import UNPRIVILEGED, inside, namespace, needs_root, python, run
from tests.host.packets import TCP, UDP, Super, checksum, is_sound
from tests.properties.test_segmentation_properties import super_packets

pytestmark = needs_root

OPEN = """
from meshd.host.tun import Tun
try:
    Tun.open({!r})
except Exception as error:
    print(type(error).__name__, error)
"""


@contextmanager
def opened(ns: str, name: str, **options: object) -> Iterator[Tun]:
    tun = inside(ns, lambda: Tun.open(name, **options))  # type: ignore[arg-type]
    try:
        yield tun
    finally:
        tun.close()


def waiting(tun: Tun, seconds: float = 0) -> bytes | None:
    """The next packet as the device gives it, without the kernel's own IPv6 multicast chatter."""
    buffer = bytearray(70_000)
    while select.select([tun.fd], [], [], seconds)[0]:
        size = tun.read_into(memoryview(buffer)) or 0
        packet = buffer[10 if tun.vnet_header else 0 : size]
        if packet[0] >> 4 == 4 or packet[24] != 0xFF:
            return bytes(buffer[:size])
    return None


def read(tun: Tun) -> bytes:
    """The next packet; fails if none comes."""
    packet = waiting(tun, 2.0)
    assert packet, "no packet came"
    return packet


def configure(ns: str, tun: Tun, *addresses: str, mtu: int = 1500) -> None:
    for setting in ("ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"):
        inside(ns, lambda path=setting: sysctl(path, "0"))  # type: ignore[misc]
    for address in addresses:
        run("ip", "-n", ns, "address", "add", address, "dev", tun.name, "nodad")
    run("ip", "-n", ns, "link", "set", tun.name, "mtu", str(mtu), "addrgenmode", "none", "up")


def sysctl(path: str, value: str) -> None:
    with open(f"/proc/sys/net/{path}", "w") as file:
        file.write(value)


def test_every_offload_of_this_kernel_is_found() -> None:
    with namespace() as ns, opened(ns, "t0") as tun:
        assert tun.name == "t0"
        assert tun.vnet_header
        assert tun.offloads == ("csum", "tso4", "tso6", "uso")
        assert tun.missing == []
        assert "vnet_hdr on" in run("ip", "-n", ns, "-d", "link", "show", "t0")


@pytest.mark.parametrize(
    ("without", "offloads"),
    [
        (("uso",), ("csum", "tso4", "tso6")),
        (("tso4",), ("csum", "tso6", "uso")),
        (("tso6", "uso"), ("csum", "tso4")),
        (("csum",), ()),
        (("vnet",), ()),
    ],
)
def test_each_feature_can_be_missing_and_is_told(
    without: tuple[str, ...], offloads: tuple[str, ...]
) -> None:
    with namespace() as ns, opened(ns, "t0", without=without) as tun:
        assert tun.offloads == offloads
        assert tun.vnet_header == ("vnet" not in without)
        assert tun.missing
        assert all(len(sentence) > 30 for sentence in tun.missing)


def test_a_kernel_that_refuses_an_offload_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.ioctl

    def without_uso(fd: int, request: int, argument: Any) -> Any:
        if request == 0x400454D0 and argument & 0x60:
            raise OSError(22, "Invalid argument")
        return real(fd, request, argument)

    monkeypatch.setattr(fcntl, "ioctl", without_uso)
    with namespace() as ns, opened(ns, "t0") as tun:
        assert tun.offloads == ("csum", "tso4", "tso6")
        assert "USO" in tun.missing[0]


def test_all_offloads_can_be_off() -> None:
    with namespace() as ns, opened(ns, "t0", want_offloads=False) as tun:
        assert tun.vnet_header
        assert tun.offloads == ()
        assert len(tun.missing) == len(FEATURES) - 1


def test_reading_an_idle_device_returns_nothing() -> None:
    with namespace() as ns, opened(ns, "t0") as tun:
        assert tun.read_into(memoryview(bytearray(70_000))) is None


@pytest.mark.parametrize("without", [(), ("vnet",)])
def test_a_bare_packet_arrives_whatever_the_devices_form(without: tuple[str, ...]) -> None:
    with namespace() as ns, opened(ns, "t0", without=without) as tun:
        configure(ns, tun, "10.2.0.9/24")
        sock = inside(ns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with sock:
            sock.bind(("10.2.0.9", 5000))
            sock.settimeout(2)
            packet = split(*Super(b"hello", 0, protocol=UDP, source="10.2.0.1").build())[0]
            assert tun.write_bare(packet)
            assert sock.recv(100) == b"hello"
            sock.sendto(b"answer", ("10.2.0.1", 7))
            assert read(tun)[28 if without else 38 :] == b"answer"


def test_a_refused_packet_is_reported_and_the_reason_kept() -> None:
    with namespace() as ns, opened(ns, "t0") as tun:
        packet = bytes(10) + Super(b"", 0, protocol=UDP).build()[1]
        assert not tun.write(packet)  # the interface is down
        assert tun.last_error == 5
        configure(ns, tun, "10.2.0.9/24")
        assert tun.write(packet)
        assert not tun.write(b"\0" * 5)
        assert not tun.write(b"\x01\x01" + b"\xff" * 8 + packet[10:])
        assert not tun.write_bare(b"\x95" * 40)
        assert tun.last_error == 22


def test_a_removed_interface_is_an_error_not_silence() -> None:
    with namespace() as ns, opened(ns, "t0") as tun:
        run("ip", "-n", ns, "link", "del", "t0")
        with pytest.raises(OSError, match="bad state") as refused:
            tun.read_into(memoryview(bytearray(100)))
        assert "t0 is gone (File descriptor in bad state)" in str(tun.gone(refused.value))


def test_closing_removes_the_interface_and_may_be_repeated() -> None:
    with namespace() as ns:
        tun = inside(ns, lambda: Tun.open("t0"))
        tun.close()
        tun.close()
        assert "t0" not in run("ip", "-n", ns, "link")


@pytest.mark.parametrize("name", ["", "a" * 16, "a b", "a/b", "tun%d", "é", "..", "a\n"])
def test_impossible_names_are_refused_at_once(name: str) -> None:
    with pytest.raises(HostError, match="cannot be an interface name"):
        Tun.open(name)


def test_a_name_in_use_is_named() -> None:
    with namespace() as ns, opened(ns, "t0"):
        with pytest.raises(HostError, match=r"t0 is in use by another program"):
            inside(ns, lambda: Tun.open("t0"))
        run("ip", "-n", ns, "link", "add", "d0", "type", "veth", "peer", "d1")
        with pytest.raises(HostError, match=r"d0 belongs to an interface that is not a TUN"):
            inside(ns, lambda: Tun.open("d0"))


def test_a_prepared_interface_needs_no_capability() -> None:
    with namespace() as ns:
        run("ip", "-n", ns, "tuntap", "add", "p0", "mode", "tun", "user", "0")
        code = "from meshd.host.tun import Tun\nt = Tun.open('p0')\nprint(t.name, *t.offloads)"
        shown = python(code, "ip", "netns", "exec", ns, "setpriv", "--bounding-set=-net_admin")
        assert shown == "p0 csum tso4 tso6 uso"
        assert "p0" in run("ip", "-n", ns, "link")


def test_no_net_admin_is_told_in_one_sentence() -> None:
    with namespace() as ns:
        wrapper = ("ip", "netns", "exec", ns, "setpriv", "--bounding-set=-net_admin")
        told = python(OPEN.format("t0"), *wrapper)
    assert told.startswith("HostError the interface t0 may not be created")
    assert "NET_ADMIN" in told
    assert "\n" not in told


def test_no_device_file_is_told_in_one_sentence() -> None:
    hide = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net; exec "$@"', "sh")
    told = python(OPEN.format("t0"), *hide)
    assert told.startswith("HostError there is no /dev/net/tun")
    assert "modprobe tun" in told
    assert "\n" not in told


def test_a_forbidden_device_file_is_told_in_one_sentence() -> None:
    hide = (
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs none /dev/net; touch /dev/net/tun; chmod 0 /dev/net/tun; exec "$@"',
        "sh",
    )
    told = python(f"import meshd.host.tun\n{UNPRIVILEGED}\n" + OPEN.format("t0"), *hide)
    assert told.startswith("HostError /dev/net/tun may not be opened")


@pytest.fixture(scope="module")
def router() -> Iterator[tuple[Tun, Tun]]:
    """A kernel that forwards from a TUN with offloads to one without: it must cut by itself."""
    with (
        namespace() as ns,
        opened(ns, "in0") as source,
        opened(ns, "out0", want_offloads=False) as target,
    ):
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            inside(ns, lambda path=path: sysctl(path, "1"))  # type: ignore[misc]
        configure(ns, source, "10.1.0.1/24", "fd01::1/64", mtu=65_535)
        configure(ns, target, "10.2.0.1/24", "fd02::1/64", mtu=9000)
        yield source, target


def without_hop_count(packet: bytes) -> bytes:
    """The packet as any router passes it on: without TTL and IPv4 header checksum."""
    if packet[0] >> 4 == 6:
        return packet[:7] + b"\0" + packet[8:]
    return packet[:8] + b"\0" + packet[9:10] + b"\0\0" + packet[12:]


@settings(max_examples=60)
@given(super_packets(), st.booleans())
def test_the_kernel_cuts_exactly_as_split_does(
    router: tuple[Tun, Tun], packet: Super, whole: bool
) -> None:
    source, target = router
    if whole:
        packet = Super(packet.payload[:8000], 0, packet.version, packet.protocol)
    elif len(packet.payload) <= packet.gso_size:
        packet = Super(b"ab" * packet.gso_size, packet.gso_size, packet.version, packet.protocol)
    header, body = packet.build()
    if packet.protocol == TCP and packet.gso_size and packet.flags & 0x80:
        header = header[:1] + bytes([header[1] | 0x80]) + header[2:]
    ours = split(header, body)
    assert source.write(header + body)
    for part in ours:
        theirs = read(target)
        assert theirs[:10] == bytes(10)
        assert is_sound(theirs[10:])
        assert without_hop_count(theirs[10:]) == without_hop_count(part)
    assert waiting(target) is None


class Link:
    """Two hosts joined by their TUNs: one with offloads, one with no virtio header at all."""

    def __init__(self, left: Tun, right: Tun) -> None:
        self.left, self.right = left, right
        self.super_packets = 0
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = Thread(target=self._carry)

    def __enter__(self) -> Link:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stop_writer, b"x")
        self._thread.join(5)
        os.close(self._stop_writer)
        os.close(self._stop_reader)

    def _carry(self) -> None:
        view = memoryview(bytearray(70_000))
        while True:
            ready = select.select([self.left.fd, self.right.fd, self._stop_reader], [], [])[0]
            if self._stop_reader in ready:
                return
            while size := self.left.read_into(view):
                parts = split(view[:10], view[10:size])
                self.super_packets += len(parts) > 1
                for part in parts:
                    self.right.write(part)
            while size := self.right.read_into(view):
                self.left.write_bare(view[:size])


@pytest.fixture(params=["10.7.0", "fd07::"])
def linked(request: pytest.FixtureRequest) -> Iterator[tuple[Link, str, str, str]]:
    prefix: str = request.param
    length = "/64" if ":" in prefix else "/24"
    join: Callable[[int], str] = lambda n: f"{prefix}{'' if ':' in prefix else '.'}{n}"  # noqa: E731
    with ExitStack() as stack:
        ns = [stack.enter_context(namespace()) for _ in range(2)]
        left = stack.enter_context(opened(ns[0], "t0"))
        right = stack.enter_context(opened(ns[1], "t0", without=("vnet",)))
        configure(ns[0], left, join(1) + length)
        configure(ns[1], right, join(2) + length)
        link = stack.enter_context(Link(left, right))
        yield link, ns[0], ns[1], join(2)


def test_a_tcp_stream_of_super_packets_reaches_a_host_without_offloads(
    linked: tuple[Link, str, str, str],
) -> None:
    link, left, right, address = linked
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    data = bytes(range(251)) * 8000
    server = inside(right, lambda: socket.create_server((address, 0), family=family))
    with server, inside(left, lambda: socket.socket(family)) as client:
        client.settimeout(10)
        client.connect(server.getsockname()[:2])
        connection, _ = server.accept()
        with connection:
            connection.settimeout(10)
            sender = Thread(target=client.sendall, args=(data,))
            sender.start()
            received = bytearray()
            while len(received) < len(data):
                received += connection.recv(1 << 20)
            sender.join(10)
    assert received == data
    assert link.super_packets > 0


def test_a_udp_batch_reaches_a_host_without_offloads(
    linked: tuple[Link, str, str, str],
) -> None:
    link, left, right, address = linked
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    data = bytes(range(250)) * 41
    with (
        inside(right, lambda: socket.socket(family, socket.SOCK_DGRAM)) as server,
        inside(left, lambda: socket.socket(family, socket.SOCK_DGRAM)) as client,
    ):
        server.bind((address, 0))
        server.settimeout(5)
        option = (socket.IPPROTO_UDP, 103, struct.pack("H", 1000))
        client.sendmsg([data], [option], 0, server.getsockname()[:2])
        received = [server.recv(2000) for _ in range(11)]
    assert b"".join(received) == data
    assert link.super_packets == 1


def test_the_reference_checksum_knows_the_example_of_the_rfc() -> None:
    # RFC 1071, section 3
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
