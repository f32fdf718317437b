"""What is sent unasked: probes in all, bytes to addresses that nobody has proven."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshd.node.allowance import (
    CROWD,
    MAX_ADDRESSES,
    PROBE_BURST,
    PROBE_RATE,
    UNPROVEN_BURST,
    UNPROVEN_LEAST,
    UNPROVEN_RATE,
    Allowance,
    ProbeBudget,
)
from meshd.node.handshake import HANDSHAKE_SIZE
from meshd.node.wire import Endpoint
from tests.node.virtual import CONFIG, Mesh

VICTIM = "192.0.2.200"


def test_probes_have_a_rate_and_some_are_spared() -> None:
    budget = ProbeBudget()
    assert sum(budget.take(0.0, 10.0) for _ in range(100)) == PROBE_BURST - 10
    assert sum(budget.take(0.0) for _ in range(100)) == 10
    taken = sum(budget.take(second / 10) for second in range(1, 101) for _ in range(10))
    assert taken == 10 * PROBE_RATE
    assert budget.take(1e9)


def test_an_address_that_is_not_proven_gets_some_handshakes_and_then_little() -> None:
    allowance = Allowance()
    assert sum(allowance.take(VICTIM, HANDSHAKE_SIZE, 0.0) for _ in range(100)) == 5
    sent = sum(
        60 for second in range(1, 1001) for _ in range(50) if allowance.take(VICTIM, 60, second)
    )
    assert sent <= 1000 * UNPROVEN_RATE
    assert allowance.take("192.0.2.201", HANDSHAKE_SIZE, 0.0)
    allowance.proven(VICTIM)
    assert allowance.take(VICTIM, int(UNPROVEN_BURST), 1001.0)


def test_what_a_person_named_gets_all() -> None:
    allowance = Allowance()
    allowance.named = (VICTIM,)
    assert all(allowance.take(VICTIM, HANDSHAKE_SIZE, 0.0) for _ in range(100))
    assert sum(allowance.take("192.0.2.201", HANDSHAKE_SIZE, 0.0) for _ in range(100)) == 5
    assert len(allowance) == 1


@pytest.mark.parametrize("members", [1, 32, 74, 200, 1000, 2000])
def test_a_mesh_as_a_whole_sends_little_to_an_address_that_one_member_claims(members: int) -> None:
    """Each of them as much as it may, for an hour."""
    allowance = Allowance()
    allowance.members = members
    first = sum(60 for _ in range(1000) if allowance.take(VICTIM, 60, 0.0))
    assert first * members <= max(CROWD * UNPROVEN_BURST, UNPROVEN_LEAST * members)
    assert first >= 2 * HANDSHAKE_SIZE
    later = sum(60 for t in range(4, 3604, 4) for _ in range(9) if allowance.take(VICTIM, 60, t))
    assert later * members <= 3600 * UNPROVEN_RATE * CROWD + 60 * members


def test_who_has_packets_for_a_member_may_try_its_endpoints_more() -> None:
    allowance = Allowance()
    allowance.members = 1000
    assert allowance.take(VICTIM, 2600, 0.0)
    assert not allowance.take(VICTIM, 60, 1.0)
    assert allowance.take(VICTIM, 3400, 1.0, wanted=True)
    assert not allowance.take(VICTIM, 60, 1.0, wanted=True)
    assert allowance.take(VICTIM, 60, 3.0, wanted=True)
    assert not allowance.take(VICTIM, 60, 3.0)


def test_ports_share_their_address_and_subnets_of_ipv6_too() -> None:
    allowance = Allowance()
    assert allowance.take("2001:db8::1", 6000, 0.0)
    assert not allowance.take("2001:db8::2", 60, 0.0)
    assert allowance.take("2001:db8:0:1::2", 60, 0.0)


def test_what_is_remembered_is_bounded() -> None:
    allowance = Allowance()
    for number in range(3 * MAX_ADDRESSES):
        allowance.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 60, 0.0)
    assert len(allowance) == MAX_ADDRESSES


def test_a_member_that_claims_anothers_address_makes_no_flood() -> None:
    """Four members hear of twelve ports of a bystander; two have packets for who claims them."""
    mesh = Mesh()
    alpha = mesh.alpha()
    got: list[tuple[float, int]] = []
    mesh.network.place(VICTIM)
    mesh.network.attach(VICTIM, lambda data, source: got.append((mesh.world.now, len(data))))
    claimed: tuple[Endpoint, ...] = tuple((VICTIM, port) for port in range(1000, 1012))
    others = [mesh.host(f"b{number}") for number in range(3)]
    mesh.connect(alpha, *others)
    liar = mesh.host("liar", config=replace(CONFIG, endpoints=claimed))
    begun = mesh.world.now
    mesh.run(20)
    assert all(host.ready(liar) for host in others)
    records = [host.peer(liar).record for host in others]
    assert all(record is not None and len(record.endpoints) > 9 for record in records)
    for _ in range(60):
        for host in others[:2]:
            host.send(liar, b"are you there?")
        mesh.run(2)
    liar.kill()
    mesh.run(120)
    allowed = UNPROVEN_BURST + (mesh.world.now - begun) * UNPROVEN_RATE
    assert HANDSHAKE_SIZE <= sum(size for _, size in got) <= 4 * allowed


NOWHERE: list[Endpoint] = [
    ("224.0.0.251", 5353),
    ("239.255.255.250", 1900),
    ("255.255.255.255", 443),
    ("0.0.0.0", 443),
    ("127.0.0.1", 443),
    ("127.8.8.8", 53),
    ("::", 443),
    ("::1", 443),
    ("ff02::1", 443),
    ("::ffff:127.0.0.1", 443),
    ("::ffff:224.0.0.1", 443),
    ("203.0.113.77", 0),
    ("100.64.0.1", 443),
]
"""Where no other member can be."""


@pytest.mark.parametrize("claimed", [NOWHERE[:7], NOWHERE[7:]], ids=["IPv4", "IPv6"])
def test_nothing_is_sent_to_where_nobody_can_be(claimed: list[Endpoint]) -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    liar = mesh.host("liar", config=replace(CONFIG, endpoints=tuple(claimed)))
    mesh.connect(alpha, beta, liar)
    mesh.run(30)
    liar.kill()
    alpha.node._dialogue.closed(alpha.peer(liar), mesh.world.now)
    for _ in range(60):
        alpha.send(liar, b"are you there?")
        mesh.run(1)
    hosts = {endpoint[0] for host in (alpha, beta, liar) for endpoint in host.endpoints}
    told = {host for host, port in claimed}
    assert {d.destination[0] for d in mesh.sent if d.host != "liar"} <= hosts
    assert not told & hosts
    record = alpha.peer(liar).record
    assert record is not None
    assert liar.endpoints[0] in record.endpoints
