"""The bodies of lookups and links, types 10 to 15 of `messages`. What they do: `resolver`, `views`.

    type       body                                                                items
    10 LINK    flags u8 (1 urgent, 2 partial), nodes u32                           its own records
    11 LINKED  flags u8 (2 partial), nodes u32                                     its own, contacts
    12 UNLINK  flags u8 (2 partial), nodes u32                                     contacts
    13 FIND    nonce u32, target 16, pages u8 (1 to 4)                             its own record
    14 FOUND   nonce u32, index u8, total u8 (index below total, 1 to 16)          values, contacts
    15 STORE   key 16, flags u8 (1 cached)                                         a bundle, or half

`nodes` is the sender's estimate of how many nodes there are, 1 or more. "Partial" says that it
keeps no more than a few neighbours. Items are records; the state that comes with them is void.

    A -- LINK ----> B        A -- FIND n, key --> B           A -- STORE key: CERTIFICATE --> B
    A <-- LINKED -- B        A <-- FOUND n, 0 of 2 -- B       A -- STORE key: MEMBER -------> B
    (or UNLINK)              A <-- FOUND n, 1 of 2 -- B       (together where both fit)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

from gossip.errors import DecodeError

MAX_PAGES: Final = 4
"""Messages full of contacts that one FIND may ask for."""

MAX_PARTS: Final = 16
"""Messages of one answer."""

_LINK: Final = struct.Struct(">BI")
_FIND: Final = struct.Struct(">I16sB")
_FOUND: Final = struct.Struct(">IBB")
_STORE: Final = struct.Struct(">16sB")
STORE_SIZE: Final = _STORE.size
"""Bytes of the longest body that carries records."""

_URGENT: Final = 1
_PARTIAL: Final = 2
_CACHED: Final = 1


@dataclass(frozen=True, slots=True)
class Link:
    """Let us be neighbours. `urgent`: even if you must drop another one for it."""

    urgent: bool
    partial: bool
    nodes: int


@dataclass(frozen=True, slots=True)
class Linked:
    """We are neighbours."""

    partial: bool
    nodes: int


@dataclass(frozen=True, slots=True)
class Unlink:
    """We are not, or no longer."""

    partial: bool
    nodes: int


@dataclass(frozen=True, slots=True)
class Find:
    """Who answers for `target`, and who is close to it? At most `pages` messages of contacts."""

    nonce: int
    target: bytes
    pages: int


@dataclass(frozen=True, slots=True)
class Found:
    """One of `total` messages in answer to a FIND; each is of use alone."""

    nonce: int
    index: int
    total: int


@dataclass(frozen=True, slots=True)
class Store:
    """Keep this bundle for `key`; less long if it is `cached`, not from its subject."""

    key: bytes
    cached: bool


Query: TypeAlias = Link | Linked | Unlink | Find | Found | Store
CARRIERS: Final = (Link, Linked, Unlink, Find, Found, Store)
"""Bodies whose items are no news: they are for whoever takes the body."""


def encode_query(body: Query) -> tuple[int, bytes]:
    """The type and the bytes of a body."""
    match body:
        case Link(urgent, partial, nodes):
            return 10, _LINK.pack(_URGENT * urgent | _PARTIAL * partial, nodes)
        case Linked(partial, nodes):
            return 11, _LINK.pack(_PARTIAL * partial, nodes)
        case Unlink(partial, nodes):
            return 12, _LINK.pack(_PARTIAL * partial, nodes)
        case Find(nonce, target, pages):
            return 13, _FIND.pack(nonce, target, pages)
        case Found(nonce, index, total):
            return 14, _FOUND.pack(nonce, index, total)
        case Store(key, cached):
            return 15, _STORE.pack(key, _CACHED * cached)


def decode_query(kind: int, message: bytes, at: int) -> tuple[Query, int]:
    """A body that begins at `at`, and where it ends.

    Raises `DecodeError`, or `struct.error` where the message is too short.
    """
    if kind in (10, 11, 12):
        return _decode_link(kind, message, at), at + _LINK.size
    if kind == 13:
        nonce, target, pages = _FIND.unpack_from(message, at)
        if not 1 <= pages <= MAX_PAGES:
            raise DecodeError("a query for no contacts, or too many")
        return Find(nonce, target, pages), at + _FIND.size
    if kind == 14:
        nonce, index, total = _FOUND.unpack_from(message, at)
        if not index < total <= MAX_PARTS:
            raise DecodeError("a part of an answer that has no such part")
        return Found(nonce, index, total), at + _FOUND.size
    if kind == 15:
        key, flags = _STORE.unpack_from(message, at)
        if flags & ~_CACHED:
            raise DecodeError("flags that are not spoken here")
        return Store(key, bool(flags & _CACHED)), at + _STORE.size
    raise DecodeError(f"a message of type {kind}", "message-type")


def _decode_link(kind: int, message: bytes, at: int) -> Query:
    flags, nodes = _LINK.unpack_from(message, at)
    if flags & ~(_PARTIAL | _URGENT if kind == 10 else _PARTIAL) or not nodes:
        raise DecodeError("a link of impossible flags or size")
    partial = bool(flags & _PARTIAL)
    if kind == 10:
        return Link(bool(flags & _URGENT), partial, nodes)
    return Linked(partial, nodes) if kind == 11 else Unlink(partial, nodes)
