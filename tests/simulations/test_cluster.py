from __future__ import annotations

import pytest

from gossip.events import MemberDown, MemberUp
from simulations.cluster import Cluster, Host, Observer, SimulationError
from simulations.machine import Seen, Send
from simulations.nat import Endpoint
from tests.simulations.toy import toy, toy_cluster


class Log(Observer):
    """Everything that an observer is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, host: Host) -> None:
        self.lines.append(f"{host.number} started")

    def saw(self, host: Host, seen: Seen) -> None:
        self.lines.append(f"{host.number} saw {type(seen).__name__}")

    def sent(self, host: Host, send: Send) -> None:
        self.lines.append(f"{host.number} sent {send.payload!r}")

    def refused(self, host: Host, reason: str, source: Endpoint) -> None:
        self.lines.append(f"{host.number} refused {reason}")


def started(count: int) -> Cluster:
    cluster = toy_cluster(count)
    for host in cluster.hosts:
        cluster.start(host, [other for other in cluster.hosts if other is not host])
    return cluster


def test_hosts_meet_and_then_agree() -> None:
    cluster = started(3)
    assert cluster.wrong == 6
    assert cluster.world.run_until(cluster.agreed, 1.0)
    assert cluster.wrong == 0
    assert all(len(host.alive) == 2 for host in cluster.hosts)


def test_observers_see_starts_sends_sights_and_refusals() -> None:
    cluster, log = toy_cluster(2), Log()
    cluster.observers.append(log)
    one, other = cluster.hosts
    cluster.start(one, [other])
    cluster.start(other, [])
    cluster.world.run_for(0.5)
    cluster.network.send(one.endpoint, other.endpoint, b"nonsense")
    cluster.world.run_for(0.4)
    assert log.lines == [
        "0 started",
        "0 saw SequenceChanged",
        "1 started",
        "1 saw SequenceChanged",
        "0 sent b'hello'",
        "1 saw MemberUp",
        "1 sent b'hello'",
        "0 saw MemberUp",
        "0 sent b'hello'",
        "1 refused nonsense",
    ]
    assert one.sent == 2
    assert one.sent_bytes == 66


def test_timers_go_on_at_the_machines_pace() -> None:
    cluster = toy_cluster(2)
    cluster.start(cluster.hosts[0], [cluster.hosts[1]])
    cluster.world.run_for(10.5)
    assert cluster.hosts[0].sent == 11


def test_a_machine_that_never_lets_time_pass_is_stopped() -> None:
    cluster = toy_cluster(2)
    cluster.start(cluster.hosts[0], [])
    toy(cluster.hosts[0]).stuck = True
    with pytest.raises(SimulationError, match="host 0 asks for ever to be woken: greet"):
        cluster.world.run_for(1.0)


def test_a_crashed_host_does_nothing_more_and_keeps_its_disk() -> None:
    cluster = started(3)
    cluster.world.run_until(cluster.agreed, 1.0)
    victim = cluster.hosts[2]
    cluster.crash(victim)
    sent = victim.sent
    assert cluster.wrong == 2
    cluster.world.run_for(5.0)
    assert victim.sent == sent
    assert victim.machine is None
    assert (victim.disk.sequence, victim.disk.records) == (1, (b"a record",))
    cluster.start(victim, [])
    assert victim.disk.sequence == 2
    assert victim.boots == 2


def test_verdicts_change_what_is_wrong() -> None:
    cluster = started(2)
    cluster.world.run_until(cluster.agreed, 1.0)
    one, other = cluster.hosts
    for output, wrong in ((MemberDown, 1), (MemberDown, 1), (MemberUp, 0), (MemberUp, 0)):
        toy(one).outputs.append(output(other.identity))
        cluster.network.send(other.endpoint, one.endpoint, b"hello")
        cluster.world.run_for(0.2)
        assert cluster.wrong == wrong


def test_a_host_that_leaves_says_so_first() -> None:
    cluster = started(3)
    cluster.world.run_for(0.5)
    cluster.leave(cluster.hosts[2])
    assert cluster.wrong == 2
    assert cluster.world.run_until(cluster.agreed, 1.5)
    assert toy(cluster.hosts[0]).states()[cluster.hosts[2].identity] == "left"


def test_after_a_split_each_side_should_see_itself_alone_and_after_heal_all() -> None:
    cluster = started(4)
    cluster.world.run_until(cluster.agreed, 1.0)
    a, b, c, d = cluster.hosts
    cluster.split([[a, b], [c, d]])
    assert cluster.wrong == 8
    assert cluster.reachable(a, b)
    assert not cluster.reachable(a, c)
    cluster.heal()
    assert cluster.wrong == 0
    cluster.world.run_for(3.0)
    assert cluster.undisturbed_s(a, c) == pytest.approx(3.0)
    cluster.crash(a)
    assert cluster.undisturbed_s(a, c) == 0.0
    assert cluster.undisturbed_s(b, c) == pytest.approx(3.0)
    assert not cluster.reachable(a, b)


def test_a_host_that_starts_behind_a_cut_is_not_expected_beyond_it() -> None:
    cluster = toy_cluster(3)
    a, b, c = cluster.hosts
    cluster.start(a, [])
    cluster.start(b, [])
    cluster.split([[a, c], [b]])
    cluster.start(c, [])
    assert cluster.expected(a) == [c]
    assert cluster.expected(b) == []
