"""Ids and overlay addresses."""

from __future__ import annotations

from hashlib import blake2s
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest

from gossip import NodeId
from meshd.node.addresses import (
    assign4,
    lookup_key,
    mesh_id,
    mesh_prefix6,
    node_id,
    overlay6,
)
from meshd.node.errors import LocalError

KEY = bytes(range(32))
NODE = node_id(KEY)


def test_an_id_is_the_blake2s_128_of_the_raw_key() -> None:
    assert blake2s(KEY, digest_size=16).digest() == NODE
    assert mesh_id(KEY) == NODE


def test_a_key_of_another_size_has_no_id() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        node_id(KEY[:31])


def test_the_ipv6_address_holds_the_first_half_of_the_node_id() -> None:
    mesh = bytes(range(100, 116))
    address = overlay6(mesh, NODE)
    assert address.packed == b"\xfd" + mesh[:7] + NODE[:8]
    assert address in mesh_prefix6(mesh)
    assert mesh_prefix6(mesh).prefixlen == 64
    assert address.is_private


def test_the_ipv6_address_of_a_known_key_stays_what_it_is() -> None:
    assert overlay6(mesh_id(bytes(32)), NODE) == IPv6Address(
        b"\xfd" + blake2s(bytes(32), digest_size=16).digest()[:7] + NODE[:8]
    )


def test_the_same_node_gets_the_same_free_ipv4_address() -> None:
    prefix = IPv4Network("100.64.0.0/16")
    assert assign4(NODE, prefix, ()) == assign4(NODE, prefix, ())


def test_a_taken_ipv4_address_yields_the_next_one() -> None:
    prefix = IPv4Network("100.64.0.0/16")
    first = assign4(NODE, prefix, ())
    assert assign4(NODE, prefix, {first}) == first + 1


def test_a_small_prefix_is_filled_to_the_last_address_and_never_beyond() -> None:
    prefix = IPv4Network("10.9.8.0/29")
    taken: set[IPv4Address] = set()
    for number in range(6):
        taken.add(assign4(NodeId(bytes([number]) * 16), prefix, taken))
    assert taken == set(prefix.hosts())
    with pytest.raises(LocalError, match="taken"):
        assign4(NODE, prefix, taken)


def test_addresses_taken_elsewhere_do_not_fill_a_prefix() -> None:
    prefix = IPv4Network("10.9.8.0/30")
    elsewhere = set(IPv4Network("10.1.0.0/24").hosts())
    assert assign4(NODE, prefix, elsewhere) in prefix


def test_a_prefix_without_room_is_refused() -> None:
    with pytest.raises(LocalError, match="/30"):
        assign4(NODE, IPv4Network("10.0.0.0/31"), ())


def test_names_and_addresses_have_lookup_keys_of_their_own() -> None:
    address = IPv4Address("100.64.0.7")
    keys = {lookup_key(address), lookup_key("100.64.0.7"), lookup_key("node-7"), lookup_key("n")}
    assert len(keys) == 4
    assert all(len(key) == 16 for key in keys)
    expected = blake2s(b"aegisray keyname:node-7", digest_size=16).digest()
    assert lookup_key("node-7") == expected
