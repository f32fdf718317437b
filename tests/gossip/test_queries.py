"""The bytes of lookups and links."""

from __future__ import annotations

import pytest

from gossip import messages
from gossip.errors import DecodeError
from gossip.queries import MAX_PAGES, MAX_PARTS, Find, Found, Link, Linked, Query, Store, Unlink

TARGET = bytes(range(16))


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (Link(True, False, 9), 5),
        (Link(False, True, 2**32 - 1), 5),
        (Linked(True, 1), 5),
        (Unlink(False, 7), 5),
        (Find(7, TARGET, MAX_PAGES), 21),
        (Found(7, 15, MAX_PARTS), 6),
        (Store(TARGET, True), 17),
    ],
)
def test_what_was_encoded_comes_back(body: Query, size: int) -> None:
    data = messages.encode(3, body)
    assert len(data) == messages.HEADER_SIZE + size
    assert messages.decode(data) == messages.Envelope(3, body, ())


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\x04\x00\x00\x00\x01",
        b"\x0b\x01\x00\x00\x00\x01",
        b"\x0c\x02\x00\x00\x00\x00",
        b"\x0d\x00\x00\x00\x07" + TARGET + b"\x00",
        b"\x0d\x00\x00\x00\x07" + TARGET + b"\x05",
        b"\x0d\x00\x00\x00\x07" + TARGET,
        b"\x0e\x00\x00\x00\x07\x01\x01",
        b"\x0e\x00\x00\x00\x07\x00\x11",
        b"\x0f" + TARGET + b"\x02",
        b"\x10",
    ],
)
def test_what_cannot_be_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        messages.decode(b"\x01" + body[:1] + bytes(8) + body[1:])
