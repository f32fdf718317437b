"""Where UDP is blocked: members over TLS, strangers on a website."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from simulations.lab import transfer
from simulations.lab.beat import Beat
from simulations.lab.host import Host
from simulations.lab.mesh import View, admit, found, token, views, wait_connected
from simulations.lab.namespaces import Lab, Namespace
from simulations.lab.nat import cut, mend
from simulations.lab.topology import Internet
from simulations.lab.waiting import wait_until
from tests.e2e.meshes import Pair, Settings, open_pair

pytestmark = pytest.mark.e2e

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE
NO_UDP = "meta l4proto udp drop"
STEALTH: Settings = {"security.stealth_mode": True}
BEHIND = "http://127.0.0.1:8088"
PROXY_PORT = 3128
DATE = re.compile(rb"\r\nDate: [^\r\n]*")
OTHER = "198.51.100.6"
NO_UDP_OF_RIGHT = "ip saddr 198.51.100.14 meta l4proto udp drop"


def view(host: Host, other: Host) -> View | None:
    status = host.status()
    return views(status).get(other.name) if status else None


def until_kind(host: Host, other: Host, kind: str, deadline_s: float) -> float:
    """Wait until packets to `other` go that way; how many seconds that took."""
    began = time.monotonic()

    def there() -> bool:
        seen = view(host, other)
        return seen is not None and seen.kind == kind

    wait_until(there, f"{host.name} to reach {other.name} by {kind}", deadline_s)
    return time.monotonic() - began


def strangers(lab: Lab, right: Settings) -> tuple[Internet, Host, Host]:
    """Two hosts, the first of which has a mesh; UDP is blocked between them."""
    internet = Internet(lab)
    one = Host(lab, internet.host("left"), STEALTH)
    other = Host(lab, internet.host("right"), right)
    found(one)
    cut(internet.router, NO_UDP)
    return internet, one, other


def test_join_up_and_traffic_work_where_udp_is_blocked_from_the_start(lab: Lab) -> None:
    _, left, right = strangers(lab, {})
    right.must("join", "-", text=token(left, right.name))
    right.start()
    right.wait_up()
    took = until_kind(right, left, "stream", 10.0)
    assert took < 3.0
    known = wait_connected([left, right])
    payload = transfer.Payload(16 * transfer.MIB)
    for source, target in ((left, right), (right, left)):
        for address in known[target.name]:
            assert transfer.tcp(source.namespace, target.namespace, address, payload).intact
            assert transfer.udp(source.namespace, target.namespace, address, 50) == 100
    status = right.status()
    assert status is not None
    assert status["self"]["streams"] == 1
    assert left.metric("aegisray_stream_connections") == 1
    assert right.metric("aegisray_stream_bytes_total") > 2 * len(payload.data)
    assert left.metric("aegisray_stream_refused_total") == 0


@pytest.fixture
def pair(lab: Lab) -> Pair:
    pair = open_pair(lab)
    until_kind(pair.left, pair.right, "direct", 10.0)
    return pair


def test_udp_blocked_under_a_transfer_goes_on_by_stream_and_comes_back(pair: Pair) -> None:
    address = pair.of(pair.right)[0]
    payload = transfer.Payload(256 * transfer.MIB)
    moved: list[transfer.Transfer] = []

    def move() -> None:
        ends = pair.left.namespace, pair.right.namespace
        moved.extend(transfer.tcp(*ends, address, payload) for _ in range(2))

    moving = threading.Thread(target=move)
    with Beat(pair.left.namespace, address) as beat:
        began = time.monotonic()
        moving.start()
        wait_until(lambda: beat.answers(began) > 20, "pings to be answered", 10.0)
        began = time.monotonic()
        cut(pair.internet.router, NO_UDP)
        until_kind(pair.left, pair.right, "stream", 10.0)
        until_kind(pair.right, pair.left, "stream", 10.0)
        moving.join(120.0)
        gap = beat.gap(began)
    assert not moving.is_alive()
    assert len(moved) == 2
    assert all(one.intact for one in moved)
    assert gap < 3.0
    mend(pair.internet.router)
    assert until_kind(pair.left, pair.right, "direct", 20.0) < 15.0
    assert until_kind(pair.right, pair.left, "direct", 20.0) < 15.0


def ask(
    place: Namespace, address: str, request: bytes, *, tls: bool = True, port: int = 443
) -> bytes:
    """What a stranger gets from a TCP port, until the end."""
    with place.entered():
        plain = socket.create_connection((address, port), 5.0)
    found = b""
    with plain, CONTEXT.wrap_socket(plain) if tls else plain as stream:
        stream.sendall(request)
        with contextlib.suppress(ssl.SSLEOFError, ConnectionResetError):
            while data := stream.recv(65_536):
                found += data
    return found


@pytest.fixture(scope="module")
def visited() -> Iterator[tuple[Internet, Host, Host]]:
    """Left in stealth mode, and right, which comes by a stream and has a web server behind it."""
    with Lab() as lab:
        internet, left, right = strangers(lab, {**STEALTH, "security.fallback": BEHIND})
        admit(left, [right])
        until_kind(right, left, "stream", 20.0)
        yield internet, left, right


def test_a_stranger_gets_the_website(visited: tuple[Internet, Host, Host]) -> None:
    internet, left, _ = visited
    outside = internet.host("stranger")
    address = "198.51.100.2"
    get = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    answer = ask(outside, address, get + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"<title>Welcome</title>" in answer
    # With a cookie like a member's, and with none: the same.
    token_like = b"Cookie: sid=" + b"A" * 64 + b"; prefs=x\r\n"
    without = [line for line in answer.split(b"\r\n") if not line.startswith(b"Date:")]
    again = ask(outside, address, get + token_like + b"\r\n" + bytes(1400))
    assert [line for line in again.split(b"\r\n") if not line.startswith(b"Date:")] == without
    assert b"400 The plain HTTP request" in ask(outside, address, get + b"\r\n", tls=False)
    assert left.metric("aegisray_stream_connections") == 1


REQUESTS = [
    b"GET / HTTP/1.0\r\n\r\n",
    b"HEAD /nothing/here HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"BREW /pot HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nCookie: sid=" + b"A" * 64 + b"\r\nConnection: close\r\n\r\n",
    b"\x00\x01\x02 nonsense\r\n\r\n",
]


def test_what_stands_behind_a_node_answers_as_if_it_were_asked_itself(
    visited: tuple[Internet, Host, Host], tmp_path: Path
) -> None:
    internet, _, right = visited
    (tmp_path / "index.html").write_text("<p>The beans are late this year.</p>")
    outside, place = internet.host("reader"), right.namespace
    with place.entered():
        server = ThreadingHTTPServer(("127.0.0.1", 8088), partial(Silent, directory=str(tmp_path)))
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        for request in REQUESTS:
            direct = ask(place, "127.0.0.1", request, tls=False, port=8088)
            assert direct
            assert DATE.sub(b"", ask(outside, OTHER, request)) == DATE.sub(b"", direct)
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    assert ask(outside, OTHER, REQUESTS[0]).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")


class Silent(SimpleHTTPRequestHandler):
    """Serves files, and writes no log."""

    def log_message(self, format: str, *args: object) -> None:
        pass


LORIS = 40
"""Addresses of those who come in crowds."""


def half_open(place: Namespace, sources: list[str], each: int) -> list[socket.socket]:
    """Connections to the TLS port that never say what they want: nothing, half a TLS greeting, or
    half a request."""
    made = []
    for number in range(each * len(sources)):
        with place.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(5.0)
        sock.bind((sources[number % len(sources)], 0))
        sock.connect(("198.51.100.2", 443))
        made.append(sock)
        if number % 3 == 0:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        elif number % 50 == 1:
            made[-1] = CONTEXT.wrap_socket(sock)
            made[-1].sendall(b"GET / HTTP/1.1\r\nHos")
    return made


def test_two_thousand_half_open_connections_hinder_nobody(
    visited: tuple[Internet, Host, Host],
) -> None:
    internet, left, right = visited
    third = Host(internet.lab, internet.host("third"))
    crowd = internet.lab.namespace("crowd")
    own = internet.attach(crowd)
    sources = [own, *(f"203.0.113.{number}" for number in range(1, LORIS + 1))]
    for address in sources[1:]:
        crowd.ip("address", "add", f"{address}/32", "dev", "lo")
    internet.router.ip("route", "add", "203.0.113.0/24", "via", own)
    known = wait_connected([left, right])
    invitation = token(left, third.name)
    before = refused(left)
    memory, files = left.resident_mb(), left.open_files()
    with contextlib.ExitStack() as stack, Beat(right.namespace, known["left"][0]) as beat:
        began = time.monotonic()
        for sock in half_open(crowd, sources[:1], 200):  # of one address only so many stay
            stack.enter_context(sock)
        wait_until(lambda: refused(left) >= before + 136, "the oldest to go", 5.0)
        assert left.open_files() <= files + 64 + 8
        for sock in half_open(crowd, sources[1:], 2000 // LORIS):
            stack.enter_context(sock)
        wait_until(lambda: left.open_files() >= files + 2000, "them all to be let in", 5.0)
        third.must("join", "-", text=invitation + "\n")
        third.start()
        until_kind(third, left, "stream", 10.0)
        assert left.open_files() <= files + 2064 + 32
        assert left.resident_mb() < memory + 100
        assert beat.gap(began) < 1.0
        assert views(right.status() or {"peers": []})["left"].kind == "stream"
    wait_until(lambda: refused(left) >= before + 2000, "them all to be counted", 15.0)
    wait_until(lambda: left.open_files() <= files + 32, "their descriptors to be free", 5.0)


def refused(host: Host) -> float:
    """Connections to the TLS port that were no members'."""
    return host.metric("aegisray_stream_refused_total")


class Balancer:
    """An address that leads to one of several nodes: TCP, as it comes."""

    def __init__(self, place: Namespace, behind: str) -> None:
        with place.entered():
            self._listening = socket.create_server(("0.0.0.0", 443))
        self._place, self._behind = place, behind
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with self._place.entered():
            far = socket.create_connection((self._behind, 443), 5.0)
        carry(near, far)


def carry(near: socket.socket, far: socket.socket) -> None:
    """Pass on what comes from either, until one ends."""
    ends = {near: far, far: near}
    with near, far, contextlib.suppress(OSError):
        while True:
            ready, _, _ = select.select(list(ends), [], [], 60.0)
            for end in ready:
                data = end.recv(65_536)
                if not data:
                    return
                ends[end].sendall(data)


class Proxy:
    """An HTTP proxy that knows CONNECT, with a password."""

    def __init__(self, place: Namespace) -> None:
        with place.entered():
            self._listening = socket.create_server(("0.0.0.0", PROXY_PORT))
        self._place = place
        self.asked: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += near.recv(4096)
        self.asked.append(request)
        host, _, port = request.split(b" ")[1].decode().rpartition(":")
        with self._place.entered():
            far = socket.create_connection((host, int(port)), 5.0)
        near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        carry(near, far)


@pytest.fixture
def proxied(lab: Lab) -> Iterator[tuple[Host, Host, Proxy]]:
    internet = Internet(lab)
    left = Host(lab, internet.host("left"))
    middle = internet.host("middle")
    url = f"http://me:secret@198.51.100.6:{PROXY_PORT}"
    right = Host(lab, internet.host("right"), {"network.proxy": url})
    found(left)
    ends = ("198.51.100.2", "198.51.100.10")
    apart = [f"ip saddr {a} ip daddr {b} drop" for a, b in (ends, ends[::-1])]
    cut(internet.router, "\n    ".join([NO_UDP, *apart]))
    proxy = Proxy(middle)
    yield left, right, proxy
    proxy.close()


def test_two_meet_by_an_http_proxy(proxied: tuple[Host, Host, Proxy]) -> None:
    left, right, proxy = proxied
    right.must("join", "-", text=token(left, right.name))
    right.start()
    known = wait_connected([left, right])
    payload = transfer.Payload(4 * transfer.MIB)
    address = known["left"][0]
    assert transfer.tcp(right.namespace, left.namespace, address, payload).intact
    seen = view(right, left)
    assert seen is not None
    assert seen.kind == "stream"
    assert proxy.asked[0].startswith(b"CONNECT 198.51.100.2:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in proxy.asked[0]
    assert "secret" not in right.log_text()


def test_by_a_balancer_whoever_answers_is_met(lab: Lab) -> None:
    """All that right knew was left; behind the only address that it reaches is another."""
    internet = Internet(lab)
    left, other = (Host(lab, internet.host(name)) for name in ("left", "other"))
    front = internet.host("front")
    right = Host(lab, internet.host("right"), {"bootstrap": ["198.51.100.10:443"]})
    found(left)
    right.must("join", "-", text=token(left, right.name))  # before there was another
    admit(left, [other])
    wait_connected([left, other])
    walls = [f"ip saddr 198.51.100.14 ip daddr {end} drop" for end in ("198.51.100.2", OTHER)]
    cut(internet.router, "\n    ".join([NO_UDP_OF_RIGHT, *walls]))
    balancer = Balancer(front, OTHER)
    right.start()
    right.wait_up()
    until_kind(right, other, "stream", 15.0)
    until_kind(right, left, "relay", 15.0)  # through the other one
    balancer.close()
