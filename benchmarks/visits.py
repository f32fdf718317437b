"""What strangers do at a TLS port, how long each answer takes, and whether two are alike."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from simulations.lab.namespaces import Namespace

PORT = 443
PATIENCE_S = 15.0
SLACK = 8
"""Bytes by which the same TLS record may differ: an ECDSA signature's encoding is not of one
length."""
_DATE = re.compile(rb"\r\nDate: [^\r\n]*")
_RECORD_HEAD = 5


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that strangers do; `said(number)` are the bytes of that try."""

    name: str
    said: Callable[[int], bytes]
    tls: bool = True
    """Shake hands first."""
    ends: bool = False
    """Close our side after the last byte."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a visit. Times are seconds."""

    data: bytes
    how: str
    """How it ended."""
    hello: float
    """From the connection's beginning to the end of the handshake."""
    answer: float
    """From the last byte that was said to the end."""


def kinds(wire: bytes, flight: bytes) -> list[Kind]:
    """All of them. `wire`: what a member once sent, as it was on the line; `flight`: what another
    one said inside TLS."""
    get = b"GET %s HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
    close = b"Connection: close\r\n\r\n"
    page, missing = (get % path + close for path in (b"/", b"/no/such/page"))
    return [
        Kind("replayed flight inside", lambda number: flight),
        Kind("replayed flight on the wire", lambda number: wire, tls=False),
        Kind("page", lambda number: page),
        Kind("404", lambda number: missing),
        Kind("bad request", lambda number: b"GET / HTTP/1.1\r\nHost\r\n\r\n"),
        Kind("random bytes inside TLS", lambda number: noise(number), ends=True),
        Kind("random bytes before TLS", lambda number: noise(number), tls=False, ends=True),
        Kind("half a request", lambda number: page[: len(page) // 2], ends=True),
    ]


def noise(number: int) -> bytes:
    """Some random bytes, the same for the same number."""
    rng = Random(number)
    return rng.randbytes(rng.randrange(16, 1400))


def visit(place: Namespace, address: str, kind: Kind, number: int) -> Answer:
    """Be a stranger at `address`, from `place`, until the other side ends. OSError: it never
    does, or does not let us in."""
    said = kind.said(number)
    with place.entered():
        plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with plain:
        plain.settimeout(PATIENCE_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        plain.connect((address, PORT))
        with _CONTEXT.wrap_socket(plain) if kind.tls else plain as sock:
            begun = time.perf_counter()
            sock.sendall(said)
            if kind.ends:
                sock.shutdown(socket.SHUT_WR)  # what comes now is read as it is on the line
            data, how = _rest(sock)
            ended = time.perf_counter()
    return Answer(data, how, begun - began, ended - begun)


def alike(one: Answer, other: Answer, kind: Kind) -> bool:
    """Whether two answers differ in nothing but the date, and in what TLS makes random."""
    if one.how != other.how:
        return False
    if _DATE.sub(b"", one.data) == _DATE.sub(b"", other.data):
        return True
    if kind.tls and not kind.ends:
        return False
    shapes = [*records(one.data)], [*records(other.data)]
    return len(shapes[0]) == len(shapes[1]) and all(
        a[0] == b[0] and abs(a[1] - b[1]) <= SLACK for a, b in zip(*shapes, strict=True)
    )


def records(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Head (type and version) and size of each TLS record; of the rest, if that is none, all."""
    at = 0
    while at < len(data):
        head = data[at : at + 3]
        size = int.from_bytes(data[at + 3 : at + _RECORD_HEAD], "big")
        if head not in (b"\x14\x03\x03", b"\x15\x03\x03", b"\x16\x03\x03", b"\x17\x03\x03"):
            yield data[at:], 0
            return
        yield head, size
        at += _RECORD_HEAD + size


def _rest(sock: socket.socket) -> tuple[bytes, str]:
    """All that comes, and how that ends."""
    pieces = []
    try:
        while piece := sock.recv(65_536):
            pieces.append(piece)
    except ssl.SSLEOFError:
        return b"".join(pieces), "no goodbye"
    except ConnectionResetError:
        return b"".join(pieces), "reset"
    return b"".join(pieces), "end"


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


_CONTEXT = _context()
