"""Who may speak to the node by a stream: tokens in what looks like a browser's request.

Whoever dials begins with one HTTP request, and the datagrams stand right behind it::

    GET /... HTTP/1.1
    Host: ...
    ...
    Cookie: sid=TOKEN; ...padding of any length...

TOKEN is base64url (RFC 4648, no padding) of 48 bytes: 16 that say by what key, the Unix time in
milliseconds as u64, 8 random ones, and a MAC, keyed BLAKE2s-128 over these 32 bytes and the
SHA-256 of the server's certificate. So a token is worth nothing at another server, and nothing to
somebody in between who shows a certificate of their own. (TLS itself could bind it to the
connection, but Python's ssl has no exporter.)

Keys: members have one from the mesh secret, and begin with random bytes; who joins has one from the
invitation, and begins with its locator under a pad that only the mesh knows. So one look is enough,
however many invitations are open: a search among them would be seen in how late the website is.
Whoever shows no right token gets the website with all they have said, be it a token of a wrong time
or one that was used before. Admission proves nothing else: what is sent by a stream is judged as
over UDP.
"""

from __future__ import annotations

import base64
import hmac
import re
import struct
from binascii import a2b_base64
from collections.abc import Callable
from hashlib import blake2s

from meshd.node.gate import Admit, Refuse, Verdict
from meshd.node.wire import Endpoint, format_endpoint

TOLERANCE = 120.0
"""Seconds that a token's time may be off, either way."""
MAX_REMEMBERED = 8192
"""Tokens that were used and may not be used again; only right ones are remembered."""
MAX_FIRST = 4096
"""Bytes of the longest first flight that is looked at."""
PADDING_MIN, PADDING_MAX = 24, 700
"""Characters of the cookie behind the token."""

_HEAD = struct.Struct(">16sQ8s")
_MAC_SIZE = 16
_TOKEN = re.compile(rb"\r\nCookie: sid=([A-Za-z0-9_-]{64})[;\r]")
_PAD_SIZE = 16
_NOTHING = b"A" * 64
"""Where there is no token, so that this takes as long as if there were."""
_STANDARD = bytes.maketrans(b"-_", b"+/")
_REFUSED = Refuse()
_PATHS = ("/", "/index.html", "/news", "/about", "/search?q=weather", "/static/app.css")
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def member_key(mesh_secret: bytes) -> bytes:
    """The key of a mesh's members, 32 bytes."""
    return blake2s(b"aegisray stream member", key=mesh_secret, digest_size=32).digest()


def joiner_key(locator: bytes) -> bytes:
    """The key of whoever holds the invitation with this locator, 32 bytes."""
    return blake2s(b"aegisray stream joiner", key=locator, digest_size=32).digest()


def greet(
    key: bytes,
    endpoint: Endpoint,
    certificate: bytes,
    unix_time: float,
    random_bytes: Callable[[int], bytes],
    name: str | None = None,
    *,
    mesh_id: bytes = b"",
    locator: bytes | None = None,
) -> bytes:
    """The first bytes for the server at `endpoint`, whose certificate (DER) has the SHA-256
    `certificate`. `name`: what it is called, where there is a name for it; `locator`: of the
    invitation, of whoever joins that mesh."""
    beginning = random_bytes(_PAD_SIZE)
    head = _HEAD.pack(beginning, int(unix_time * 1000), random_bytes(8))
    if locator is not None:
        pad = blake2s(head[_PAD_SIZE:], key=mesh_id, digest_size=_PAD_SIZE).digest()
        head = _xor(locator, pad) + head[_PAD_SIZE:]
    mac = blake2s(head + certificate, key=key, digest_size=_MAC_SIZE).digest()
    token = base64.urlsafe_b64encode(head + mac).decode()
    chance = random_bytes(3)
    spread = PADDING_MAX - PADDING_MIN
    size = PADDING_MIN + int.from_bytes(chance[:2], "big") % spread
    padding = base64.urlsafe_b64encode(random_bytes(size)).decode()[:size]
    host = name or _host(endpoint)
    lines = (
        f"GET {_PATHS[chance[2] % len(_PATHS)]} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: {_AGENT}",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "Accept-Language: en-US,en;q=0.5",
        "Connection: keep-alive",
        f"Cookie: sid={token}; prefs={padding}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Visitors:
    """The gate of one node: implements `gate.Gate`.

    `invited` tells whether a locator is that of an invitation that may still be used; `unix_time`
    the wall clock's time at a monotonic one; `name` is what servers are called in requests (their
    address, if empty). `admitted` hears of everyone who came in: from where, whether as a member,
    and when.
    """

    def __init__(
        self,
        mesh_secret: bytes,
        mesh_id: bytes,
        invited: Callable[[bytes], bool],
        unix_time: Callable[[float], float],
        random_bytes: Callable[[int], bytes],
        name: str | None = None,
    ) -> None:
        self._key = member_key(mesh_secret)
        self._macs = _keyed(self._key)
        self._pads = blake2s(key=mesh_id, digest_size=_PAD_SIZE)
        self._invited = invited
        self._unix_time = unix_time
        self._random_bytes = random_bytes
        self._name = name
        self._used: dict[bytes, float] = {}
        self.admitted: Callable[[Endpoint, bool, float], None] = lambda source, member, now: None

    def greet(self, endpoint: Endpoint, certificate: bytes, now: float) -> bytes | None:
        """See `gate.Gate.greet`."""
        time = self._unix_time(now)
        return greet(self._key, endpoint, certificate, time, self._random_bytes, self._name)

    def admit(self, first: bytes, source: Endpoint, certificate: bytes, now: float) -> Verdict:
        """See `gate.Gate.admit`. As much is done where there is no token, and as little as can be:
        strangers wait for it."""
        end = first.find(b"\r\n\r\n", 0, MAX_FIRST)
        found = _TOKEN.search(first, 0, end + 2) if end >= 0 else None
        token = _NOTHING if found is None else found[1]
        whole = a2b_base64(token.translate(_STANDARD))
        head, mac = whole[: _HEAD.size], whole[_HEAD.size :]
        pads = self._pads.copy()
        pads.update(head[_PAD_SIZE:])
        locator = _xor(head[:_PAD_SIZE], pads.digest())
        joiner = self._invited(locator)
        macs = _keyed(joiner_key(locator)) if joiner else self._macs.copy()
        macs.update(head + certificate)
        right = hmac.compare_digest(macs.digest(), mac)
        if found is None or not right or not self._fresh(head, now):
            return _REFUSED
        self.admitted(source, not joiner, now)
        return Admit(end + 4)

    def _fresh(self, head: bytes, now: float) -> bool:
        """Whether a right token's time is now, and it is the first time."""
        time, stamp = self._unix_time(now), _HEAD.unpack(head)[1] / 1000
        if abs(time - stamp) > TOLERANCE or head in self._used:
            return False
        if len(self._used) >= MAX_REMEMBERED:
            for known, until in list(self._used.items()):
                if until < time:
                    del self._used[known]
            if len(self._used) >= MAX_REMEMBERED:
                del self._used[next(iter(self._used))]
        self._used[head] = stamp + TOLERANCE
        return True


class Joiner:
    """The gate of who joins: greets, and admits nobody."""

    def __init__(
        self,
        mesh_id: bytes,
        locator: bytes,
        unix_time: Callable[[float], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._mesh_id = mesh_id
        self._locator = locator
        self._unix_time = unix_time
        self._random_bytes = random_bytes

    def greet(self, endpoint: Endpoint, certificate: bytes, now: float) -> bytes | None:
        """See `gate.Gate.greet`."""
        return greet(
            joiner_key(self._locator),
            endpoint,
            certificate,
            self._unix_time(now),
            self._random_bytes,
            mesh_id=self._mesh_id,
            locator=self._locator,
        )

    def admit(self, first: bytes, source: Endpoint, certificate: bytes, now: float) -> Verdict:
        """Nobody."""
        return Refuse()


def _xor(data: bytes, pad: bytes) -> bytes:
    both = int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")
    return both.to_bytes(_PAD_SIZE, "big")


def _keyed(key: bytes) -> blake2s:
    return blake2s(key=key, digest_size=_MAC_SIZE)


def _host(endpoint: Endpoint) -> str:
    text = format_endpoint(endpoint)
    return text.removesuffix(":443")
