from __future__ import annotations

import pytest

from gossip.config import GossipConfig
from simulations.cluster import Cluster
from simulations.nat import NatKind
from simulations.network import Conditions, Network
from simulations.whole import NODES_MAX, SITES, WholeNode, node_cluster
from simulations.world import World


def cluster(nodes: int, seed: int = 1) -> Cluster:
    world = World(seed)
    return node_cluster(world, Network(world, Conditions()), nodes, GossipConfig.lan())


def started(nodes: int) -> Cluster:
    """All hosts up, each enrolled by the first, after three seconds."""
    meshed = cluster(nodes)
    for host in meshed.hosts:
        meshed.start(host, meshed.hosts[:1] if host.number else [])
        meshed.world.run_for(0.2)
    meshed.world.run_for(3.0)
    return meshed


def machine(meshed: Cluster, number: int) -> WholeNode:
    found = meshed.hosts[number].machine
    assert isinstance(found, WholeNode)
    return found


def test_hosts_stand_as_the_table_says() -> None:
    hosts = cluster(14).hosts
    for host in hosts:
        _, kind = SITES[host.number % 7]
        assert (host.nat is None) == (kind is NatKind.OPEN)
        assert host.nat is None or host.nat.kind is kind
    assert hosts[2].nat is hosts[3].nat
    assert hosts[9].nat is hosts[10].nat is not hosts[2].nat
    assert len({host.endpoint for host in hosts}) == 14


def test_addresses_never_collide_up_to_the_limit_and_above_it_nobody_pretends() -> None:
    with pytest.raises(ValueError, match=str(NODES_MAX)):
        cluster(NODES_MAX + 1)


def test_nodes_meet_over_real_handshakes_and_answer_pings() -> None:
    meshed = started(3)
    assert meshed.agreed()
    one, other = machine(meshed, 0), meshed.hosts[1]
    meshed.act(meshed.hosts[0], lambda now: one.ping(other.identity, 7, now))
    meshed.world.run_for(1.0)
    pong = one.pongs[7]
    assert pong.rtt is not None
    assert 0.02 < pong.rtt < 0.12
    assert one.path_kind(other.identity) == "direct"


def test_two_symmetric_nats_leave_a_relay() -> None:
    meshed = started(7)
    assert machine(meshed, 5).path_kind(meshed.hosts[6].identity) == "relay"
    assert machine(meshed, 2).path_kind(meshed.hosts[3].identity) == "direct"


def test_a_path_to_a_stranger_is_none_and_a_ping_to_one_does_nothing() -> None:
    meshed = started(2)
    one = machine(meshed, 0)
    stranger = cluster(1, seed=9).hosts[0].identity
    assert one.path_kind(stranger) == "none"
    meshed.act(meshed.hosts[0], lambda now: one.ping(stranger, 1, now))
    assert one.pongs == {}


def test_a_restarted_node_goes_on_above_what_its_disk_holds() -> None:
    meshed = started(3)
    host = meshed.hosts[2]
    before = (host.disk.sequence, host.disk.counter)
    meshed.crash(host)
    assert host.disk.records
    meshed.start(host, [])
    meshed.world.run_for(3.0)
    assert meshed.agreed()
    assert host.disk.sequence > before[0] > 0
    assert host.disk.counter > before[1] > 0


def revoke(meshed: Cluster, by: int, whom: int) -> None:
    """As `meshd revoke`: on disk, then in force."""
    node, disk = machine(meshed, by).node, meshed.hosts[by].disk

    def act(now: float) -> None:
        planned = node.credentials.plan_revocation(meshed.hosts[whom].identity.hex(), now)
        disk.lists = tuple(item.der for item in planned.lists)
        node.credentials.revoke(planned, now)

    meshed.act(meshed.hosts[by], act)


def test_a_revocation_is_learnt_by_messages_alone_and_outlives_crashes() -> None:
    meshed = started(4)
    revoke(meshed, 0, 3)
    lists = [machine(meshed, n).node.state.identity.trust.lists for n in range(4)]
    assert [len(known) for known in lists] == [1, 0, 0, 0]
    meshed.world.run_for(3.0)
    for host in meshed.hosts:
        meshed.crash(host)
    for host in meshed.hosts:
        assert len(host.disk.lists) == 1
        meshed.start(host, [])
    meshed.world.run_for(5.0)
    villain = meshed.hosts[3].identity
    assert [machine(meshed, n).path_kind(villain) for n in range(3)] == ["none"] * 3
    assert machine(meshed, 1).path_kind(meshed.hosts[2].identity) == "direct"
    meshed.crash(meshed.hosts[1], "lost")
    assert meshed.hosts[1].disk.lists == ()


def test_a_renewed_certificate_is_used_at_once_and_after_a_crash() -> None:
    meshed = started(3)
    for number in (0, 1):
        one, host = machine(meshed, number), meshed.hosts[number]
        before = one.node.state.identity.certificate
        meshed.act(host, lambda now, one=one: one.node.credentials.renew(1, now))  # type: ignore[misc]
        meshed.world.run_for(3.0)
        renewed = one.node.state.identity.certificate
        assert renewed.serial != before.serial
        meshed.crash(host)
        meshed.start(host, [])
        assert machine(meshed, number).node.state.identity.certificate == renewed
        meshed.world.run_for(3.0)
    other = machine(meshed, 2)
    for number in (0, 1):
        assert other.path_kind(meshed.hosts[number].identity) != "none"


def test_noise_on_the_port_changes_nothing() -> None:
    meshed = started(2)
    one = meshed.hosts[0]
    sent = one.sent
    for payload in (b"\x01", b"\x04" * 40, bytes(1200), b"\x05" + bytes(30), b"\xff" * 100):
        machine(meshed, 0).receive(payload, ("198.51.100.9", 9), meshed.world.now)
    assert machine(meshed, 0).drain() == []
    assert one.sent == sent


def test_a_node_that_leaves_tells_its_peers_at_once() -> None:
    meshed = started(2)
    meshed.leave(meshed.hosts[1])
    meshed.world.run_for(0.5)
    assert machine(meshed, 0).path_kind(meshed.hosts[1].identity) == "none"


def test_a_machine_that_was_not_started_has_no_node() -> None:
    meshed = started(1)
    host = meshed.hosts[0]
    unstarted = meshed.make(host)
    with pytest.raises(ValueError, match="not been started"):
        unstarted.next_wakeup()
