"""No packet up to the overlay's MTU is lost to its size, though no router ever says a word."""

from __future__ import annotations

import errno
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, views, wait_connected
from simulations.lab.namespaces import Lab, Namespace, join
from simulations.lab.waiting import wait_until

pytestmark = pytest.mark.e2e

PORT = 5003
OVERLAY_MTU = 1420
HEADERS = {4: 28, 6: 48}
"""IP and UDP."""
MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
MTU_NOW = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}
DO = 2  # linux/in.h, linux/in6.h: never fragment
STALL_S = 3.0
SILENT = """
table inet silent {{
  chain forward {{
    type filter hook forward priority 0;
    meta l4proto {{ icmp, ipv6-icmp }} drop
    {rule}
  }}
  chain output {{
    type filter hook output priority 0;
    icmp type != {{ echo-request, echo-reply }} drop
    icmpv6 type {{ destination-unreachable, packet-too-big, time-exceeded }} drop
  }}
}}
"""


@dataclass
class Underlay:
    """A router that drops all ICMP errors, its own too, and hosts around it."""

    lab: Lab
    version: int
    mtu: int

    def __post_init__(self) -> None:
        self.router = self.lab.namespace("router")
        self.router.route_packets()
        self.router.set_kernel("net/ipv6/conf/all/forwarding", "1")
        self._count = itertools.count()
        self.addresses: dict[str, str] = {}

    def host(self, label: str) -> Host:
        """A host with a line to the router; what the router sends is at most as wide as `mtu`."""
        number, namespace = next(self._count), self.lab.namespace(label)
        prefix, size = ("198.51.100.", 30) if self.version == 4 else (f"2001:db8:{number}::", 64)
        first = 4 * number if self.version == 4 else 0
        up, address = f"{prefix}{first + 1}", f"{prefix}{first + 2}"
        join(self.router, f"port{number}", namespace, "wan")
        nodad = [] if self.version == 4 else ["nodad"]
        self.router.ip("address", "add", f"{up}/{size}", "dev", f"port{number}", *nodad)
        namespace.ip("address", "add", f"{address}/{size}", "dev", "wan", *nodad)
        namespace.ip(f"-{self.version}", "route", "add", "default", "via", up)
        self.addresses[label] = address
        self.router.ip("link", "set", f"port{number}", "mtu", str(self.mtu))
        return Host(self.lab, namespace)

    def silence(self, one: str = "", other: str = "") -> None:
        """No ICMP from now on, and nothing straight from one host to the other."""
        word, rule = "ip" if self.version == 4 else "ip6", ""
        for here, there in ((one, other), (other, one)) if one else ():
            addresses = self.addresses[here], self.addresses[there]
            rule += f"{word} saddr {addresses[0]} {word} daddr {addresses[1]} drop\n"
        self.router.run("nft", "-f", "-", text=SILENT.format(rule=rule))

    def narrow(self, mtu: int) -> None:
        """Every line of the router becomes so narrow."""
        for number in range(len(self.addresses)):
            self.router.ip("link", "set", f"port{number}", "mtu", str(mtu))


def datagram_socket(namespace: Namespace, version: int) -> socket.socket:
    """A UDP socket that never fragments."""
    with namespace.entered():
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM)
    made.setsockopt(*MTU_DISCOVER[version], DO)
    made.settimeout(0.5)
    return made


@contextmanager
def echoing(namespace: Namespace, address: str) -> Iterator[None]:
    """A host that sends back every datagram that comes to `address`."""
    server = datagram_socket(namespace, 6 if ":" in address else 4)
    stop = threading.Event()

    def answer() -> None:
        while not stop.is_set():
            try:
                server.sendto(*server.recvfrom(4096))
            except TimeoutError:
                continue

    server.bind((address, PORT))
    server.settimeout(0.1)
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        server.close()


def sizes_that_pass(source: Host, target: Host, address: str) -> set[int]:
    """Sizes in bytes of the packets, of all up to the overlay's MTU, that come there and back."""
    version = 6 if ":" in address else 4
    passed: set[int] = set()
    bodies = range(OVERLAY_MTU - HEADERS[version] + 1)
    with (
        echoing(target.namespace, address),
        datagram_socket(source.namespace, version) as client,
    ):
        client.connect((address, PORT))
        for start in range(0, len(bodies), 32):
            some = bodies[start : start + 32]
            for size in some:
                client.send(bytes(size))
            while not passed.issuperset(some):
                try:
                    passed.add(len(client.recv(4096)))
                except TimeoutError:
                    break
    return {size + HEADERS[version] for size in passed}


def all_sizes(version: int) -> set[int]:
    return set(range(HEADERS[version], OVERLAY_MTU + 1))


def refused(client: socket.socket, size: int) -> bool:
    """Whether the kernel says that `size` bytes are too many."""
    try:
        client.send(bytes(size))
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        return True
    return False


def check_too_large_for_the_sender(host: Host, address: str) -> None:
    version = 6 if ":" in address else 4
    with datagram_socket(host.namespace, version) as client:
        client.connect((address, PORT))
        assert not refused(client, OVERLAY_MTU - HEADERS[version])
        assert refused(client, OVERLAY_MTU - HEADERS[version] + 1)


def check_too_large_for_a_neighbour(lab: Lab, host: Host, address: str) -> None:
    """A host behind `host`, which forwards for it, hears what is too large."""
    version = 6 if ":" in address else 4
    behind = lab.namespace(f"behind{version}")
    join(host.namespace, f"lan{version}", behind, "eth0")
    here, there, size = (
        ("10.77.0.1", "10.77.0.2", 24) if version == 4 else ("fd77::1", "fd77::2", 64)
    )
    nodad = [] if version == 4 else ["nodad"]
    host.namespace.ip("address", "add", f"{here}/{size}", "dev", f"lan{version}", *nodad)
    behind.ip("address", "add", f"{there}/{size}", "dev", "eth0", *nodad)
    behind.ip(f"-{version}", "route", "add", "default", "via", here)
    forwarding = "ipv4/ip_forward" if version == 4 else "ipv6/conf/all/forwarding"
    host.namespace.set_kernel(f"net/{forwarding}", "1")
    with datagram_socket(behind, version) as client:
        client.connect((address, PORT))
        size = OVERLAY_MTU - HEADERS[version] + 1
        wait_until(lambda: refused(client, size), "ICMP that says: too big", 5.0)
        assert client.getsockopt(*MTU_NOW[version]) == OVERLAY_MTU


@pytest.mark.parametrize(
    ("version", "mtu"), [(4, 1280), (4, 1400), (4, 1500), (6, 1280), (6, 1400)]
)
def test_every_size_passes_straight_and_through_a_relay(lab: Lab, version: int, mtu: int) -> None:
    underlay = Underlay(lab, version, mtu)
    relay, one, two = hosts = [underlay.host(name) for name in ("relay", "one", "two")]
    underlay.silence("one", "two")
    found(relay)
    admit(relay, [one, two])
    known = wait_connected(hosts)
    status = one.status()
    assert status is not None
    ways = {name: view.kind for name, view in views(status).items()}
    assert ways == {"relay": "direct", "two": "relay"}
    for other, inner in ((relay, 0), (two, 0), (two, 1)):
        address = known[other.name][inner]
        lost = all_sizes(6 if inner else 4) - sizes_that_pass(one, other, address)
        assert not lost, (other.name, inner)
    if mtu == 1280:
        for address in known[two.name]:
            check_too_large_for_the_sender(one, address)
            check_too_large_for_a_neighbour(lab, one, address)


class Stream:
    """Bytes as fast as TCP carries them, and the longest time in which none came."""

    def __init__(self, source: Host, target: Host, address: str) -> None:
        with target.namespace.entered():
            self._listener = socket.socket()
        with source.namespace.entered():
            self._client = socket.socket()
        self._listener.bind((address, PORT))
        self._listener.listen(1)
        self._client.connect((address, PORT))
        self._server, _ = self._listener.accept()
        self.arrived = 0
        self.longest = 0.0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        data = bytes(1 << 16)
        self._client.settimeout(0.5)
        while not self._stop.is_set():
            try:
                self._client.send(data)
            except TimeoutError:
                continue
        self._client.close()

    def _receive(self) -> None:
        last = time.monotonic()
        while got := len(self._server.recv(1 << 20)):
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last), now
            self.arrived += got

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20.0)
        self._server.close()
        self._listener.close()


def test_a_stream_survives_that_the_underlay_becomes_narrow(lab: Lab) -> None:
    underlay = Underlay(lab, 4, 1500)
    hosts = [underlay.host(name) for name in ("one", "two")]
    underlay.silence()
    found(hosts[0])
    admit(hosts[0], hosts[1:])
    known = wait_connected(hosts)
    stream = Stream(hosts[0], hosts[1], known["two"][0])
    try:
        wait_until(lambda: stream.arrived > 64 << 20, "the stream to be at full speed", 10.0)
        underlay.narrow(1300)
        before = stream.arrived
        wait_until(lambda: stream.arrived > before + (256 << 20), "the stream to go on", 20.0)
    finally:
        stream.close()
    assert 0.2 < stream.longest < STALL_S
