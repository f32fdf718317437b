"""What one end says of the ways to the other, for a person: as values, and as bytes.

    view   [reason, [[endpoint, origin], ...], [way, ...]]
    way    [kind, target, stands, rtt, heard, sent, answered, asked, error]

Texts but for `origin`, `kind` and `stands`, which are indices of `ORIGINS`, `KINDS` and `STANDS`,
and for counts; `rtt` is in microseconds, `heard` and `asked` in milliseconds, or null. Nothing
follows from what is in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossip import DecodeError
from gossip.codec import decode, encode
from meshd.node.errors import RemoteError
from meshd.node.path import PathKind

MAX_VIEW, MAX_VIEW_FIELDS = 8192, 512
"""Bytes of a view, and CBOR values in it."""
MAX_CANDIDATES, MAX_TRIED = 16, 32
MAX_TEXT = 200
"""Characters of a text in it."""

ORIGINS = ("configured", "port mapping", "seen by peers", "own address", "its record")
"""How a candidate is known; on the wire its index."""
STANDS = ("used", "answers", "tried")
"""What has come of a way: the one in use, one that was proven, one that was not; so on the wire."""
KINDS = tuple(kind.value for kind in PathKind)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place where a node may be found."""

    endpoint: str
    origin: str
    """One of `ORIGINS`."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One way to the peer. `target`: the endpoint, or of a relayed one the relay's id in hex."""

    kind: str
    target: str
    stands: str
    """One of `STANDS`."""
    rtt: float | None
    """Smoothed round trip, seconds."""
    heard: float | None
    """Seconds since something last came by it."""
    sent: int
    """Probes, and how many were answered."""
    answered: int
    asked: float | None
    """Seconds since the last one was sent."""
    error: str


@dataclass(frozen=True, slots=True)
class View:
    """How one end sees it."""

    reason: str
    candidates: tuple[Candidate, ...]
    tried: tuple[Tried, ...]

    def encode(self) -> bytes:
        """At most `MAX_VIEW` bytes: what does not fit is left out, the last first."""
        candidates = [[c.endpoint, ORIGINS.index(c.origin)] for c in self.candidates]
        tried = [_pack(way) for way in self.tried]
        while True:
            view = encode([self.reason[:MAX_TEXT], candidates[:MAX_CANDIDATES], tried[:MAX_TRIED]])
            if len(view) <= MAX_VIEW:
                return view
            (tried or candidates).pop()


def decode_view(data: bytes) -> View:
    """The inverse of `View.encode`. Raises RemoteError("control")."""
    try:
        fields = decode(data, MAX_VIEW, MAX_VIEW_FIELDS)
    except DecodeError as error:
        raise RemoteError("control", str(error)) from None
    match fields:
        case [str(reason), [*candidates], [*tried]] if (
            len(candidates) <= MAX_CANDIDATES and len(tried) <= MAX_TRIED
        ):
            found = tuple(_candidate(item) for item in candidates)
            return View(_text(reason), found, tuple(_unpack(item) for item in tried))
        case _:
            raise RemoteError("control")


def _pack(way: Tried) -> list[object]:
    return [
        KINDS.index(way.kind),
        way.target,
        STANDS.index(way.stands),
        None if way.rtt is None else round(way.rtt * 1e6),
        None if way.heard is None else max(0, round(way.heard * 1e3)),
        way.sent,
        way.answered,
        None if way.asked is None else max(0, round(way.asked * 1e3)),
        way.error[:MAX_TEXT],
    ]


def _unpack(item: object) -> Tried:
    match item:
        case [int(kind), str(target), int(stands), rtt, heard, sent, answered, asked, str(error)]:
            return Tried(
                _word(KINDS, kind),
                _text(target),
                _word(STANDS, stands),
                _scaled(rtt, 1e6),
                _scaled(heard, 1e3),
                _count(sent),
                _count(answered),
                _scaled(asked, 1e3),
                _text(error),
            )
        case _:
            raise RemoteError("control")


def _candidate(item: object) -> Candidate:
    match item:
        case [str(endpoint), int(origin)]:
            return Candidate(_text(endpoint), _word(ORIGINS, origin))
        case _:
            raise RemoteError("control")


def _word(words: tuple[str, ...], index: int) -> str:
    if isinstance(index, bool) or not 0 <= index < len(words):
        raise RemoteError("control")
    return words[index]


def _text(text: str) -> str:
    if len(text) > MAX_TEXT or not text.isprintable():
        raise RemoteError("control")
    return text


def _scaled(value: object, scale: float) -> float | None:
    return None if value is None else _count(value) / scale


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 48:
        raise RemoteError("control")
    return value
