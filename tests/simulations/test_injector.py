"""Faults may overlap: what a host suffers is what all those in force make of it."""

from __future__ import annotations

import pytest

from simulations.cluster import Cluster
from simulations.injector import KINDS, FaultInjector
from simulations.plan import Fault
from tests.simulations.toy import toy_cluster


@pytest.fixture
def cluster() -> Cluster:
    """Four hosts that have met."""
    cluster = toy_cluster(4)
    for host in cluster.hosts:
        cluster.start(host, [other for other in cluster.hosts if other is not host])
    assert cluster.world.run_until(cluster.agreed, 1.0)
    return cluster


def injector_of(cluster: Cluster, *faults: Fault) -> FaultInjector:
    injector = FaultInjector(cluster, lambda host: cluster.start(host, cluster.hosts[:1]))
    injector.strike(dict(enumerate(faults)))
    return injector


def running(cluster: Cluster) -> list[int]:
    return [host.number for host in cluster.running]


def met(cluster: Cluster, one: int, other: int) -> bool:
    return cluster.reachable(cluster.hosts[one], cluster.hosts[other])


def test_a_fault_at_zero_begins_at_once_and_ends_at_its_time(cluster: Cluster) -> None:
    injector = injector_of(cluster, Fault("crash", (1, 2), lasts=5.0))
    assert running(cluster) == [0, 3]
    assert injector.is_ill(cluster.hosts[1])
    assert not injector.is_ill(cluster.hosts[0])
    cluster.world.run_for(6.0)
    assert running(cluster) == [0, 1, 2, 3]
    assert not injector.active
    assert sorted(injector.ended_at) == [1, 2]


def test_a_host_runs_again_when_the_last_of_its_crashes_is_over(cluster: Cluster) -> None:
    injector_of(cluster, Fault("crash", (1,), lasts=5.0), Fault("leave", (1, 2), at=3.0, lasts=5.0))
    cluster.world.run_for(6.0)
    assert running(cluster) == [0, 3]
    cluster.world.run_for(3.0)
    assert running(cluster) == [0, 1, 2, 3]


def test_two_splits_at_once_make_four_parts(cluster: Cluster) -> None:
    injector_of(
        cluster, Fault("split", (0, 1, 2, 3), value=2), Fault("cut", (0, 1), at=1.0, lasts=5.0)
    )
    assert met(cluster, 0, 2)
    assert not met(cluster, 0, 1)
    cluster.world.run_for(2.0)
    assert not any(met(cluster, one, other) for one in range(4) for other in range(one))
    cluster.world.run_for(5.0)
    assert met(cluster, 1, 3)
    assert not met(cluster, 0, 3)


def test_a_mute_host_hears_but_is_not_heard(cluster: Cluster) -> None:
    injector_of(cluster, Fault("mute", (1,), others=(2,)))
    assert not met(cluster, 1, 2)
    assert met(cluster, 1, 3)
    before = cluster.network.counters["partitioned"]
    cluster.network.send(cluster.hosts[2].endpoint, cluster.hosts[1].endpoint, b"hello")
    assert cluster.network.counters["partitioned"] == before
    cluster.network.send(cluster.hosts[1].endpoint, cluster.hosts[2].endpoint, b"hello")
    assert cluster.network.counters["partitioned"] == before + 1


def test_processes_clocks_links_and_addresses_suffer_for_as_long_as_it_lasts(
    cluster: Cluster,
) -> None:
    old = cluster.hosts[1].endpoint
    kinds = [Fault(kind, (1,), lasts=5.0, value=0.5) for kind in ("pause", "hold", "slow", "lossy")]
    more = [Fault("jump", (1,), value=9.0), Fault("drift", (1,), lasts=5.0, value=0.5)]
    injector_of(cluster, *kinds, Fault("pause", (1, 2), lasts=7.0), *more, Fault("move", (1,)))
    host, other = cluster.hosts[1:3]
    assert sorted(host.troubles) == ["held", "lossy", "paused", "slow"]
    assert host.endpoint != old
    before = host.local(cluster.world.now) - cluster.world.now
    assert before == 9.0
    cluster.world.run_for(6.0)
    assert (sorted(host.troubles), sorted(other.troubles)) == (["paused"], ["paused"])
    assert host.local(cluster.world.now) - cluster.world.now == pytest.approx(9.0 + 2.5)
    cluster.world.run_for(2.0)
    assert not host.troubles
    assert not other.troubles


@pytest.mark.parametrize(("kind", "kept"), [("crash", 1), ("crash-lost", 0), ("crash-old", 0)])
def test_a_crash_leaves_the_disk_as_its_kind_says(cluster: Cluster, kind: str, kept: int) -> None:
    injector_of(cluster, Fault(kind, (1,)))
    assert len(cluster.hosts[1].disk.records) == kept


def test_the_worst_loss_in_force_counts(cluster: Cluster) -> None:
    faults = Fault("lossy", value=0.5, lasts=9.0), Fault("lossy", value=0.2, at=1.0)
    injector_of(cluster, *faults)
    cluster.world.run_for(2.0)
    assert cluster.network.conditions.loss == 0.5
    cluster.world.run_for(8.0)
    assert cluster.network.conditions.loss == 0.2


def test_healing_ends_all_but_what_is_final_and_begins_nothing_more(cluster: Cluster) -> None:
    injector = injector_of(
        cluster,
        Fault("crash", (1,)),
        Fault("crash", (2,), final=True),
        Fault("split", (0, 1, 3), value=3),
        Fault("crash", (3,), at=10.0),
    )
    cluster.world.run_for(5.0)
    injector.heal()
    cluster.world.run_for(10.0)
    assert running(cluster) == [0, 1, 3]
    assert met(cluster, 0, 3)


def test_an_unknown_kind_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="'earthquake'"):
        injector_of(cluster, Fault("earthquake"))


def test_every_kind_says_what_it_does() -> None:
    assert all(text and text == text.strip() for text in KINDS.values())
