from __future__ import annotations

from random import Random

import pytest

from gossip.config import GossipConfig
from gossip.events import RecordChanged, SequenceChanged
from gossip.protocol import GossipProtocol
from gossip.records import verified
from simulations.authority import Ed25519Authority
from simulations.cluster import Cluster, Host, Observer
from simulations.gossiper import Directory, Gossiper, gossip_cluster, gossiper, start_settled
from simulations.machine import Disk, Refused, Seen, Send
from simulations.network import Conditions, Network
from simulations.overhead import gossip_overhead
from simulations.world import World

ENDPOINTS = {number: (f"10.0.0.{number}", 443) for number in range(3)}
DIRECTORY = Directory(ENDPOINTS)


def machine(number: int, disk: Disk | None = None) -> Gossiper:
    return Gossiper(number, DIRECTORY, disk or Disk(), GossipConfig.lan(), Random(number), 0.0)


def exchange(machines: dict[int, Gossiper], now: float) -> list[Seen]:
    """Deliver everything at once, until nobody says anything more."""
    seen: list[Seen] = []
    moved = True
    while moved:
        moved = False
        for number, sender in machines.items():
            for output in sender.drain():
                moved = True
                if isinstance(output, Send):
                    receiver = next(n for n, e in ENDPOINTS.items() if e == output.destination)
                    if receiver in machines:
                        machines[receiver].receive(output.payload, ENDPOINTS[number], now)
                else:
                    seen.append(output)
    return seen


def test_two_hosts_that_know_one_another_meet() -> None:
    machines = {0: machine(0), 1: machine(1)}
    machines[0].start([], 0.0)
    machines[1].start([0], 0.0)
    for step in range(20):
        for each in machines.values():
            each.handle_timer(step * 0.1)
        exchange(machines, step * 0.1)
    assert machines[0].states() == {DIRECTORY.identities[1]: "alive"}
    assert machines[1].states() == {DIRECTORY.identities[0]: "alive"}
    assert machines[0].sequences() == machines[1].sequences()


def test_a_start_persists_a_sequence_above_the_disks() -> None:
    first = machine(0, Disk(sequence=41))
    first.start([], 0.0)
    outputs = first.drain()
    assert [o.sequence for o in outputs if isinstance(o, SequenceChanged)] == [42]
    assert [o.record.sequence for o in outputs if isinstance(o, RecordChanged)] == [42]


def test_what_the_disk_held_is_known_after_a_restart() -> None:
    machines = {0: machine(0), 1: machine(1)}
    machines[0].start([], 0.0)
    machines[1].start([0], 0.0)
    for step in range(20):
        for each in machines.values():
            each.handle_timer(step * 0.1)
        exchange(machines, step * 0.1)
    again = machine(0, Disk(sequence=1, records=machines[0].records()))
    again.start([], 5.0)
    assert DIRECTORY.identities[1] in again.states()


def test_nonsense_is_refused_with_a_reason() -> None:
    first = machine(0)
    first.start([], 0.0)
    with pytest.raises(Refused, match=r"^[a-z-]+$"):
        first.receive(b"\xff\xff nonsense", ENDPOINTS[1], 1.0)


def test_a_wakeup_is_wanted_after_the_start() -> None:
    first = machine(0)
    first.start([1], 0.0)
    first.drain()
    wakeup = first.next_wakeup()
    assert wakeup is not None
    assert wakeup.at >= 0.0


def mesh(count: int, real_keys: bool = False) -> Cluster:
    world = World(1)
    network = Network(world, Conditions())
    return gossip_cluster(world, network, count, GossipConfig.lan(), real_keys)


def boot(cluster: Cluster) -> None:
    for host in cluster.hosts:
        cluster.start(host, [] if host is cluster.hosts[0] else cluster.hosts[:1])
    assert cluster.world.run_until(cluster.agreed, 20.0)


def test_hosts_with_real_signatures_do_the_same_as_those_with_cheap_ones() -> None:
    clusters = [mesh(4), mesh(4, real_keys=True)]
    for cluster in clusters:
        boot(cluster)
        cluster.world.run_for(5.0)
    fake, real = clusters
    assert isinstance(gossiper(real.hosts[0]).protocol, GossipProtocol)
    records = [machine.own_record for machine in map(gossiper, real.hosts)]
    assert all(verified(Ed25519Authority.of(9), record) for record in records)
    assert sum(host.sent for host in real.hosts) == pytest.approx(
        sum(host.sent for host in fake.hosts), rel=0.1
    )


def test_a_host_that_moves_is_found_by_what_it_says_and_where_it_speaks_from() -> None:
    cluster = mesh(5)
    boot(cluster)
    mover = cluster.hosts[2]
    cluster.move(mover, ("10.9.9.9", 443))
    cluster.world.run_for(60.0)
    assert cluster.agreed()
    states = [gossiper(host).states()[mover.identity] for host in cluster.hosts if host != mover]
    assert set(states) == {"alive"}
    before = cluster.network.counters["nobody"]
    cluster.world.run_for(30.0)
    assert cluster.network.counters["nobody"] == before


def test_what_comes_from_an_address_that_its_host_has_left_is_from_nobody() -> None:
    directory = Directory(ENDPOINTS)
    first = Gossiper(0, directory, Disk(), GossipConfig.lan(), Random(0), 0.0)
    directory.move(directory.identities[1], ENDPOINTS[1], ("10.9.9.9", 443))
    first.receive(b"\xff\xff nonsense", ENDPOINTS[1], 1.0)
    assert first.states() == {}


def test_settled_hosts_know_all_from_the_first_instant_and_stay_calm() -> None:
    cluster = mesh(12)
    start_settled(cluster)
    assert cluster.agreed()
    assert cluster.world.now == 0.0
    cluster.world.run_for(30.0)
    assert cluster.agreed()
    assert max(host.sent for host in cluster.hosts) < 5 * 30


def test_only_hosts_that_run_gossip_alone_can_be_asked_for_it() -> None:
    with pytest.raises(TypeError, match="host 0 runs no gossip alone"):
        gossiper(mesh(1).hosts[0])


def test_bytes_are_counted_as_ip_with_all_seals() -> None:
    cluster = mesh(2)
    log: list[int] = []

    class Sizes(Observer):
        def sent(self, host: Host, send: Send) -> None:
            log.append(len(send.payload) + gossip_overhead(len(send.payload)))

    cluster.observers.append(Sizes())
    boot(cluster)
    assert sum(host.sent_bytes for host in cluster.hosts) == sum(log) > 0


def test_who_starts_elsewhere_than_it_was_is_known_to_be_there() -> None:
    directory = Directory(ENDPOINTS)
    elsewhere = ("10.0.9.9", 443)
    moved = Gossiper(1, directory, Disk(), GossipConfig.lan(), Random(1), 0.0, elsewhere)
    moved.start([], 0.0)
    assert directory.node_at[elsewhere] == directory.identities[1]
    assert ENDPOINTS[1] not in directory.node_at
