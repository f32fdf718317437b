"""Every checker must object when it should: each is shown the mistake that it is there for."""

from __future__ import annotations

import pytest

from gossip.config import GossipConfig
from gossip.events import MemberDown, MemberForgotten, RecordChanged, SequenceChanged
from gossip.ids import NodeId
from gossip.records import Record
from simulations.checkers import (
    MessagesFit,
    NobodyDiesWithoutCause,
    NothingIsRefused,
    SequencesOnlyRise,
    StaysBounded,
)
from simulations.cluster import Cluster
from simulations.injector import FaultInjector
from simulations.machine import Carried, Send
from simulations.plan import Fault
from tests.simulations.toy import toy_cluster


@pytest.fixture
def cluster() -> Cluster:
    """Three hosts that have met."""
    cluster = toy_cluster(3)
    for host in cluster.hosts:
        cluster.start(host, [other for other in cluster.hosts if other is not host])
    assert cluster.world.run_until(cluster.agreed, 1.0)
    return cluster


def record(subject: NodeId, sequence: int) -> RecordChanged:
    return RecordChanged(Record(0, bytes(32), subject, sequence, False, b"", bytes(64)))


def test_a_checker_that_saw_nothing_wrong_is_content(cluster: Cluster) -> None:
    assert SequencesOnlyRise(cluster).result().ok


def test_a_sequence_that_falls_is_noticed_over_a_restart_too(cluster: Cluster) -> None:
    checker, host = SequencesOnlyRise(cluster), cluster.hosts[0]
    checker.saw(host, SequenceChanged(3))
    checker.started(host)
    checker.saw(host, SequenceChanged(4))
    assert checker.result().ok
    checker.saw(host, SequenceChanged(4))
    assert "went back to its sequence 4" in checker.result().detail


def test_an_older_record_is_noticed_but_not_after_a_restart(cluster: Cluster) -> None:
    checker, (host, other, _) = SequencesOnlyRise(cluster), cluster.hosts
    checker.saw(other, SequenceChanged(5))
    checker.saw(host, record(other.identity, 5))
    checker.started(host)
    checker.saw(host, record(other.identity, 4))
    assert checker.result().ok
    checker.saw(host, record(other.identity, 3))
    assert "host 0 took an older record" in checker.result().detail


def test_who_forgot_a_member_may_hear_of_it_again(cluster: Cluster) -> None:
    checker, (host, other, _) = SequencesOnlyRise(cluster), cluster.hosts
    checker.saw(other, SequenceChanged(5))
    checker.saw(host, record(other.identity, 5))
    checker.saw(host, MemberForgotten(other.identity))
    checker.saw(host, record(other.identity, 4))
    assert checker.result().ok


def test_a_record_that_nobody_issued_is_noticed(cluster: Cluster) -> None:
    checker, (host, other, _) = SequencesOnlyRise(cluster), cluster.hosts
    checker.saw(other, SequenceChanged(5))
    checker.saw(host, record(other.identity, 6))
    assert "nobody issued 6" in checker.result().detail


def test_death_needs_a_cause(cluster: Cluster) -> None:
    checker, (host, other, _) = NobodyDiesWithoutCause(cluster, 10.0), cluster.hosts
    down = MemberDown(other.identity)
    checker.saw(host, down)
    assert checker.result().ok, "it has only just started"
    cluster.world.run_for(11.0)
    cluster.split([[host], [other]])
    cluster.world.run_for(11.0)
    checker.saw(host, down)
    assert checker.result().ok, "it is cut off"
    cluster.heal()
    checker.saw(host, down)
    assert checker.result().ok, "it was cut off just now"
    cluster.world.run_for(11.0)
    checker.saw(host, down)
    assert not checker.result().ok
    assert "host 0 declared the healthy host 1 dead" in checker.result().detail


def test_a_crash_is_a_cause(cluster: Cluster) -> None:
    checker, (host, other, _) = NobodyDiesWithoutCause(cluster, 10.0), cluster.hosts
    cluster.crash(other)
    cluster.world.run_for(100.0)
    checker.saw(host, MemberDown(other.identity))
    assert checker.result().ok


def test_what_is_ill_or_was_just_now_may_be_taken_for_dead(cluster: Cluster) -> None:
    host, other, _ = cluster.hosts
    injector = FaultInjector(cluster, lambda host: None)
    checker = NobodyDiesWithoutCause(cluster, 10.0, injector)
    cluster.world.run_for(20.0)
    injector.strike({0: Fault("lossy", (1,), lasts=5.0)})
    cluster.world.run_for(12.0)
    for one, two in ((host, other), (other, host)):
        checker.saw(one, MemberDown(two.identity))
    assert checker.result().ok
    cluster.world.run_for(5.0)
    checker.saw(host, MemberDown(other.identity))
    assert not checker.result().ok


def test_an_oversized_datagram_is_noticed(cluster: Cluster) -> None:
    checker, host = MessagesFit(cluster), cluster.hosts[0]
    checker.sent(host, Send(host.endpoint, bytes(100)))
    assert checker.result().ok
    checker.sent(host, Send(host.endpoint, bytes(101)))
    assert "sent 101 bytes" in checker.result().detail


def test_a_refusal_is_noticed(cluster: Cluster) -> None:
    checker = NothingIsRefused(cluster)
    checker.refused(cluster.hosts[0], "malformed", cluster.hosts[1].endpoint)
    assert "malformed" in checker.result().detail


def test_only_a_few_examples_are_kept_and_the_rest_counted(cluster: Cluster) -> None:
    checker = NothingIsRefused(cluster)
    for number in range(50):
        checker.refused(cluster.hosts[0], f"reason {number}", ("10.9.9.9", 1))
    detail = checker.result().detail
    assert "reason 4" in detail
    assert "reason 5" not in detail
    assert detail.endswith("and 45 more")


def test_adversaries_may_die_be_refused_and_say_what_they_like(cluster: Cluster) -> None:
    host, other, third = cluster.hosts
    other.honest = False
    checkers = [
        SequencesOnlyRise(cluster),
        NobodyDiesWithoutCause(cluster, 1.0),
        NothingIsRefused(cluster),
    ]
    cluster.world.run_for(5.0)
    for checker in checkers:
        checker.saw(host, record(other.identity, 9))
        checker.saw(host, MemberDown(other.identity))
        checker.saw(other, MemberDown(third.identity))
        checker.refused(host, "malformed", other.endpoint)
        checker.refused(other, "malformed", host.endpoint)
        assert checker.result().ok, checker.name


def test_a_lost_disk_lets_a_sequence_be_used_again_but_only_once(cluster: Cluster) -> None:
    checker, (host, other, _) = SequencesOnlyRise(cluster), cluster.hosts
    checker.saw(other, SequenceChanged(5))
    checker.saw(host, record(other.identity, 5))
    other.forgetful = True
    checker.started(other)
    checker.saw(other, SequenceChanged(1))
    checker.saw(host, record(other.identity, 5))
    assert checker.result().ok
    checker.saw(host, record(other.identity, 4))
    checker.saw(other, SequenceChanged(1))
    assert checker.violations == 2


def test_what_a_host_relays_is_not_its_own(cluster: Cluster) -> None:
    checker, (host, other, _) = StaysBounded(cluster, GossipConfig.lan()), cluster.hosts
    for send, own in ((Carried(other.endpoint, bytes(100)), 0), (Send(other.endpoint, b""), 28)):
        before = host.own_bytes
        cluster._send(host, send)
        assert host.own_bytes - before == own
    checker.sent(host, send)
    host.sent_bytes += 2 * checker.limit
    host.carried_bytes += 2 * checker.limit
    cluster.world.run_for(10.5)
    checker.sent(host, send)
    assert checker.result().ok


def test_who_sends_without_measure_is_noticed(cluster: Cluster) -> None:
    checker, host = StaysBounded(cluster, GossipConfig.lan()), cluster.hosts[0]
    send = Send(host.endpoint, bytes(100))
    checker.sent(host, send)
    for rate, ok in ((0.9, True), (1.1, False)):
        cluster.world.run_for(10.5)
        host.sent_bytes += int(rate * checker.limit)
        checker.sent(host, send)
        assert checker.result().ok is ok
