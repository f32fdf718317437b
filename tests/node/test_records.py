from __future__ import annotations

from dataclasses import replace

import pytest

from gossip.codec import encode
from meshd.node.errors import RemoteError
from meshd.node.records import (
    MAX_BODY,
    MAX_ENDPOINTS,
    MAX_RECORD_BODY,
    MAX_ROUTES,
    RELAYS,
    ListNote,
    NodeRecord,
    decode_chain,
    decode_node_record,
    decode_revocations,
    decode_routes,
    encode_chain,
    encode_revocations,
    encode_routes,
)
from meshd.node.wire import VERSION

STATIC = bytes(range(32))
HERE = (("192.0.2.1", 443), ("2001:db8::1", 443))


def test_a_node_record_comes_back() -> None:
    record = NodeRecord(STATIC, HERE, 0, (1, 3))
    assert decode_node_record(record.encode()) == record
    assert not record.relays


def test_a_node_speaks_this_version_and_relays_unless_it_says_otherwise() -> None:
    record = decode_node_record(NodeRecord(STATIC, ()).encode())
    assert record.versions == (VERSION, VERSION)
    assert record.relays


def test_a_record_without_the_relay_flag_does_not_relay() -> None:
    assert not NodeRecord(STATIC, (), 0xFE).relays
    assert NodeRecord(STATIC, (), 0xFE | RELAYS).relays


@pytest.mark.parametrize(("host", "kept"), [("192.0.2.{}", 12), ("2001:db8::{}", 6)])
def test_endpoints_that_do_not_fit_are_left_out_from_the_last(host: str, kept: int) -> None:
    endpoints = tuple((host.format(number), 443) for number in range(1, 30))
    body = NodeRecord(STATIC, endpoints).encode()
    assert len(body) <= MAX_BODY
    assert decode_node_record(body).endpoints == endpoints[:kept]


def test_endpoints_that_nobody_can_send_to_are_left_out() -> None:
    packed = [b"\xc0\0\2\1\1\xbb", b"\xe0\0\0\1\1\xbb", b"short", bytes(18), b"\xc0\0\2\2\0\0"]
    record = decode_node_record(encode([1, 1, 0, STATIC, packed]))
    assert record.endpoints == (HERE[0],)


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        [1, 1, 0, STATIC],
        [1, 1, 0, STATIC, [], 0],
        [1, 1, 0, STATIC[1:], []],
        [2, 1, 0, STATIC, []],
        [0, 1, 0, STATIC, []],
        ["1", 1, 0, STATIC, []],
        [1, 1, None, STATIC, []],
        [1, 1, 0, STATIC, ["text"]],
        [1, 1, 0, STATIC, [b"123456"] * (MAX_ENDPOINTS + 1)],
        [1, 1, 0, STATIC, b""],
    ],
)
def test_what_is_no_node_record_is_refused(fields: object) -> None:
    with pytest.raises(RemoteError) as caught:
        decode_node_record(encode(fields))
    assert caught.value.reason == "record"


def test_chains_and_routes_come_back() -> None:
    chain = (b"leaf", b"issuer")
    body = encode_chain(chain)
    assert body is not None
    assert decode_chain(body) == chain
    routes = ("10.0.0.0/8", "2001:db8::/32")
    assert decode_routes(encode_routes(routes)) == routes
    assert decode_routes(encode_routes(())) == ()


def test_of_a_chain_that_does_not_fit_the_leaf_stays_or_nothing() -> None:
    issuer = bytes(440)
    for leaf, kept in ((bytes(500), 2), (bytes(900), 1)):
        body = encode_chain([leaf, issuer])
        assert body is not None
        assert len(body) <= MAX_RECORD_BODY
        assert decode_chain(body) == (leaf, issuer)[:kept]
    assert encode_chain([bytes(MAX_RECORD_BODY), issuer]) is None


def test_more_routes_than_a_record_holds_are_left_out() -> None:
    routes = [f"10.{number}.0.0/16" for number in range(MAX_ROUTES + 5)]
    assert decode_routes(encode_routes(routes)) == tuple(routes[:MAX_ROUTES])


@pytest.mark.parametrize("fields", [[], {}, 5, [b""] * 5, ["text"], [[b""]], b"der"])
def test_what_is_no_chain_is_refused(fields: object) -> None:
    with pytest.raises(RemoteError, match="record"):
        decode_chain(encode(fields))


@pytest.mark.parametrize(
    "fields", [{}, 5, [b"10.0.0.0/8"], ["x" * 44], ["10.0.0.0/8"] * (MAX_ROUTES + 1), "10.0.0.0/8"]
)
def test_what_is_no_list_of_routes_is_refused(fields: object) -> None:
    with pytest.raises(RemoteError, match="record"):
        decode_routes(encode(fields))


@pytest.mark.parametrize("body", [b"", b"\x9f\xff", b"\x80\x00", b"\x1c", bytes(9000)])
def test_other_bytes_are_no_record_of_any_kind(body: bytes) -> None:
    for read in (decode_node_record, decode_chain, decode_routes):
        with pytest.raises(RemoteError, match="record"):
            read(body)


def test_of_lists_that_do_not_fit_the_ca_certificate_goes_first_and_then_the_list() -> None:
    der, authority = b"\x30\x82\x01\x90" + bytes(400), b"\x30\x82\x01\x90" + bytes(400)
    note = ListNote(bytes(16), 1, bytes(16), der + authority)
    assert decode_revocations(encode_revocations([note])) == (note,)
    other = replace(note, authority=b"\x01" * 16, shown=der)
    alone = replace(note, shown=der)
    assert decode_revocations(encode_revocations([note, other])) == (alone, other)
    junk = replace(note, shown=bytes(600))
    found = decode_revocations(encode_revocations([junk, other]))
    assert found == (replace(junk, shown=None), other)
