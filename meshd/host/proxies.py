"""What proxies on the way say and are told before the TLS begins.

In front of us: a balancer's PROXY header, version 2 (HAProxy's `proxy-protocol.txt`, section 2.2),
which tells the real source. Between us and the Internet: HTTP CONNECT (RFC 9110, section 9.3.6).
"""

from __future__ import annotations

import base64
import re
import socket
import struct
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from meshd.node.errors import LocalError, RemoteError

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
HEADER = struct.Struct(">12sBBH")
HEADER_MAX = 4096
"""Bytes of a PROXY header with its TLVs; the specification wants at least 536."""
ANSWER_MAX = 8192
"""Bytes of a proxy's answer to CONNECT."""

_VERSION, _LOCAL, _PROXY = 0x20, 0x20, 0x21
_INET_STREAM, _INET6_STREAM = 0x11, 0x21
_ADDRESSES = {
    _INET_STREAM: (socket.AF_INET, struct.Struct(">4s4xHxx")),
    _INET6_STREAM: (socket.AF_INET6, struct.Struct(">16s16xHxx")),
}
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r)")


class ProxyHeader(NamedTuple):
    """A PROXY header: its size, and the source it tells; None: the connection's own (a health
    check, or a family that is not ours)."""

    size: int
    source: tuple[str, int] | None


def parse_header(data: bytes) -> ProxyHeader | None:
    """The header at the beginning of `data`; None: more bytes are needed.

    Raises RemoteError: it begins with something else, or with a header that must not be.
    """
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise RemoteError("proxy-header", "no signature")
    if len(data) < HEADER.size:
        return None
    _, command, family, length = HEADER.unpack_from(data)
    size = HEADER.size + length
    if command not in (_LOCAL, _PROXY):
        raise RemoteError("proxy-header", "another version or command")
    if size > HEADER_MAX:
        raise RemoteError("proxy-header", "too long")
    known = _ADDRESSES.get(family) if command == _PROXY else None
    if known is not None and length < known[1].size:
        raise RemoteError("proxy-header", "too short for its addresses")
    if len(data) < size:
        return None
    if known is None:
        return ProxyHeader(size, None)
    address, port = known[1].unpack_from(data, HEADER.size)
    return ProxyHeader(size, (socket.inet_ntop(known[0], address), port))


@dataclass(frozen=True, slots=True)
class ConnectProxy:
    """An HTTP proxy to dial out by."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)
    """The Proxy-Authorization header's value: it holds a password, and is never shown."""


def parse_proxy(url: str) -> ConnectProxy:
    """A proxy as a person writes it: http://[user:password@]host:port. Raises LocalError.

    The error does not repeat the text: a password may stand in it.
    """
    credentials, at, server = url.removeprefix("http://").rpartition("@")
    place = parse_server(f"http://{server}") if url.startswith("http://") else None
    if place is None:
        raise LocalError("expected a proxy such as http://[user:password@]proxy.example:3128")
    if not at:
        return ConnectProxy(*place)
    user, _, password = credentials.partition(":")
    secret = f"{unquote(user)}:{unquote(password)}".encode()
    return ConnectProxy(*place, f"Basic {base64.b64encode(secret).decode()}")


def parse_server(url: str) -> tuple[str, int] | None:
    """Host and port of http://host[:port], port 80 without one; None: it is something else."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme != "http" or not host or parts.username is not None:
        return None
    if parts.path not in ("", "/") or parts.query or parts.fragment or not host.isascii():
        return None
    return host, port or 80


def connect_request(host: str, port: int, proxy: ConnectProxy) -> bytes:
    """What asks `proxy` for a tunnel to a numeric address."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return ("\r\n".join([*lines, "Proxy-Connection: keep-alive", "", ""])).encode("ascii")


def parse_answer(data: bytes) -> int | None:
    """How many bytes of `data` are the proxy's consent; None: more are needed.

    What stands behind them comes from the far end. Raises RemoteError: it says no, and by which
    status, or that is no answer.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0 or end + 4 > ANSWER_MAX:
        if len(data) > ANSWER_MAX:
            raise RemoteError("proxy-answer", "too long")
        return None
    status = _STATUS.match(data)
    if status is None:
        raise RemoteError("proxy-answer", "not HTTP")
    if not 200 <= int(status[1]) < 300:
        raise RemoteError("proxy-refused", f"status {int(status[1])}")
    return end + 4
