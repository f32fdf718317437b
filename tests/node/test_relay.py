from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from gossip import GossipConfig, NodeId
from meshd.node.peer import Peer
from meshd.node.relay import (
    IDLE_AFTER,
    MAX_CHANNELS_OF_ONE,
    Quota,
    Relay,
    capacity_class,
    runs,
)
from meshd.node.state import NodeConfig, NodeState
from meshd.node.wire import RELAY_PREFIX, RELAYED, Endpoint
from tests.node.couples import founder, make_state


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(16, "big"))


def at(number: int) -> Endpoint:
    """Where that node is."""
    return (f"192.0.{number >> 8}.{number & 0xFF}", 443)


def make_relay(count: int = 3, config: NodeConfig | None = None) -> tuple[Relay, NodeState]:
    """A relay whose peers 1 to `count` have a direct path each."""
    state = make_state(founder(), config)
    state.random_bytes = Random(3).randbytes
    for number in range(1, count + 1):
        peer = Peer(node(number), Random(number))
        peer.paths.learn(at(number), 0.0).prove(0.0)
        peer.paths.choose(0.0)
        state.peers[peer.id] = peer
    return Relay(state), state


def opened(relay: Relay, state: NodeState, one: int, other: int, now: float = 0.0) -> int:
    """The number of a channel that has to come about."""
    number = relay.open(node(one), node(other), now, state.random_bytes)
    assert number is not None
    return number


def batch(number: int, *bodies: bytes) -> bytes:
    return b"".join(RELAY_PREFIX.pack(RELAYED, number) + body for body in bodies)


def test_a_channel_carries_both_ways_and_changes_nothing() -> None:
    relay, state = make_relay()
    number = opened(relay, state, 1, 2)
    assert relay.carries(number)
    data = batch(number, b"first", b"secon", b"last")
    for source, target in ((1, 2), (2, 1)):
        view = memoryview(data)
        sent = relay.forward(view, 13, number, at(source), 1.0)
        assert sent is not None
        assert bytes(sent.data) == data
        assert sent.data.obj is data
        assert (sent.segment_size, sent.endpoint) == (13, at(target))
    assert relay.forwarded_bytes == 2 * len(data)
    assert not state.drops


@pytest.mark.parametrize("source", [at(3), ("192.0.0.1", 444), ("203.0.113.1", 443)])
def test_only_the_ends_of_a_channel_send_through_it(source: Endpoint) -> None:
    relay, state = make_relay()
    number = opened(relay, state, 1, 2)
    data = memoryview(batch(number, b"x"))
    assert relay.forward(data, len(data), number, source, 1.0) is None
    assert state.drops == {"relay-source": 1}
    assert relay.forwarded_bytes == 0


def test_an_end_may_send_from_any_of_its_proven_endpoints() -> None:
    relay, state = make_relay()
    number = opened(relay, state, 1, 2)
    data = memoryview(batch(number, b"x"))
    second = state.peers[node(1)].paths.learn(("198.51.100.1", 1), 0.0)
    assert relay.forward(data, len(data), number, second.endpoint, 1.0) is None
    second.prove(1.0)
    sent = relay.forward(data, len(data), number, second.endpoint, 1.0)
    assert sent is not None
    assert sent.endpoint == at(2)


def test_nothing_goes_to_an_end_that_was_lost() -> None:
    relay, state = make_relay()
    number = opened(relay, state, 1, 2)
    data = memoryview(batch(number, b"x"))
    state.peers[node(2)].paths.lose_all()
    assert relay.forward(data, len(data), number, at(1), 1.0) is None
    assert state.drops == {"relay-target": 1}
    del state.peers[node(2)]
    assert relay.forward(data, len(data), number, at(1), 1.0) is None
    assert relay.forward(data, len(data), number, at(2), 1.0) is None
    assert state.drops == {"relay-target": 2, "relay-source": 1}


def test_a_channel_follows_its_end_to_another_endpoint() -> None:
    relay, state = make_relay()
    number = opened(relay, state, 1, 2)
    paths = state.peers[node(2)].paths
    paths.lose_all()
    paths.learn(("198.51.100.2", 9), 1.0).prove(1.0)
    paths.choose(0.0)
    data = memoryview(batch(number, b"x"))
    sent = relay.forward(data, len(data), number, at(1), 1.0)
    assert sent is not None
    assert sent.endpoint == ("198.51.100.2", 9)


def test_channels_join_only_members_that_are_reached_directly() -> None:
    relay, state = make_relay()
    unproven, relayed = Peer(node(8), Random(8)), Peer(node(9), Random(9))
    unproven.paths.learn(at(8), 0.0)
    relayed.paths.relayed(node(1), 5, at(1), 0.0).prove(0.0)
    relayed.paths.choose(0.0)
    state.peers.update({unproven.id: unproven, relayed.id: relayed})
    for one, other in ((1, 1), (1, 8), (8, 1), (1, 9), (9, 1), (1, 7), (7, 1)):
        assert relay.open(node(one), node(other), 0.0, state.random_bytes) is None
    assert len(relay) == 0


def test_a_node_that_does_not_relay_opens_no_channel() -> None:
    relay, state = make_relay(config=NodeConfig(GossipConfig.lan(), relays=False))
    assert relay.open(node(1), node(2), 0.0, state.random_bytes) is None


def test_both_ends_are_given_the_same_channel() -> None:
    relay, state = make_relay()
    number = opened(relay, state, 1, 2)
    assert opened(relay, state, 2, 1) == number
    assert opened(relay, state, 1, 2) == number
    assert opened(relay, state, 1, 3) != number
    assert len(relay) == 2


def test_a_number_that_is_taken_is_not_given_again() -> None:
    relay, state = make_relay()
    number = opened(relay, state, 1, 2)
    assert relay.open(node(1), node(3), 0.0, lambda size: number.to_bytes(size, "big")) is None
    assert len(relay) == 1


def test_channels_that_nobody_uses_are_forgotten() -> None:
    relay, state = make_relay()
    used, idle = opened(relay, state, 1, 2), opened(relay, state, 1, 3)
    data = memoryview(batch(used, b"x"))
    assert relay.forward(data, len(data), used, at(1), 100.0) is not None
    relay.expire(IDLE_AFTER)
    assert relay.carries(idle)
    relay.expire(IDLE_AFTER + 1)
    assert not relay.carries(idle)
    assert relay.carries(used)
    relay.expire(100.0 + IDLE_AFTER + 1)
    assert len(relay) == 0


def test_one_member_has_only_so_many_channels() -> None:
    relay, state = make_relay(MAX_CHANNELS_OF_ONE + 3)
    for other in range(2, MAX_CHANNELS_OF_ONE + 2):
        opened(relay, state, 1, other)
    last = MAX_CHANNELS_OF_ONE + 2
    assert relay.open(node(1), node(last), 0.0, state.random_bytes) is None
    assert relay.open(node(2), node(last), 0.0, state.random_bytes) is not None
    assert opened(relay, state, 1, 2) is not None
    opened(relay, state, 1, last, IDLE_AFTER + 1)


def test_all_members_have_only_so_many_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshd.node.relay.MAX_CHANNELS", 100)
    relay, state = make_relay(20)
    pairs = list(combinations(range(1, 21), 2))
    numbers = [relay.open(node(a), node(b), 0.0, state.random_bytes) for a, b in pairs]
    assert None not in numbers[:100]
    assert set(numbers[100:]) == {None}
    assert len(relay) == 100


def test_datagrams_of_one_channel_make_one_run() -> None:
    data = batch(7, b"aaaa", b"bbbb") + batch(8, b"cccc") + batch(7, b"dddd", b"ee")
    assert runs(memoryview(data), 12) == [(7, 0, 24), (8, 24, 36), (7, 36, len(data))]


def test_no_datagram_makes_no_run() -> None:
    assert runs(memoryview(b""), 12) == []


@pytest.mark.parametrize("size", range(1, 9))
def test_a_datagram_with_nothing_behind_its_prefix_belongs_to_no_channel(size: int) -> None:
    assert runs(memoryview(batch(7, b"")[:size]), size) == [(None, 0, size)]
    data = batch(7, b"aaaa") + batch(7, b"")[:size]
    assert runs(memoryview(data), 12) == [(7, 0, 12), (None, 12, 12 + size)]


def test_a_member_always_has_its_share_and_others_what_is_left() -> None:
    quota = Quota(1000.0)
    greedy, modest = node(1), node(2)
    assert sum(quota.take(greedy, 100, 0.0) for _ in range(50)) == 10
    assert sum(quota.take(modest, 100, 0.0) for _ in range(50)) == 2
    carried = {greedy: 0, modest: 0}
    for step in range(1, 1001):
        now = step / 100
        for member in (greedy, greedy, greedy, modest):
            carried[member] += 10 * quota.take(member, 10, now)
    assert carried[modest] >= 10.0 * 250 * 0.9
    assert sum(carried.values()) <= 10.0 * 1000 * 1.3 + 1000
    quota.expire(IDLE_AFTER + 20)
    assert not quota._members


def test_what_is_beyond_the_capacity_is_dropped_and_all_is_counted_by_member() -> None:
    relay, state = make_relay(config=NodeConfig(GossipConfig.lan(), relay_capacity=4000.0))
    number = opened(relay, state, 1, 2)
    data = memoryview(batch(number, bytes(1000)))
    sent = [relay.forward(data, len(data), number, at(1), 0.0) for _ in range(10)]
    assert [batch is not None for batch in sent] == [True] * 3 + [False] * 7
    assert state.drops == {"relay-quota": 7}
    assert relay.forwarded == {node(1): 3 * len(data)}
    assert relay.forward(data, len(data), number, at(1), 10.0) is not None
    relay.drop(node(1))
    assert relay.forwarded == {}


@pytest.mark.parametrize(("capacity", "told"), [(1e6, 1), (12.5e6, 2), (125e6, 3), (1e12, 3)])
def test_capacities_have_three_classes(capacity: float, told: int) -> None:
    assert capacity_class(capacity) == told
