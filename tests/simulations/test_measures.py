from __future__ import annotations

from math import inf

import pytest

from gossip.events import MemberDown, MemberUp, RecordChanged
from gossip.records import Record
from simulations.measures import DeathCount, FirstSight, Infection, Verdicts, share_within
from tests.simulations.toy import toy_cluster


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.75, 3.0), (1.0, 4.0)]
)
def test_the_time_by_which_a_share_had_passed(share: float, expected: float) -> None:
    assert share_within([4.0, 1.0, 3.0, 2.0], share) == expected


def test_those_who_never_saw_it_count_as_infinitely_late() -> None:
    cluster = toy_cluster(4)
    sight = FirstSight(cluster)
    cluster.world.run_for(2.0)
    sight.note(cluster.hosts[1])
    assert sight.within(cluster.hosts, 0.25) == 2.0
    assert sight.within(cluster.hosts, 0.5) == inf
    assert share_within([], 0.5) == inf


def test_only_the_first_sight_counts_and_the_curve_rises_to_all() -> None:
    cluster = toy_cluster(2)
    for host in cluster.hosts:
        cluster.start(host, [])
    sight = FirstSight(cluster)
    for host in (*cluster.hosts, *cluster.hosts):
        cluster.world.run_for(1.0)
        sight.note(host)
    assert sight.curve() == [(1.0, 0.5), (2.0, 1.0)]


def test_an_infection_is_that_very_record_or_a_newer_one() -> None:
    cluster = toy_cluster(3)
    one, two, three = cluster.hosts
    infection = Infection(cluster, one.identity, 2, 5)

    def saw(kind: int, sequence: int, subject: bytes) -> None:
        record = Record(kind, bytes(32), type(one.identity)(subject), sequence, False, b"", b"")
        infection.saw(three, RecordChanged(record))

    saw(2, 4, one.identity)
    saw(1, 5, one.identity)
    saw(2, 5, two.identity)
    assert not infection.times
    saw(2, 6, one.identity)
    assert list(infection.times) == [three.number]


def test_verdicts_and_deaths_are_counted_by_what_they_say() -> None:
    cluster = toy_cluster(3)
    one, two, three = cluster.hosts
    verdicts, deaths = Verdicts(cluster, [one.identity], MemberDown), DeathCount()
    cluster.world.run_for(4.0)
    for seen in (MemberUp(one.identity), MemberDown(two.identity), MemberDown(one.identity)):
        verdicts.saw(three, seen)
        deaths.saw(three, seen)
    assert verdicts.delays == [4.0]
    assert deaths.deaths == 2
