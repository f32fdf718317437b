"""What a node answers to the lookups of others, and what it keeps for them."""

from __future__ import annotations

from gossip import keeper
from gossip.items import RecordItem
from gossip.queries import Find, Found, Store

from .cluster import id_of, key_of, protocol_of
from .questions import ALICE, KEY, OTHER, done, message, owned, sent, town


def test_what_is_stored_here_is_found_here() -> None:
    protocol = protocol_of("a")
    protocol.receive(message(Store(KEY, False), *owned("owner")), ALICE, 0.0)
    assert protocol.statistics().stored == 1
    assert protocol.records() == []
    protocol.lookup(KEY, 1.0)
    (result,) = done(protocol)
    assert result.records == tuple(owned("owner"))
    protocol.receive(message(Find(5, KEY, 1)), ALICE, 2.0)
    parts = sent(protocol, Found)
    assert [envelope.body for _, envelope in parts] == [Found(5, 0, 1)]
    assert len(parts[0][1].items) == 2


def test_who_stores_for_a_key_that_is_not_its_own_is_not_heard() -> None:
    protocol = protocol_of("a")
    protocol.receive(message(Store(OTHER, False), *owned("owner")), ALICE, 0.0)
    assert protocol.statistics().stored == 0


def test_queries_of_one_node_are_served_up_to_a_rate() -> None:
    protocol = protocol_of("a")
    for _ in range(100):
        protocol.receive(message(Find(5, KEY, 1)), ALICE, 0.0)
    assert len(sent(protocol, Found)) == keeper.QUERY_BURST
    protocol.receive(message(Find(5, KEY, 1)), id_of(key_of("bob")), 0.0)
    assert len(sent(protocol, Found)) == 1


def test_an_answer_holds_the_closest_in_so_many_messages() -> None:
    cluster = town(12)
    protocol = cluster.node(2)
    protocol.drain()
    protocol.receive(message(Find(5, OTHER, 2)), id_of(key_of(4)), cluster.now)
    parts = sent(protocol, Found)
    assert [envelope.body for _, envelope in parts] == [Found(5, 0, 2), Found(5, 1, 2)]
    assert all(to == id_of(key_of(4)) for to, _ in parts)
    told = [i.record.subject for _, e in parts for i in e.items if isinstance(i, RecordItem)]
    assert len(told) >= 10
    assert id_of(key_of(4)) not in told
