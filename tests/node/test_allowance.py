"""What is sent unasked: probes in all, bytes to addresses that nobody has proven."""

from __future__ import annotations

from meshd.node.allowance import (
    MAX_ADDRESSES,
    PROBE_BURST,
    PROBE_RATE,
    UNPROVEN_BURST,
    UNPROVEN_RATE,
    Allowance,
    ProbeBudget,
)
from meshd.node.handshake import HANDSHAKE_SIZE
from meshd.node.records import NodeRecord
from meshd.node.wire import Endpoint
from tests.node.virtual import Mesh

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
    """It is in nobody's interest to answer there: twelve ports of one address, for ten minutes."""
    mesh = Mesh()
    alpha = mesh.alpha()
    liars = [mesh.host(f"liar-{number}") for number in range(4)]
    mesh.connect(alpha, *liars)
    mesh.run(2)
    claimed: tuple[Endpoint, ...] = tuple((VICTIM, port) for port in range(1000, 1012))
    for liar in liars:
        liar.kill()
    begun = mesh.world.now
    for liar in liars:
        peer = alpha.peer(liar)
        alpha.node._dialogue.closed(peer, mesh.world.now)
        known = peer.record
        assert known is not None
        peer.record = NodeRecord(known.static_public, claimed)
        peer.paths.consider(claimed, mesh.world.now)
    for _ in range(600):
        for liar in liars:
            alpha.send(liar, b"are you there?")
        mesh.run(1)
    sent = sum(len(d.payload) for d in mesh.sent if d.destination[0] == VICTIM and d.time >= begun)
    assert HANDSHAKE_SIZE <= sent <= UNPROVEN_BURST + 600 * UNPROVEN_RATE
