"""Partial views that are settled from the first instant, against what the protocol would do."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gossip.config import GossipConfig
from gossip.events import LookupDone
from gossip.kademlia import BITS
from simulations.cluster import Cluster, Host, Observer
from simulations.conditions import Conditions
from simulations.gossiper import gossip_cluster, gossiper
from simulations.machine import Seen
from simulations.network import Network
from simulations.settled import closest, contacts, links, start_partial
from simulations.world import World

CONFIG = replace(GossipConfig.wan(), active_view=6, kademlia_k=4)
NODES = 40
IDS = st.lists(st.integers(0, 2**BITS - 1), min_size=1, max_size=50, unique=True).map(sorted)


def key_of(host: Host) -> bytes:
    return bytes(reversed(host.identity))


def settled(seed: int = 1) -> Cluster:
    world = World(seed)
    cluster = gossip_cluster(world, Network(world, Conditions()), NODES, CONFIG)
    start_partial(cluster, key_of)
    return cluster


class Answers(Observer):
    def __init__(self) -> None:
        self.found: list[bool] = []

    def saw(self, host: Host, seen: Seen) -> None:
        if isinstance(seen, LookupDone):
            self.found.append(bool(seen.records))


def test_views_are_right_from_the_first_instant_and_stay_so() -> None:
    cluster = settled()
    neighbours = [gossiper(host).protocol.neighbours() for host in cluster.hosts]
    assert all(gossiper(host).is_partial for host in cluster.hosts)
    assert all(4 <= len(view) <= CONFIG.active_view for view in neighbours)
    assert cluster.agreed()
    cluster.world.run_for(20.0)
    assert cluster.agreed()
    assert max(host.sent for host in cluster.hosts) < 4 * 20


def test_all_keys_are_found_at_once() -> None:
    cluster = settled()
    answers = Answers()
    cluster.observers.append(answers)
    for asker, subject in zip(cluster.hosts, cluster.hosts[7:], strict=False):
        for key in (bytes(subject.identity), key_of(subject)):
            cluster.act(asker, partial(gossiper(asker).protocol.lookup, key))
    cluster.world.run_for(10.0)
    assert answers.found == [True] * 2 * (NODES - 7)


def test_a_seed_decides_it() -> None:
    digests = [settled(seed).world.trace.digest() for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_links_are_mutual_and_reach_everyone() -> None:
    found = links(100, CONFIG, Random(1))
    assert all(place in found[other] for place, linked in enumerate(found) for other in linked)
    reached = [0]
    for place in reached:
        reached += [other for other in found[place] if other not in reached]
    assert len(reached) == 100
    assert links(1, CONFIG, Random(1)) == [[]]


@given(IDS, st.integers(0, 2**BITS - 1), st.integers(1, 8))
def test_the_closest_are_those_of_the_least_distance(
    ids: list[int], target: int, count: int
) -> None:
    everyone = sorted(range(len(ids)), key=lambda place: ids[place] ^ target)
    assert closest(ids, target, count) == everyone[:count]


@given(IDS, st.integers(1, 8), st.integers(0, 50))
def test_contacts_are_k_of_each_range_that_has_so_many(ids: list[int], k: int, at: int) -> None:
    own = at % len(ids)
    found = contacts(ids, own, k, Random(1))
    ranges = [(ids[other] ^ ids[own]).bit_length() for other in found]
    everyone = [(other ^ ids[own]).bit_length() for other in ids if other != ids[own]]
    assert len(set(found)) == len(found)
    assert own not in found
    assert {i: ranges.count(i) for i in everyone} == {
        i: min(k, everyone.count(i)) for i in everyone
    }
