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


def settled(count: int) -> Cluster:
    """Hosts that all see each other, with nothing on its way."""
    cluster = started(count)
    cluster.world.run_for(0.5)
    assert cluster.agreed()
    return cluster


def test_a_paused_host_does_nothing_and_then_everything_late() -> None:
    cluster = settled(2)
    one, other = cluster.hosts
    cluster.pause(other)
    sent, ticks = other.sent, len(toy(other).times)
    cluster.network.send(one.endpoint, other.endpoint, b"bye")
    cluster.world.run_for(5.5)
    assert (other.sent, len(toy(other).times)) == (sent, ticks)
    assert toy(other).known[one.identity] == "alive"
    assert cluster.undisturbed_s(one, other) == 0.0
    resumed_at = cluster.world.now
    cluster.resume(other)
    assert toy(other).known[one.identity] == "alive"  # greeted after the goodbye
    assert toy(other).times[ticks:] == [resumed_at]
    assert other.process is None
    cluster.world.run_for(2.0)
    assert cluster.undisturbed_s(one, other) == pytest.approx(2.0)


def test_a_held_host_is_on_time_but_nothing_leaves_or_reaches_it() -> None:
    cluster = settled(2)
    other = cluster.hosts[1]
    cluster.hold(other)
    arrived, ticks = cluster.network.counters["delivered"], len(toy(other).times)
    cluster.world.run_for(5.0)
    assert len(toy(other).times) == ticks + 5
    from_one = cluster.network.counters["delivered"] - arrived
    assert from_one == 5
    cluster.release(other)
    cluster.world.run_for(0.5)
    assert cluster.network.counters["delivered"] - arrived >= from_one + 5


def test_a_slow_host_answers_late() -> None:
    cluster = toy_cluster(2)
    one, other = cluster.hosts
    cluster.start(one, [other])
    cluster.start(other, [])
    cluster.slow(other, 6000)  # 0.3 s for each input
    cluster.world.run_for(0.2)
    assert toy(one).known == {}
    cluster.world.run_for(0.7)
    assert toy(one).known == {other.identity: "alive"}
    cluster.slow(other, 0)
    assert not other.troubles


def test_a_skewed_clock_is_what_the_machine_goes_by() -> None:
    cluster = settled(2)
    host = cluster.hosts[0]
    cluster.skew(host, jump_s=10.0, drift=1.0)
    begun = cluster.world.now
    cluster.world.run_for(3.0)
    ticks = [at for at in toy(host).times if at >= host.local(begun)]
    assert len(ticks) == pytest.approx(7, abs=1)
    assert host.local(cluster.world.now) == pytest.approx(begun + 10.0 + 6.0)
    with pytest.raises(ValueError, match="monotonic"):
        cluster.skew(host, jump_s=-1.0)


def test_a_disk_is_kept_lost_or_old() -> None:
    cluster = settled(2)
    host = cluster.hosts[0]
    cluster.crash(host)
    cluster.start(host, [])
    assert (host.disk.sequence, host.backup.sequence) == (2, 1)
    cluster.crash(host, "old")
    assert (host.disk.sequence, host.forgetful) == (1, True)
    cluster.start(host, [])
    cluster.back_up(host)
    cluster.crash(host, "lost")
    assert (host.disk.sequence, host.disk.records) == (0, ())
    assert (host.backup.sequence, host.backup.records) == (2, (b"a record",))
    with pytest.raises(ValueError, match="kept, lost or old"):
        cluster.crash(host, "eaten")
    cluster.start(host, [])
    cluster.crash(host)
    assert not host.forgetful


def test_a_moved_host_is_told_and_reached_at_its_new_place_only() -> None:
    cluster = settled(2)
    one, other = cluster.hosts
    old, new = other.endpoint, ("10.0.9.9", 443)
    cluster.move(other, new)
    assert toy(other).places == [new]
    nobody = cluster.network.counters["nobody"]
    cluster.network.send(one.endpoint, old, b"bye")
    cluster.network.send(one.endpoint, new, b"bye")
    cluster.world.run_for(0.1)
    assert cluster.network.counters["nobody"] == nobody + 1
    assert toy(other).known[one.identity] == "left"


def test_without_its_cable_a_host_should_be_alone_until_it_is_back() -> None:
    cluster = settled(3)
    host = cluster.hosts[0]
    cluster.plug(host, False)
    assert cluster.wrong == 4
    assert not cluster.reachable(host, cluster.hosts[1])
    cluster.plug(host, True)
    assert cluster.wrong == 0
    assert cluster.reachable(host, cluster.hosts[1])


def test_an_impaired_host_loses_what_it_sends_and_is_sent() -> None:
    cluster = settled(3)
    cluster.impair(cluster.hosts[0], 0.8)
    cluster.world.run_for(300.0)
    share = cluster.network.counters["lost"] / 1200  # of the six ways, four are its
    assert share == pytest.approx(0.8, abs=0.1)
    assert cluster.undisturbed_s(cluster.hosts[0]) == 0.0
    cluster.impair(cluster.hosts[0], 0.0)
    assert not cluster.hosts[0].troubles


def test_a_block_is_one_way_and_changes_nobodys_duty_to_see() -> None:
    cluster = settled(3)
    a, b, c = cluster.hosts
    cluster.block([a], [b, c])
    assert cluster.wrong == 0
    assert not cluster.reachable(a, b)
    assert cluster.undisturbed_s(a) == 0.0
    before = cluster.network.counters["partitioned"]
    cluster.world.run_for(3.0)
    assert cluster.network.counters["partitioned"] == before + 6
    cluster.heal()
    assert cluster.reachable(a, b)


def test_a_crash_ends_what_a_process_suffered() -> None:
    cluster = settled(2)
    host = cluster.hosts[0]
    cluster.pause(host)
    cluster.world.run_for(2.0)
    cluster.crash(host)
    assert (host.process, host.troubles) == (None, set())
    cluster.start(host, [cluster.hosts[1]])
    assert cluster.world.run_until(cluster.agreed, cluster.world.now + 2.0)
