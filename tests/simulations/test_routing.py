"""The checker of routes is shown what it is there for."""

from __future__ import annotations

from gossip.events import MemberDown, MemberUp, RecordChanged
from gossip.records import Record, RecordKind
from simulations.cluster import Cluster, Host
from simulations.routing import GrantingAuthority, Routers
from tests.simulations.toy import toy_cluster

GRANTS = {0: ("10.0.0.0/24",), 1: ("10.1.0.0/16", "fd00::/64")}


def met() -> tuple[Cluster, Routers]:
    cluster = toy_cluster(3)
    routers = Routers(cluster, GRANTS)
    cluster.observers.append(routers)
    for host in cluster.hosts:
        cluster.start(host, [])
    return cluster, routers


def offer(host: Host, sequence: int, prefixes: str, kind: int = RecordKind.ROUTES) -> RecordChanged:
    gone = not prefixes
    return RecordChanged(
        Record(kind, bytes(32), host.identity, sequence, gone, prefixes.encode(), bytes(64))
    )


def test_grants_hold_for_a_prefix_and_what_lies_in_it() -> None:
    cluster = toy_cluster(2)
    authority, one = GrantingAuthority(cluster, GRANTS), cluster.hosts[1].identity
    assert authority.grants(one, "10.1.2.0/24")
    assert authority.grants(one, "fd00::/64")
    assert not authority.grants(one, "10.0.0.0/8")
    assert not authority.grants(one, "fd00::/48")
    assert not authority.grants(cluster.hosts[0].identity, "10.1.2.0/24")


def test_only_granted_routes_of_those_alive_are_installed() -> None:
    cluster, routers = met()
    zero, one, two = cluster.hosts
    routers.saw(two, offer(one, 1, "10.1.0.0/16 0.0.0.0/0"))
    assert routers.best(two, "10.1.2.3") == one.identity
    assert routers.best(two, "192.0.2.1") is None
    routers.saw(two, MemberDown(one.identity))
    assert routers.best(two, "10.1.2.3") is None
    routers.saw(two, MemberUp(one.identity))
    assert routers.best(two, "10.1.2.3") == one.identity
    assert routers.result().ok
    routers.saw(two, offer(zero, 1, "10.0.0.0/24", RecordKind.MEMBER))
    assert routers.best(two, "10.0.0.1") is None


def test_a_route_that_was_installed_without_a_grant_is_noticed() -> None:
    cluster, routers = met()
    one, two = cluster.hosts[1:]
    table = routers.tables[two.number]
    table._offers[one.identity] = ("0.0.0.0/0",)
    table.offer = lambda origin, prefixes: ()  # type: ignore[method-assign]
    routers.saw(two, offer(one, 1, "0.0.0.0/0"))
    assert "installed 0.0.0.0/0" in routers.result().detail


def test_withdrawn_routes_that_come_back_are_noticed_but_new_offers_are_not() -> None:
    cluster, routers = met()
    one, two = cluster.hosts[1:]
    for event in (offer(one, 1, "10.1.0.0/16"), offer(one, 2, ""), offer(one, 3, "10.1.0.0/16")):
        routers.saw(two, event)
    assert routers.result().ok
    routers.saw(two, offer(one, 1, "10.1.0.0/16"))
    assert "took back routes" in routers.result().detail


def test_in_the_end_all_have_the_same_routes() -> None:
    cluster, routers = met()
    one = cluster.hosts[1]
    for host in cluster.hosts:
        routers.saw(host, offer(one, 1, "10.1.0.0/16"))
    routers.finish()
    assert routers.result().ok
    routers.saw(cluster.hosts[2], offer(one, 2, ""))
    routers.finish()
    assert "host 2 has 0 routes, not 1" in routers.result().detail
