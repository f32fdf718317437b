"""What must hold in the end: shown a world in which it does, and each way in which it does not."""

from __future__ import annotations

import pytest

from simulations.agreement import ViewsAgree
from simulations.cluster import Cluster
from tests.simulations.toy import toy, toy_cluster


@pytest.fixture
def cluster() -> Cluster:
    """Three hosts that have met."""
    cluster = toy_cluster(3)
    for host in cluster.hosts:
        cluster.start(host, [other for other in cluster.hosts if other is not host])
    assert cluster.world.run_until(cluster.agreed, 1.0)
    return cluster


def test_views_that_agree_pass(cluster: Cluster) -> None:
    checker = views(cluster)
    checker.finish()
    assert checker.result().ok


@pytest.mark.parametrize("state", ["dead", "suspect", "left"])
def test_a_running_host_seen_otherwise_is_noticed(cluster: Cluster, state: str) -> None:
    toy(cluster.hosts[0]).known[cluster.hosts[1].identity] = state
    checker = views(cluster)
    checker.finish()
    assert f"host 0 sees host 1 as {state}" in checker.result().detail


def test_a_ghost_is_noticed(cluster: Cluster) -> None:
    cluster.crash(cluster.hosts[2])
    checker = views(cluster)
    checker.finish()
    assert checker.violations == 2
    assert "alive, which is not" in checker.result().detail


def test_a_record_that_did_not_arrive_is_noticed(cluster: Cluster) -> None:
    checker = ViewsAgree(cluster)
    checker.finish()
    assert "host 0 holds None, not 1" in checker.result().detail


def views(cluster: Cluster) -> ViewsAgree:
    """A `ViewsAgree`, once every toy holds the records of all."""
    sequences = {(host.identity, 0): host.disk.sequence for host in cluster.hosts}
    for host in cluster.running:
        toy(host).sequences = lambda: sequences  # type: ignore[method-assign]
    return ViewsAgree(cluster)


def partial_views(cluster: Cluster) -> ViewsAgree:
    """The same, of hosts that each have a partial view."""
    checker = views(cluster)
    for host in cluster.running:
        toy(host).is_partial = True
    return checker


def test_partial_views_need_not_see_everyone_but_hang_together(cluster: Cluster) -> None:
    one, two, three = cluster.hosts
    checker = partial_views(cluster)
    one.alive.discard(three.identity)
    toy(one).known[three.identity] = "dead"
    assert checker.disagreements() == []
    for host, other in ((two, three), (three, two), (three, one)):
        host.alive.discard(other.identity)
    assert checker.disagreements() == ["host 2 is cut off from host 0 by partial views"]


def test_partial_views_hold_the_records_that_are_for_everyone(cluster: Cluster) -> None:
    checker = partial_views(cluster)
    one, two, three = cluster.hosts
    held = {(one.identity, kind): 7 for kind in (0, 1, 2)}
    for host in cluster.hosts:
        toy(host).sequences = lambda: held  # type: ignore[method-assign]
    toy(two).sequences = lambda: {(one.identity, 2): 7}  # type: ignore[method-assign]
    assert checker.disagreements() == []
    toy(three).sequences = lambda: {(one.identity, 2): 6}  # type: ignore[method-assign]
    assert "host 2 holds 6, not 7" in checker.disagreements()[0]


def test_what_adversaries_see_does_not_count(cluster: Cluster) -> None:
    checker, host = views(cluster), cluster.hosts[1]
    toy(host).known.clear()
    assert len(checker.disagreements()) == 2
    assert len(checker.disagreements(1)) == 1
    host.honest = False
    assert checker.disagreements() == []
