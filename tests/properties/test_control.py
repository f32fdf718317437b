"""Control messages come back as they went; anything else is refused, and in one way."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from gossip import NodeId
from gossip.codec import encode
from meshd.node.control import (
    CertificateChain,
    Close,
    Control,
    Enrol,
    Enrolled,
    Gossip,
    Probe,
    ProbeAck,
    RelayOpen,
    RelayOpened,
    RelayRefused,
    decode_control,
    encode_control,
)
from meshd.node.errors import RemoteError
from meshd.node.metering import Tally
from meshd.node.records import (
    MAX_BODY,
    NodeRecord,
    decode_chain,
    decode_node_record,
    decode_routes,
    encode_chain,
    encode_routes,
)
from meshd.node.wire import CONTROL, ENTRY, ENTRY_SIZE

nodes = st.binary(min_size=16, max_size=16).map(NodeId)
nonces = st.integers(0, (1 << 64) - 1)
ports = st.integers(1, 65535)
hosts = st.one_of(
    st.ip_addresses(v=4, network="100.0.0.0/8"), st.ip_addresses(v=6, network="2000::/3")
)
endpoints = st.tuples(hosts.map(str), ports)
tallies = st.builds(Tally, *[st.integers(0, (1 << 63) - 1)] * 5)
messages = st.one_of(
    st.builds(Gossip, st.binary(max_size=1200)),
    st.builds(Probe, nonces, st.integers(0, 1500)),
    st.builds(ProbeAck, nonces, st.one_of(st.none(), endpoints), tallies),
    st.builds(RelayOpen, nodes),
    st.builds(RelayOpened, st.integers(0, (1 << 32) - 1), nodes, st.booleans()),
    st.builds(RelayRefused, nodes),
    st.builds(Enrol, st.binary(max_size=4000)),
    st.builds(Enrolled, st.binary(max_size=30_000)),
    st.builds(Enrolled, st.none(), st.text(max_size=200)),
    st.builds(
        CertificateChain,
        st.lists(st.binary(max_size=4096), min_size=1, max_size=4).map(tuple),
    ),
    st.just(Close()),
)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 63), (1 << 64) - 1),
        st.binary(max_size=20),
        st.text(max_size=10),
        nodes,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


def body(message: Control) -> bytes:
    """A message without its entry's header."""
    return encode_control(message)[ENTRY_SIZE:]


def meaning(data: bytes) -> Control | None:
    """What `data` says; None when it is refused."""
    try:
        return decode_control(data)
    except RemoteError as error:
        if error.reason != "control":
            raise
        return None


@given(messages)
def test_every_message_comes_back(message: Control) -> None:
    data = encode_control(message)
    assert ENTRY.unpack_from(data) == (CONTROL << 24 | len(data) - ENTRY_SIZE,)
    assert decode_control(data[ENTRY_SIZE:]) == message


@given(st.binary(max_size=300))
@example(b"\x82\xf5\x40")
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    meaning(data)


@given(st.lists(st.one_of(st.integers(0, 12), values), max_size=4))
def test_any_array_is_a_message_or_refused_and_no_message_has_two_spellings(
    fields: list[object],
) -> None:
    data = encode(fields)
    message = meaning(data)
    if message is None or isinstance(message, Probe | ProbeAck):
        return  # padding need not be zero; a mapped address is the one of IPv4
    assert body(message) == data or isinstance(message, Enrolled)


@given(messages, st.data())
def test_a_message_that_was_changed_is_another_or_refused_and_half_of_one_is_refused(
    message: Control, data: st.DataObject
) -> None:
    whole = body(message)
    assert meaning(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    meaning(bytes(changed))


@given(
    st.binary(min_size=32, max_size=32),
    st.lists(endpoints, max_size=20).map(tuple),
    st.integers(0, 255),
    st.integers(1, 9),
    st.integers(0, 9),
)
def test_a_node_record_keeps_the_first_endpoints_that_fit(
    static: bytes,
    known: tuple[tuple[str, int], ...],
    flags: int,
    low: int,
    more: int,
) -> None:
    data = NodeRecord(static, known, flags, (low, low + more)).encode()
    assert len(data) <= MAX_BODY
    record = decode_node_record(data)
    assert record == NodeRecord(static, known[: len(record.endpoints)], flags, (low, low + more))
    assert len(record.endpoints) >= min(len(known), 5)


@given(st.one_of(st.binary(max_size=200), values.map(encode)))
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    for read in (decode_node_record, decode_chain, decode_routes):
        try:
            read(data)
        except RemoteError as error:
            if error.reason != "record":
                raise


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=3),
    st.lists(st.text(max_size=43), max_size=64),
)
def test_chains_and_routes_come_back_as_far_as_they_fit(
    chain: list[bytes], routes: list[str]
) -> None:
    encoded = encode_chain(chain)
    assert encoded is not None
    assert decode_chain(encoded) == tuple(chain)
    kept = decode_routes(encode_routes(routes))
    assert kept == tuple(routes[: len(kept)])
    assert len(kept) == len(routes) or len(encode(routes)) > 900
