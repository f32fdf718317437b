"""Messages: their bytes, and what is refused."""

from __future__ import annotations

import pytest

from gossip import messages
from gossip.errors import DecodeError
from gossip.ids import NodeId
from gossip.members import MemberState
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
    RecordItem,
    Records,
    Want,
)

from .cluster import FakeAuthority, id_of, key_of, record_of

NODE = NodeId(bytes(range(16)))
HASHES = tuple(7 * i if i % 3 else 0 for i in range(BUCKETS))
ENTRIES = (Entry(0, NODE, 5, b"tag!"), Entry(2, NODE, 6, b"tag?"))
BODIES: list[Body] = [
    Ping(1),
    Ack(2, 2**64 - 1),
    PingRequest(3, NODE),
    Nack(4),
    Gossip(),
    Buckets(HASHES),
    Buckets((0,) * BUCKETS),
    Entries(bytes(16), b"\xff" * 16, ENTRIES),
    Entries(bytes(16), b"\xff" * 16, ()),
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
    want = messages.encode(0, Want(((2, NODE),)))
    assert want == b"\x01\x08" + bytes(8) + b"\x02" + NODE


def test_items_come_through() -> None:
    record = RecordItem(record_of("a"), MemberState.SUSPECT)
    accusation = messages.accuse(FakeAuthority(key_of("b")), id_of(key_of("b")), NODE, 9)
    encoded = [messages.encode_item(record), messages.encode_item(accusation)]
    envelope = messages.decode(messages.encode(1, Ping(1), encoded))
    assert envelope.items == (record, accusation)


def test_an_accusation_is_signed_for_one_mesh() -> None:
    key = key_of("b")
    authority = FakeAuthority(key, b"here")
    accusation = messages.accuse(authority, id_of(key), NODE, 9)
    good = accusation.signed_bytes(b"here")
    assert authority.verify(key, id_of(key), good, accusation.signature)
    other = accusation.signed_bytes(b"there")
    assert not authority.verify(key, id_of(key), other, accusation.signature)


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
        (messages.encode(1, Ping(1)) + b"\x00", "part of an item"),
        (messages.encode(1, Ping(1)) + b"\x00\xff\xff", "an item that ends early"),
        (messages.encode(1, Ping(1)) + b"\x09\x00\x00", "an unknown item"),
        (messages.encode(1, Ping(1)) + b"\x00\x00\x01\x00", "a record of no bytes"),
        (messages.encode(1, Gossip()) + b"\x01\x00\x02ab", "an accusation too short"),
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


def test_the_number_of_items_is_bounded() -> None:
    item = messages.encode_item(messages.accuse(FakeAuthority(key_of("b")), NODE, NODE, 9))
    messages.decode(messages.encode(1, Gossip(), [item] * messages.MAX_ITEMS))
    with pytest.raises(DecodeError):
        messages.decode(messages.encode(1, Gossip(), [item] * (messages.MAX_ITEMS + 1)))
