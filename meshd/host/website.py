"""The website on the TLS port: for everybody who is no member, whatever they send.

Answers as nginx gives them (compared with 1.22, `server_tokens off`), from one page, a directory,
or nothing at all. HTTP/1.1, 1.0 and 0.9; ranges and conditions are ignored, as servers may.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote_to_bytes

HEADER_TIME = 10.0
"""Seconds for a whole request's head."""
IDLE_TIME = 75.0
"""Seconds between two requests of one connection."""
REQUESTS_MAX = 1000
"""Requests of one connection."""
SEND_TIME = 60.0
"""Seconds in which the visitor must take some of an answer."""
LINE_MAX, HEAD_MAX, BODY_MAX = 8192, 32_768, 1 << 20
"""Bytes of a request's first line, of its head, and of a body, which is skipped."""
PIECE = 65_536
_REASONS = {
    200: "OK", 301: "Moved Permanently", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
    405: "Not Allowed", 413: "Request Entity Too Large", 414: "Request-URI Too Large",
    501: "Not Implemented", 502: "Bad Gateway", 505: "HTTP Version Not Supported",
}  # fmt: skip
_TYPES = {
    ".html": "text/html", ".htm": "text/html", ".css": "text/css", ".js": "application/javascript",
    ".txt": "text/plain", ".xml": "text/xml", ".json": "application/json", ".svg": "image/svg+xml",
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif",
    ".ico": "image/x-icon", ".webp": "image/webp", ".woff": "font/woff", ".woff2": "font/woff2",
    ".pdf": "application/pdf",
}  # fmt: skip

_METHOD = re.compile(rb"[A-Z_-]*")
_REQUEST = re.compile(
    rb"([A-Z_-]+) +((?:/|[A-Za-z]+://)[^\x00 \r\n]*)(?: +HTTP/(\d{1,3})\.(\d{1,3}))? *"
)
_HEADER = re.compile(rb"([!-9;-~]+):[ \t]*([^\x00]*?)[ \t]*")
_ORIGIN = re.compile(rb"[A-Za-z]+://[^/?]*")
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_HOST = re.compile(rb"[A-Za-z0-9._~:\[\]-]+")


class Visitor(Protocol):
    """Both directions of a connection. Either method may raise OSError."""

    async def receive(self) -> bytes:
        """Some bytes; none: the visitor has ended."""

    async def send(self, data: bytes) -> None:
        """Send them all."""


class Website(Protocol):
    """What a stranger gets."""

    async def visit(self, visitor: Visitor, first: bytes) -> None:
        """Serve a connection whose bytes so far are `first`, until it is to be closed."""


@dataclass(frozen=True, slots=True)
class Document:
    """Something to show: bytes, or a file of so many."""

    kind: str
    size: int
    modified: int
    """Unix time."""
    source: bytes | Path


Finder = Callable[[str], Document | int]
"""From a decoded path, its dots resolved, to what is there; or to a status."""


def one_page(page: str, modified: int) -> Finder:
    """A site with a front page only."""
    body = page.encode()
    front = Document("text/html", len(body), modified, body)
    return lambda path: front if path in ("/", "/index.html") else 404


def nothing(status: int = 404) -> Finder:
    """A site that answers every path with `status`."""
    return lambda path: status


def directory(root: Path) -> Finder:
    """The files below `root`; `index.html` stands for its directory. No link leads out of it."""
    return partial(_find, root.resolve())


def _find(root: Path, path: str) -> Document | int:
    try:
        place = (root / path.lstrip("/")).resolve()
        if not place.is_relative_to(root):
            return 404
        if place.is_dir():
            if not path.endswith("/"):
                return 301
            place /= "index.html"
            if not place.is_file():
                return 403
        elif path.endswith("/") or not place.is_file():
            return 404
        found = place.stat()
    except (OSError, ValueError):
        return 404
    kind = _TYPES.get(place.suffix.lower(), "application/octet-stream")
    return Document(kind, found.st_size, int(found.st_mtime), place)


@dataclass
class BadRequest(Exception):
    """A request that gets an error and the end of the connection."""

    status: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head, understood; `body` bytes follow it."""

    method: bytes
    path: str
    target: bytes
    host: bytes
    version: tuple[int, int]
    keep: bool
    body: int


class Site:
    """Answers requests with what `find` finds.

    `plain`: this is the answer to HTTP where TLS belongs.
    """

    def __init__(self, find: Finder, clock: Callable[[], float], *, plain: bool = False) -> None:
        """`clock` tells Unix time."""
        self._find = find
        self._clock = clock
        self._plain = plain

    async def visit(self, visitor: Visitor, first: bytes) -> None:
        """Answer requests one behind the other."""
        data = bytearray(first)
        for left in reversed(range(REQUESTS_MAX)):
            try:
                size = await asyncio.wait_for(_head(visitor, data), HEADER_TIME)
                if not size:
                    return
                request = parse(bytes(data[:size]))
                if self._plain:
                    raise BadRequest(400, "The plain HTTP request was sent to HTTPS port")
            except asyncio.TimeoutError:
                return
            except BadRequest as error:
                head, body = self._page(error.status, keep=False, note=error.note)
                await _send(visitor, head if data.startswith(b"HEAD ") else head + body)
                return
            del data[:size]
            keep = request.keep and left > 0
            await self._answer(visitor, request, keep)
            if not keep or not await _skip(visitor, data, request.body):
                return

    async def _answer(self, visitor: Visitor, request: Request, keep: bool) -> None:
        found = self._find(request.path)
        if request.method not in (b"GET", b"HEAD") and isinstance(found, Document):
            found = 405
        if isinstance(found, int):
            location = _location(request) if found == 301 else b""
            head, body = self._page(found, keep=keep, location=location)
            if request.version == (0, 9):
                head = b""
            await _send(visitor, head if request.method == b"HEAD" else head + body)
            return
        head = b"" if request.version == (0, 9) else self._document_head(found, keep)
        if request.method == b"HEAD":
            await _send(visitor, head)
        elif isinstance(found.source, bytes):
            await _send(visitor, head + found.source)
        else:
            await _send_file(visitor, head, found.source, found.size)

    def _document_head(self, found: Document, keep: bool) -> bytes:
        return self._head(
            200,
            [
                f"Content-Type: {found.kind}",
                f"Content-Length: {found.size}",
                f"Last-Modified: {formatdate(found.modified, usegmt=True)}",
                _connection(keep),
                f'ETag: "{found.modified:x}-{found.size:x}"',
            ],
        )

    def _page(
        self, status: int, *, keep: bool, note: str = "", location: bytes = b""
    ) -> tuple[bytes, bytes]:
        """Head and body of an error page."""
        name = f"{status} {_REASONS[status]}"
        lines = [
            "<html>",
            f"<head><title>{f'{status} {note}' if note else name}</title></head>",
            "<body>",
            f"<center><h1>{name}</h1></center>",
            *([f"<center>{note}</center>"] if note else []),
            "<hr><center>nginx</center>",
            "</body>",
            "</html>",
            "",
        ]
        body = "\r\n".join(lines).encode()
        fields = ["Content-Type: text/html", f"Content-Length: {len(body)}"]
        if location:
            fields.append(f"Location: {location.decode('latin-1')}")
        return self._head(status, [*fields, _connection(keep)]), body

    def _head(self, status: int, fields: list[str]) -> bytes:
        date = formatdate(self._clock(), usegmt=True)
        lines = [f"HTTP/1.1 {status} {_REASONS[status]}", "Server: nginx", f"Date: {date}", *fields]
        return ("\r\n".join([*lines, "", ""])).encode("latin-1")


def parse(head: bytes) -> Request:
    """A request's head, its empty last line included. Raises BadRequest."""
    first, *lines = [line.removesuffix(b"\r") for line in head.split(b"\n")]
    matched = _REQUEST.fullmatch(first)
    if matched is None:
        raise BadRequest(400)
    method, target = matched[1], matched[2]
    version = (int(matched[3]), int(matched[4])) if matched[3] else (0, 9)
    path = _path(target)
    if version[0] > 1:
        raise BadRequest(505)
    if version[0] < 1 and (matched[3] or method != b"GET"):
        raise BadRequest(400)
    fields = _fields(lines)
    host = fields.get(b"host", b"")
    if (version >= (1, 1) and b"host" not in fields) or (
        b"host" in fields and not _HOST.fullmatch(host)
    ):
        raise BadRequest(400)
    if method == b"TRACE":
        raise BadRequest(405)
    coding = fields.get(b"transfer-encoding", b"chunked").lower()
    if coding != b"chunked":
        raise BadRequest(501)
    length = fields.get(b"content-length", b"0")
    if not re.fullmatch(rb"\d{1,15}", length):
        raise BadRequest(400)
    if int(length) > BODY_MAX:
        raise BadRequest(413)
    wish = fields.get(b"connection", b"").lower()
    keep = b"close" not in wish and (version >= (1, 1) or b"keep-alive" in wish)
    keep = keep and b"transfer-encoding" not in fields  # how long that is, nobody needs to know
    return Request(method, path, target, host, version, keep, int(length))


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for line in lines:
        if not line:
            break
        matched = _HEADER.fullmatch(line)
        if matched is None:
            raise BadRequest(400)
        name = matched[1].lower()
        if name in fields and name in (b"host", b"content-length"):
            raise BadRequest(400)
        fields[name] = matched[2]
    return fields


def _path(target: bytes) -> str:
    """The path of a request's target: decoded, its dots and double slashes resolved."""
    origin = _ORIGIN.match(target)
    raw = (target[origin.end() :] if origin else target) or b"/"
    raw = re.split(rb"[?#]", raw, maxsplit=1)[0]
    if re.search(rb"%(?![0-9A-Fa-f]{2})", raw):
        raise BadRequest(400)
    decoded = unquote_to_bytes(raw)
    if b"\x00" in decoded:
        raise BadRequest(400)
    parts: list[bytes] = []
    names = decoded.split(b"/")[1:]
    for name in names:
        if name == b"..":
            if not parts:
                raise BadRequest(400)
            parts.pop()
        elif name not in (b"", b"."):
            parts.append(name)
    folder = b"/" if parts and names[-1] in (b"", b".", b"..") else b""
    return (b"/" + b"/".join(parts) + folder).decode("utf-8", "surrogateescape")


def _location(request: Request) -> bytes:
    path, _, query = _ORIGIN.sub(b"", request.target, count=1).partition(b"?")
    return b"https://" + request.host + path + b"/" + (b"?" + query if query else b"")


def _connection(keep: bool) -> str:
    return f"Connection: {'keep-alive' if keep else 'close'}"


def _complete(data: bytearray) -> int:
    """How many bytes the request's head at the beginning of `data` has, 0 if it is not all there.

    Empty lines before it are taken away. Raises BadRequest as soon as it cannot become one.
    """
    del data[: len(data) - len(data.lstrip(b"\r\n"))]
    newline = data.find(b"\n")
    if len(data) > LINE_MAX and not 0 <= newline <= LINE_MAX:
        raise BadRequest(414)
    if newline < 0:
        method = _METHOD.match(data)
        size = method.end() if method else 0
        if size < len(data) and (not size or data[size] != ord(" ")):
            raise BadRequest(400)
        return 0
    line = _REQUEST.fullmatch(data[:newline].removesuffix(b"\r"))
    if line is None:
        raise BadRequest(400)
    if not line[3]:
        return newline + 1
    end = _EMPTY_LINE.search(data, newline)
    if (end.end() if end else len(data)) > HEAD_MAX:
        raise BadRequest(400, "Request Header Or Cookie Too Large")
    return end.end() if end else 0


async def _head(visitor: Visitor, data: bytearray) -> int:
    """Read until `data` begins with a whole head: its size, or 0 if none comes any more."""
    while True:
        if size := _complete(data):
            return size
        piece = await visitor.receive()
        if not piece:
            return 0
        data += piece


async def _skip(visitor: Visitor, data: bytearray, size: int) -> bool:
    """Drop a body of `size` bytes, then wait for the next request's first; whether it came."""
    try:
        while len(data) <= size:
            size -= len(data)
            data.clear()
            patience = HEADER_TIME if size else IDLE_TIME
            piece = await asyncio.wait_for(visitor.receive(), patience)
            if not piece:
                return False
            data += piece
    except asyncio.TimeoutError:
        return False
    del data[:size]
    return True


async def _send(visitor: Visitor, data: bytes) -> None:
    try:
        await asyncio.wait_for(visitor.send(data), SEND_TIME)
    except asyncio.TimeoutError:
        raise ConnectionAbortedError("the visitor takes nothing") from None


async def _send_file(visitor: Visitor, head: bytes, path: Path, size: int) -> None:
    for piece in _pieces(path, size):
        await _send(visitor, head + piece)
        head = b""
    if head:
        await _send(visitor, head)


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    """`size` bytes of a file. Raises OSError, also if it has become shorter."""
    with path.open("rb") as file:
        while size:
            piece = file.read(min(size, PIECE))
            if not piece:
                raise ConnectionAbortedError("the file has become shorter")
            size -= len(piece)
            yield piece
