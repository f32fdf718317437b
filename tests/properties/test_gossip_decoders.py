"""Every decoder of gossip: what was encoded comes back, and anything else is refused cleanly."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import codec, coordinates, messages, records
from gossip.errors import DecodeError, GossipError
from gossip.ids import MAX_SEQUENCE, NodeId
from gossip.items import Accusation, Equivocation, Item, RecordItem, encode_item
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
    Records,
    Want,
)
from gossip.queries import Find, Found, Link, Linked, Store, Unlink
from gossip.records import MAX_MEMBER_SIZE, MAX_RECORD_SIZE, OVERHEAD, Record, Statement
from tests.gossip.cluster import id_of, key_of, protocol_of, record_of

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
sequences = st.integers(0, MAX_SEQUENCE)
nodes = st.binary(min_size=16, max_size=16).map(NodeId)
signatures = st.binary(min_size=64, max_size=64)

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**64), 2**64 - 1), st.binary(), st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.one_of(st.text(), st.integers(-(2**64), 2**64 - 1)), inner, max_size=5),
    ),
    max_leaves=20,
)


@st.composite
def any_record(draw: st.DrawFn) -> Record:
    kind = draw(st.integers(0, 15))
    withdrawn = draw(st.booleans())
    room = (MAX_RECORD_SIZE if kind else MAX_MEMBER_SIZE) - OVERHEAD
    body = b"" if withdrawn else draw(st.binary(max_size=room))
    key = draw(st.binary(min_size=32, max_size=32))
    return Record(kind, key, draw(nodes), draw(sequences), withdrawn, body, draw(signatures))


@st.composite
def entries(draw: st.DrawFn) -> Entries:
    keys = sorted(draw(st.lists(st.tuples(nodes, st.integers(0, 15)), max_size=20, unique=True)))
    made = tuple(
        Entry(kind, node, draw(u64), draw(st.binary(min_size=4, max_size=4))) for node, kind in keys
    )
    return Entries(bytes(16), b"\xff" * 16, made, draw(st.booleans()))


halves = st.floats(-65504, 65504, width=16)
places = st.builds(
    lambda vector, height, adjustment, error: coordinates.unpack(
        struct.pack(">11e", *vector, height, adjustment, error)
    ),
    st.lists(halves, min_size=8, max_size=8),
    st.floats(0, 65504, width=16),
    halves,
    st.floats(0, 1.5, width=16),
)


@st.composite
def proofs(draw: st.DrawFn) -> Equivocation:
    hashes = st.binary(min_size=32, max_size=32)
    words = st.tuples(st.integers(0, 1), st.integers(0, 2**16 - 1), hashes)
    low, high = sorted(draw(st.lists(words, min_size=2, max_size=2, unique=True)))
    pair = (Statement(*low, draw(signatures)), Statement(*high, draw(signatures)))
    key = draw(st.binary(min_size=32, max_size=32))
    return Equivocation(draw(st.integers(0, 15)), draw(sequences), draw(nodes), key, pair)


bodies: st.SearchStrategy[Body] = st.one_of(
    st.builds(Ping, u32),
    st.builds(Ack, u32, u64, places),
    st.builds(PingRequest, u32, nodes),
    st.builds(Nack, u32),
    st.just(Gossip()),
    st.just(Records()),
    st.builds(
        Buckets,
        st.lists(u64, min_size=BUCKETS, max_size=BUCKETS).map(tuple),
        st.booleans(),
    ),
    st.builds(Link, st.booleans(), st.booleans(), st.integers(1, 2**32 - 1)),
    st.builds(Linked, st.booleans(), st.integers(1, 2**32 - 1)),
    st.builds(Unlink, st.booleans(), st.integers(1, 2**32 - 1)),
    st.builds(Find, u32, nodes, st.integers(1, 4)),
    st.integers(1, 16).flatmap(
        lambda total: st.builds(Found, u32, st.integers(0, total - 1), st.just(total))
    ),
    st.builds(Store, nodes, st.booleans()),
    entries(),
    st.lists(st.tuples(st.integers(0, 255), nodes), min_size=1, max_size=50).map(
        lambda keys: Want(tuple(keys))
    ),
)
items: st.SearchStrategy[Item] = st.one_of(
    st.builds(RecordItem, any_record(), st.sampled_from(MemberState)),
    st.builds(Accusation, nodes, sequences, nodes, signatures),
    proofs(),
)


@given(values)
def test_what_cbor_encodes_comes_back(value: Any) -> None:
    assert codec.decode(codec.encode(value), max_size=1 << 20) == value


@given(st.binary(max_size=200))
def test_what_cbor_decodes_has_these_bytes_and_no_others(data: bytes) -> None:
    try:
        value = codec.decode(data)
    except DecodeError:
        return
    assert codec.encode(value) == data


@given(values, st.data())
def test_bent_cbor_is_refused_or_is_canonical(value: Any, data: st.DataObject) -> None:
    good = bytearray(codec.encode(value))
    good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        bent = codec.decode(bytes(good), max_size=1 << 20)
    except DecodeError:
        return
    assert codec.encode(bent) == good


@given(any_record())
def test_what_a_record_encodes_comes_back(record: Record) -> None:
    assert records.decode(record.encode()) == record


@given(any_record(), st.data())
def test_a_bent_record_is_refused_or_is_another(record: Record, data: st.DataObject) -> None:
    bent = bytearray(record.encode())
    bent[data.draw(st.integers(0, len(bent) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(bent)[: data.draw(st.integers(0, len(bent)))]
    for changed in (bytes(bent), cut):
        try:
            decoded = records.decode(changed)
        except DecodeError:
            continue
        assert decoded != record
        assert decoded.encode() == changed


@given(sequences, bodies, st.lists(items, max_size=4))
def test_what_a_message_encodes_comes_back(sequence: int, body: Body, carried: list[Item]) -> None:
    if isinstance(body, Buckets | Entries | Want):
        carried = []
    encoded = messages.encode(sequence, body, [encode_item(item) for item in carried])
    envelope = messages.decode(encoded)
    assert (envelope.sequence, envelope.body, list(envelope.items)) == (sequence, body, carried)


@given(st.binary(max_size=1200))
def test_noise_is_refused_or_decodes(data: bytes) -> None:
    for message in (data, b"\x01" + data):
        with suppress(DecodeError):
            envelope = messages.decode(message)
            assert messages.encode(envelope.sequence, envelope.body)[:2] == message[:2]


@given(sequences, bodies, st.lists(items, max_size=3), st.data())
def test_a_node_survives_bent_messages(
    sequence: int, body: Body, carried: list[Item], data: st.DataObject
) -> None:
    protocol = protocol_of("a")
    protocol.publish(0, b"", 0.0)
    protocol.accept(record_of("b"), 0.0)
    protocol.drain()
    if isinstance(body, Buckets | Entries | Want):
        carried = []
    message = bytearray(messages.encode(sequence, body, [encode_item(item) for item in carried]))
    if data.draw(st.booleans()):
        message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    held = protocol.records()
    refused = False
    try:
        protocol.receive(bytes(message), id_of(key_of("b")), 1.0)
    except GossipError:
        refused = True
    assert sum(protocol.statistics().refused.values()) >= refused
    assert protocol.statistics().messages_received == (not refused)
    assert protocol.records() == held
    assert len(protocol.drain()) <= (0 if refused else 60)


@pytest.mark.parametrize("count", [8192])
def test_the_largest_cbor_of_the_smallest_items_is_decoded_in_time(count: int) -> None:
    assert len(codec.decode(codec.encode([0] * (count - 3)))) == count - 3
