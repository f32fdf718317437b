"""Where not everyone knows everyone: who is found, how soon, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from meshd.node.addresses import lookup_key
from meshd.node.outputs import LookedUp
from meshd.node.seeking import (
    FULL_BURST,
    HELD_FOR,
    MAX_HELD,
    MISSING_FOR,
    MISSING_FOR_FULL,
    PATIENCE,
    YOUNG,
)
from tests.node.test_authority import whereabouts
from tests.node.virtual import CONFIG, Host, Mesh, packet

VIEW = 4
PARTIAL = replace(
    CONFIG,
    gossip=replace(CONFIG.gossip, full_view=VIEW, active_view=VIEW),
    max_peers=VIEW,
)


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    """Ten hosts that keep four neighbours each, settled."""
    mesh = Mesh()
    alpha = mesh.alpha(PARTIAL)
    for number in range(1, 10):
        # Each knows but the founder, as after an enrolment in a large mesh.
        host = mesh.host(f"host{number}", config=PARTIAL, start=False)
        host.disk.records = tuple(
            record.encode()
            for record in alpha.node.records()
            if record.subject == alpha.identity.id
        )
        host.start()
        mesh.run(1)
    mesh.run(30)
    assert all(host.node.gossip.is_partial for host in mesh.hosts.values())
    return mesh


def forget(host: Host, other: Host) -> None:
    """Let `host` know nothing of `other`, as of most in a large mesh."""
    peer = host.node.state.peers.pop(other.identity.id, None)
    if peer is not None:
        host.node._handshakes.close(peer)
    host.node._authority.forget(other.identity.id)
    host.node._membership.rebuild()


def strangers(mesh: Mesh) -> list[tuple[Host, Host]]:
    """Pairs of hosts that are no neighbours, and now do not know each other."""
    pairs = []
    for one in mesh.hosts.values():
        for other in mesh.hosts.values():
            near = one.node.gossip.neighbours()
            if one is not other and other.identity.id not in near:
                pairs.append((one, other))
    return pairs


def test_packets_to_a_stranger_arrive_within_two_seconds(mesh: Mesh) -> None:
    for number, (one, other) in enumerate(strangers(mesh)[:8]):
        forget(one, other)
        text = b"hello, stranger %d" % number
        one.send(other, text)
        one.send(other, text)

        def arrived(other: Host = other, text: bytes = text) -> bool:
            return len([p for p in other.packets if p.endswith(text)]) == 2

        mesh.until(arrived, within=2)
        assert one.peer(other).name == other.name
    for host in mesh.hosts.values():
        assert len(host.node.gossip.neighbours()) <= VIEW


def test_packets_to_nobody_wait_for_the_answer_and_then_not_again_for_a_while(mesh: Mesh) -> None:
    alpha = mesh.hosts["alpha"]
    own = alpha.identity.certificate.address4
    nobody = IPv4Address("100.64.255.1")
    before = alpha.drops["no-route"]
    alpha.write(packet(own, nobody, b"anyone?"))
    assert alpha.drops["no-route"] == before
    mesh.run(HELD_FOR)
    assert alpha.drops["no-route"] == before + 1
    lookups = alpha.node.gossip.statistics().lookups
    alpha.write(packet(own, nobody, b"anyone?"))
    if alpha.node.gossip.statistics().lookups == lookups:
        assert alpha.drops["no-route"] == before + 2
    mesh.run(MISSING_FOR + HELD_FOR)
    alpha.write(packet(own, nobody, b"anyone?"))
    assert alpha.node.gossip.statistics().lookups > lookups


def test_what_waits_for_one_address_is_bounded(mesh: Mesh) -> None:
    alpha = mesh.hosts["alpha"]
    own = alpha.identity.certificate.address4
    before = alpha.drops["queue"]
    for _ in range(MAX_HELD + 3):
        alpha.write(packet(own, IPv4Address("100.64.255.2"), b"anyone?"))
    held = alpha.drops["queue"] - before
    assert held in (0, 3)  # none, where the answer was there at once
    mesh.run(HELD_FOR)


def test_addresses_outside_the_mesh_are_not_sought(mesh: Mesh) -> None:
    alpha = mesh.hosts["alpha"]
    before = alpha.drops["no-route"]
    alpha.write(packet(alpha.identity.certificate.address4, IPv4Address("192.0.2.9"), b"out"))
    assert alpha.drops["no-route"] == before + 1


def test_a_persons_lookup_says_who_answered(mesh: Mesh) -> None:
    one, other = strangers(mesh)[0]
    forget(one, other)
    for token, key in enumerate(
        (lookup_key(other.name), lookup_key(other.identity.certificate.address6), other.identity.id)
    ):
        one.node.look_up(key, token, mesh.world.now)
        one.settle()

        def ended(token: int = token) -> bool:
            return any(answer.token == token for answer in one.told(LookedUp))

        mesh.until(ended, within=5)
        (answer,) = [answer for answer in one.told(LookedUp) if answer.token == token]
        assert answer.node == other.identity.id
        assert answer.answered_by is not None
    one.node.look_up(lookup_key("nobody"), 9, mesh.world.now)
    mesh.until(lambda: any(answer.token == 9 for answer in one.told(LookedUp)), within=20)
    assert one.told(LookedUp)[-1].node is None


def test_the_first_packets_of_a_node_that_knows_nobody_arrive(mesh: Mesh) -> None:
    alpha, other = mesh.hosts["alpha"], mesh.hosts["host7"]
    late = mesh.host("late", config=PARTIAL, start=False)
    late.disk.records = tuple(
        r.encode() for r in alpha.node.records() if r.subject == alpha.identity.id
    )
    late.start()
    assert not late.node.gossip.is_partial
    late.send(other, b"early")
    mesh.until(lambda: any(data.endswith(b"early") for data in other.packets), within=HELD_FOR)
    assert late.drops["no-route"] == 0
    late.kill()
    del mesh.hosts["late"]


def test_where_everyone_knows_everyone_addresses_of_nobody_cost_little() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    mesh.run(YOUNG)
    own, first = alpha.identity.certificate.address4, IPv4Address("100.64.200.1")
    gossip = alpha.node.gossip
    before = gossip.statistics().lookups
    for number in range(100):
        alpha.write(packet(own, first + number, b"anyone?"))
    assert gossip.statistics().lookups == before + FULL_BURST
    mesh.run(2)
    assert alpha.drops["no-route"] == 100
    alpha.write(packet(own, first, b"anyone?"))
    assert alpha.drops["no-route"] == 101
    assert gossip.statistics().lookups == before + FULL_BURST
    mesh.run(MISSING_FOR_FULL)
    alpha.write(packet(own, first, b"anyone?"))
    assert gossip.statistics().lookups == before + FULL_BURST + 1
    for ending in ("100.64.0.0", "100.64.255.255"):
        alpha.write(packet(own, IPv4Address(ending), b"all?"))
    assert gossip.statistics().lookups == before + FULL_BURST + 1
    assert alpha.ping(beta)


def test_where_everyone_knows_everyone_those_only_told_of_are_dropped_too() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    elsewhere = Mesh(seed=5)
    invented = [elsewhere.admit(number, f"host{number}") for number in range(7, 13)]
    told = [whereabouts(replace(who, mesh=mesh.founder.mesh)) for who in invented]
    for record in told:
        alpha.node.gossip._core.contacts.hint(record)
        alpha.node._membership.seeking.contact(record.subject, mesh.world.now)
    assert len(alpha.node.state.peers) == 1 + len(told)
    mesh.run(PATIENCE + 2 * HELD_FOR)
    assert set(alpha.node.state.peers) == {beta.identity.id}
    assert alpha.ping(beta)


def test_contacts_nobody_uses_are_dropped(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshd.node.seeking.IDLE_AFTER", 20.0)
    one, other = strangers(mesh)[0]
    forget(one, other)
    one.send(other, b"hello")
    mesh.until(lambda: one.ready(other), within=2)
    other.kill()
    mesh.until(lambda: other.identity.id not in one.node.state.peers, within=100)
