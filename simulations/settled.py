"""Partial views as they are after a long time, made at once instead of by hours of lookups.

Links are those of a random graph, routing tables hold k of each range of distance, and every key
is stored at the k closest: what the protocol comes to by itself, were it given the time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random

from gossip.config import GossipConfig
from gossip.ids import NodeId
from gossip.kademlia import BITS
from gossip.records import Record, RecordKind
from gossip.views import LOW_WATER
from simulations.cluster import Cluster, Host
from simulations.gossiper import gossiper


def start_partial(cluster: Cluster, key_of: Callable[[Host], bytes] | None = None) -> None:
    """Boot all hosts with partial views that are settled: nothing is news, timers are spread.

    Each owns one more key besides its id, if `key_of` says which. All must run gossip alone, by
    one configuration; raises TypeError for others.
    """
    hosts, rng = cluster.hosts, cluster.world.stream("settled")
    for host in hosts:
        cluster.start(host, [])
        if key_of is not None:
            cluster.act(host, partial(_own, host, key_of(host)))
    config = gossiper(hosts[0]).config
    ids = sorted(int.from_bytes(host.identity, "big") for host in hosts)
    records = [_records(cluster.by_identity[_node(number)]) for number in ids]
    members = [own[-1] for own in records]
    stored: list[list[tuple[bytes, Sequence[Record]]]] = [[] for _ in ids]
    for own, member in zip(records, members, strict=True):
        host = cluster.by_identity[member.subject]
        for key in [bytes(member.subject), *([] if key_of is None else [key_of(host)])]:
            for place in closest(ids, int.from_bytes(key, "big"), config.kademlia_k + 1):
                if members[place] is not member:
                    stored[place].append((key, own))
    for place, linked in enumerate(links(len(ids), config, rng)):
        neighbours = [record for other in linked for record in records[other]]
        known = [members[other] for other in contacts(ids, place, config.kademlia_k, rng)]
        host = cluster.by_identity[members[place].subject]
        settle = gossiper(host).protocol.settle
        cluster.act(host, partial(settle, neighbours, known, stored[place]))


def links(count: int, config: GossipConfig, rng: Random) -> list[list[int]]:
    """Whom each of `count` nodes is linked to: random rings through all, laid over each other.

    There is a way from each to each, and a degree between what a node wants and what it takes.
    """
    wanted, most = round(LOW_WATER * config.active_view), config.active_view
    found: list[dict[int, bool]] = [{} for _ in range(count)]
    for _ in range(max(1, (wanted + most) // 4)):
        ring = rng.sample(range(count), count)
        for one, other in zip(ring, ring[1:] + ring[:1], strict=True):
            if one != other:
                found[one][other] = found[other][one] = True
    for one in range(count):
        if len(found[one]) < wanted:  # some of its rings went the same way
            open_to = [n for n in range(count) if n not in found[one] and len(found[n]) < most]
            others = [other for other in open_to if other != one]
            for other in rng.sample(others, min(wanted - len(found[one]), len(others))):
                found[one][other] = found[other][one] = True
    return [list(linked) for linked in found]


def contacts(ids: Sequence[int], place: int, k: int, rng: Random) -> list[int]:
    """Places in the sorted `ids` of up to `k` of each range of distance from the id at `place`."""
    found: list[int] = []
    for (low, high), (inner, outer) in _halves(ids, ids[place]):
        away = range(low, inner) if inner > low else range(outer, high)
        found += rng.sample(away, min(k, len(away)))
    return found


def closest(ids: Sequence[int], target: int, count: int) -> list[int]:
    """Places in the sorted `ids` of the `count` closest to `target`, the closest first."""
    low, high = 0, len(ids)
    for _, (inner, outer) in _halves(ids, target):
        if outer - inner < count:
            break
        low, high = inner, outer
    return sorted(range(low, high), key=lambda place: ids[place] ^ target)[:count]


def _halves(ids: Sequence[int], target: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Ranges of sorted `ids` that share ever more bits with `target`: the last one, and its half
    on the side of `target`; until that holds one or none."""
    low, high = 0, len(ids)
    for bit in range(BITS - 1, -1, -1):
        if high - low <= 1:
            return
        upper = (target >> bit | 1) << bit
        middle = bisect_left(ids, upper, low, high)
        half = (middle, high) if target >> bit & 1 else (low, middle)
        yield (low, high), half
        low, high = half


def _own(host: Host, key: bytes, now: float) -> None:
    protocol = gossiper(host).protocol
    protocol.publish(RecordKind.CERTIFICATE, key, now)
    protocol.announce([key], now)


def _records(host: Host) -> list[Record]:
    """What is believed of it first, then where it is."""
    own = gossiper(host).protocol.records()
    return sorted(own, key=lambda record: record.kind == RecordKind.MEMBER)


def _node(number: int) -> NodeId:
    return NodeId(number.to_bytes(BITS // 8, "big"))
