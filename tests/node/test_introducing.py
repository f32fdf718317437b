"""Who answers a stream says so, and nothing is believed without a signature."""

from __future__ import annotations

import pytest

from meshd.node.errors import RemoteError
from meshd.node.introducing import introduce, read_introduction
from meshd.node.wire import INTRODUCTION
from tests.node.virtual import Host, Mesh, many_routes


def introduction(host: Host) -> bytes:
    data = introduce(host.node.gossip, host.identity.id)
    assert data is not None
    return data


def test_an_introduction_holds_the_certificate_and_the_node_record() -> None:
    alpha = Mesh().alpha()
    data = introduction(alpha)
    assert data[0] == INTRODUCTION
    certificate, member = read_introduction(data)
    assert certificate.subject == member.subject == alpha.identity.id


def test_a_certificate_too_large_for_a_record_cannot_be_shown() -> None:
    mesh = Mesh()
    mesh.alpha()
    large = mesh.host("large", grants=many_routes(64))
    assert introduce(large.node.gossip, large.identity.id) is None


def test_anything_else_is_refused() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    data, other = introduction(alpha), introduction(beta)
    half = len(data) // 2
    first = 3 + int.from_bytes(data[1:3], "big")
    swapped = data[:1] + data[first:] + data[1:first]
    mixed = data[:first] + other[3 + int.from_bytes(other[1:3], "big") :]
    for bad in (data[:1], data[:half], data[:-1], data + b"\0", swapped, mixed, b"\x06\xff\xff"):
        with pytest.raises(RemoteError, match="introduction"):
            read_introduction(bad)


def test_a_forged_introduction_makes_no_member() -> None:
    mesh = Mesh()
    alpha = mesh.alpha()
    stranger = Mesh(seed=9).alpha()
    endpoint = ("tls:192.0.2.9", 443)
    alpha.node.streams._dialled[endpoint] = mesh.world.now
    peers = set(alpha.node.state.peers)
    alpha.receive(introduction(stranger), endpoint)
    assert alpha.drops["introduction"] == 1
    assert set(alpha.node.state.peers) == peers


def test_only_the_first_introduction_of_a_stream_is_looked_at() -> None:
    mesh = Mesh()
    alpha, beta = mesh.alpha(), mesh.host("beta")
    endpoint = ("tls:192.0.2.9", 443)
    alpha.node.streams._dialled[endpoint] = mesh.world.now
    refused = []
    for _ in range(2):
        alpha.receive(introduction(beta), endpoint)
        refused.append(alpha.drops["introduction"])
    assert refused == [0, 1]
