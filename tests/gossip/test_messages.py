"""Messages: their bytes, and what is refused."""

from __future__ import annotations

import struct

import pytest

from gossip import coordinates, messages
from gossip.errors import DecodeError
from gossip.ids import NodeId
from gossip.messages import (
    BUCKETS,
    Ack,
    Body,
    Buckets,
    Entries,
    Entry,
    Gossip,
    Nack,
    Ping,
    PingRequest,
    Records,
    Want,
)

PLACE = struct.pack(">11e", 1, -2, 3, -4, 5, -6, 7, -8, 9, -0.5, 0.25)
NODE = NodeId(bytes(range(16)))
HASHES = tuple(7 * i if i % 3 else 0 for i in range(BUCKETS))
ENTRIES = (Entry(0, NODE, 5, b"tag!"), Entry(2, NODE, 6, b"tag?"))
BODIES: list[Body] = [
    Ping(1),
    Ack(2, 2**64 - 1),
    Ack(2, 1, coordinates.unpack(PLACE)),
    PingRequest(3, NODE),
    Nack(4),
    Gossip(),
    Buckets(HASHES),
    Buckets((0,) * BUCKETS),
    Entries(bytes(16), b"\xff" * 16, ENTRIES),
    Entries(bytes(16), b"\xff" * 16, ()),
    Entries(bytes(16), b"\xff" * 16, ENTRIES, only_global=True),
    Buckets(HASHES, only_global=True),
    Ack(1, 2, partial=True, linked=True, only_global=True),
    Want(((0, NODE), (2, NODE))),
    Records(),
]


@pytest.mark.parametrize("body", BODIES)
def test_every_body_comes_through(body: Body) -> None:
    message = messages.encode(77, body)
    envelope = messages.decode(message)
    assert (envelope.sequence, envelope.body, envelope.items) == (77, body, ())
    assert messages.body_size(body) == len(message)


def test_the_bytes_are_those_that_are_drawn() -> None:
    assert messages.encode(258, Ping(7)).hex() == "0101" + "0000000000000102" + "00000007"
    place = Ack(1, 2, coordinates.unpack(PLACE))
    ack = messages.encode(0, place)
    assert ack == b"\x01\x02" + bytes(8) + bytes((0, 0, 0, 1)) + bytes(7) + b"\x02\x00" + PLACE
    flagged = messages.encode(0, Ack(1, 2, partial=True, only_global=True))
    assert flagged[22] == 5
    want = messages.encode(0, Want(((2, NODE),)))
    assert want == b"\x01\x08" + bytes(8) + b"\x02" + NODE


@pytest.mark.parametrize("body", [b for b in BODIES if not isinstance(b, Gossip | Records)])
def test_a_message_that_ends_early_is_refused(body: Body) -> None:
    message = messages.encode(1, body)
    with pytest.raises(DecodeError):
        messages.decode(message[:-1])


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (b"", "nothing"),
        (b"\x02\x01" + bytes(12), "another version"),
        (b"\x01\x63" + bytes(8), "an unknown type"),
        (b"\x01\x05" + b"\xff" * 8, "a sequence out of range"),
        (messages.encode(1, Ack(1, 2))[:-2] + b"\x7e\x00", "a coordinate that is no number"),
        (messages.encode(1, Want(())), "a wish for nothing"),
        (messages.encode(1, Entries(b"\x02" * 16, b"\x01" * 16, ())), "a range backwards"),
        (messages.encode(1, Entries(bytes(16), bytes(16), ENTRIES)), "entries out of range"),
        (
            messages.encode(1, Entries(bytes(16), b"\xff" * 16, ENTRIES[::-1])),
            "entries out of order",
        ),
        (b"\x01\x06" + bytes(8) + b"\x01" + bytes(15) + bytes(8), "a full bucket that is empty"),
        (bytes(70000), "too many bytes"),
    ],
)
def test_malformed_messages_are_refused(message: bytes, what: str) -> None:
    with pytest.raises(DecodeError):
        messages.decode(message)
