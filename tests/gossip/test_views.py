"""Partial views: small nodes by hand, and forty in a town where nobody knows everyone."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from gossip import messages
from gossip.config import GossipConfig
from gossip.events import LookupDone, MemberForgotten, SendMessage
from gossip.ids import NodeId
from gossip.items import RecordItem, encode_item
from gossip.members import MemberState
from gossip.messages import Ack, Body, Gossip, Ping, PingRequest
from gossip.protocol import GossipProtocol
from gossip.queries import Link, Linked, Unlink
from gossip.records import LOCAL_KINDS, Record, RecordKind
from gossip.views import LINK_BURST, LOW_WATER

from .cluster import Cluster, id_of, key_of, protocol_of, record_of

FULL, ACTIVE, TOWN = 8, 5, 40
SMALL = replace(GossipConfig.lan(), full_view=FULL, active_view=ACTIVE)


def key_for(number: int) -> bytes:
    return hashlib.blake2b(b"key %d" % number, digest_size=16).digest()


def node_id(name: int | str) -> NodeId:
    return id_of(key_of(name))


def message(body: Body, *records: Record, sequence: int = 1) -> bytes:
    items = [encode_item(RecordItem(record, MemberState.ALIVE)) for record in records]
    return messages.encode(sequence, body, items)


def sent(protocol: GossipProtocol) -> list[tuple[NodeId, Body]]:
    """What it has just sent; other outputs are dropped."""
    outputs = [output for output in protocol.drain() if isinstance(output, SendMessage)]
    return [(output.to, messages.decode(output.payload).body) for output in outputs]


# By hand


def crowded(count: int = FULL + 1, config: GossipConfig = SMALL) -> GossipProtocol:
    """A node that has met so many others."""
    protocol = protocol_of("me", config)
    protocol.publish(RecordKind.MEMBER, b"", 0.0)
    for number in range(count):
        protocol.receive(message(Gossip(), record_of(number)), node_id(number), 1.0)
    return protocol


def linked(count: int = ACTIVE) -> GossipProtocol:
    """A partial node whose neighbours are 0 to count - 1."""
    protocol = crowded()
    for name in protocol.neighbours():
        protocol.receive(message(Unlink(True, 9)), name, 1.0)
    for number in range(count):
        link = message(Link(False, True, 9), record_of(number))
        protocol.receive(link, node_id(number), 1.0)
    protocol.drain()
    assert sorted(protocol._core.links) == sorted(node_id(number) for number in range(count))
    return protocol


def test_up_to_the_limit_everyone_is_known() -> None:
    protocol = crowded(FULL)
    assert not protocol.is_partial
    assert len(protocol.neighbours()) == FULL
    assert [body for _, body in sent(protocol) if isinstance(body, Link)] == []


def test_who_meets_more_keeps_a_few_and_lets_go_of_the_others() -> None:
    protocol = crowded()
    assert protocol.is_partial
    kept = protocol.neighbours()
    assert 0 < len(kept) <= ACTIVE
    outputs = protocol.drain()
    forgotten = [output.id for output in outputs if isinstance(output, MemberForgotten)]
    assert sorted([*kept, *forgotten]) == sorted(node_id(number) for number in range(FULL + 1))
    assert {record.subject for record in protocol.records()} == {*kept, node_id("me")}
    for node in forgotten:
        assert protocol.contact(node) is not None
        assert protocol._core.contacts.table.get(node) is not None


def test_it_stays_partial_for_life() -> None:
    protocol = linked(1)
    protocol.receive(message(Unlink(False, 2)), node_id(0), 2.0)
    assert protocol.neighbours() == []
    assert protocol.is_partial


def test_a_link_is_made_while_there_is_room_and_answered_with_contacts() -> None:
    protocol = linked(ACTIVE - 1)
    for number, expected in ((20, Linked), (21, Unlink)):
        link = message(Link(False, True, 9), record_of(number))
        protocol.receive(link, node_id(number), 2.0)
        answers = [body for to, body in sent(protocol) if to == node_id(number)]
        assert type(answers[-1]) is expected
    assert len(protocol.neighbours()) == ACTIVE
    assert node_id(20) in protocol.neighbours()


def test_who_has_no_neighbour_is_taken_and_another_one_goes() -> None:
    protocol = linked()
    protocol.receive(message(Link(True, True, 9), record_of(20)), node_id(20), 2.0)
    messages_sent = sent(protocol)
    assert (node_id(20), Linked(True, protocol._core.nodes)) in messages_sent
    gone = [to for to, body in messages_sent if isinstance(body, Unlink)]
    assert len(gone) == 1
    assert sorted(protocol.neighbours()) == sorted(
        {node_id(20), *map(node_id, range(ACTIVE))} - {*gone}
    )


def test_the_urgent_cannot_turn_a_node_over_and_over() -> None:
    protocol = linked()
    for number in range(20, 30):
        link = message(Link(True, True, 9), record_of(number))
        protocol.receive(link, node_id(number), 2.0)
    assert len([node for node in protocol.neighbours() if node not in map(node_id, range(5))]) == 1


def test_who_links_and_unlinks_without_end_is_served_so_often_only() -> None:
    protocol = linked(2)
    rounds = LINK_BURST + 9
    for _ in range(rounds):
        protocol.receive(message(Link(False, True, 9), record_of(20)), node_id(20), 2.0)
        protocol.receive(message(Unlink(True, 9)), node_id(20), 2.0)
    assert protocol.statistics().refused["link-quota"] == 9
    assert node_id(20) not in protocol.neighbours()
    protocol.receive(message(Link(False, True, 9), record_of(20)), node_id(20), 4.0)
    assert node_id(20) in protocol.neighbours()


def test_a_link_without_a_record_or_with_one_of_another_is_none() -> None:
    protocol = linked(2)
    protocol.receive(message(Link(True, True, 9)), node_id(20), 2.0)
    protocol.receive(message(Link(True, True, 9), record_of(22)), node_id(21), 2.0)
    assert len(protocol.neighbours()) == 2
    assert {type(body) for to, body in sent(protocol) if to == node_id(20)} == {Unlink}


def test_what_is_said_of_strangers_is_not_kept_and_not_passed_on() -> None:
    protocol = linked()
    stranger, certificate = record_of(30), record_of(30, kind=RecordKind.CERTIFICATE)
    before = sum(protocol.statistics().queued)
    protocol.receive(message(Gossip(), stranger, certificate), node_id(0), 2.0)
    assert protocol.record(node_id(30), RecordKind.MEMBER) is None
    assert protocol.record(node_id(30), RecordKind.CERTIFICATE) is None
    assert sum(protocol.statistics().queued) == before
    assert protocol.contact(node_id(30)) == stranger
    protocol.receive(message(Gossip(), record_of(30, kind=RecordKind.ROUTES)), node_id(0), 2.0)
    assert protocol.record(node_id(30), RecordKind.ROUTES) is not None


def test_a_helper_that_does_not_know_the_target_says_so() -> None:
    protocol = linked()
    protocol.receive(message(PingRequest(5, node_id(99))), node_id(0), 2.0)
    assert (node_id(0), messages.Nack(5)) in sent(protocol)


def test_a_link_of_which_the_other_side_does_not_know_ends() -> None:
    protocol = linked()
    protocol.receive(message(Ack(1, 0, partial=True, linked=False)), node_id(0), 2.0)
    assert node_id(0) not in protocol.neighbours()
    protocol.receive(message(Ack(1, 0, partial=True, linked=True)), node_id(1), 2.0)
    assert node_id(1) in protocol.neighbours()


def test_acks_tell_of_the_link_and_of_what_the_digest_covers() -> None:
    protocol = linked()
    for number in (0, 30):
        protocol.receive(message(Ping(9)), node_id(number), 2.0)
        ack = next(body for to, body in sent(protocol) if isinstance(body, Ack))
        assert ack == protocol._core.ack(9, node_id(number))
        assert (ack.partial, ack.linked, ack.only_global) == (True, number == 0, True)


def test_in_full_view_a_partial_member_is_probed_but_told_no_news() -> None:
    protocol = crowded(4)
    for number in range(4):
        protocol.receive(message(Ack(1, 0)), node_id(number), 1.0)
    protocol.receive(message(Ack(1, 0, partial=True, linked=False)), node_id(0), 2.0)
    assert node_id(0) not in protocol.neighbours()
    assert protocol.member(node_id(0)) is not None
    protocol.publish(RecordKind.ROUTES, b"news", 2.0)
    protocol.drain()
    told, probed = set[NodeId](), set[NodeId]()
    for tenth in range(20, 120):
        protocol.handle_timer(tenth / 10)
        for to, body in sent(protocol):
            told |= {to} if isinstance(body, Gossip) else set()
            probed |= {to} if isinstance(body, Ping) else set()
    assert node_id(0) in probed
    assert node_id(0) not in told
    assert len(told) == 3


def test_one_node_alone_cannot_make_another_partial() -> None:
    protocol = crowded(3)
    for _ in range(5):
        protocol.receive(message(Unlink(True, 10**6)), node_id(0), 2.0)
    assert not protocol.is_partial
    protocol.receive(message(Unlink(False, 10**6)), node_id(1), 2.0)
    assert not protocol.is_partial
    protocol.receive(message(Unlink(True, 10**6)), node_id(1), 2.0)
    assert protocol.is_partial


def test_restored_records_can_be_asked_but_are_no_contacts_yet() -> None:
    protocol = protocol_of("me", SMALL)
    protocol.restore([record_of(number) for number in range(20)], 0.0)
    assert not protocol.is_partial
    assert protocol.statistics().contacts == 0
    assert protocol.contact(node_id(7)) == record_of(7)


# Forty


class Town(Cluster):
    """Every node owns a key; nobody knows more than a few others."""

    def __init__(self, count: int, seed: int = 1) -> None:
        super().__init__(SMALL, seed)
        for number in range(count):
            self.start(number, [0, 1, 2])
            protocol = self.node(number)
            protocol.publish(RecordKind.CERTIFICATE, key_for(number), self.now)
            protocol.announce([key_for(number)], self.now)
            self.pump(node_id(number))
        self.run(15)

    def graph(self) -> dict[NodeId, list[NodeId]]:
        return {node: protocol.neighbours() for node, protocol in self.nodes.items()}

    def is_connected(self) -> bool:
        """One graph, in which nobody has too many neighbours."""
        graph = self.graph()
        reached, left = dict[NodeId, bool](), [next(iter(graph))]
        while left:
            node = left.pop()
            if node not in reached:
                reached[node] = True
                left += [other for other in graph[node] if other in graph]
        return len(reached) == len(graph) and max(map(len, graph.values())) <= ACTIVE

    def is_whole(self) -> bool:
        """Connected, symmetric, and nobody has too many neighbours or too few."""
        graph = self.graph()
        return self.is_connected() and all(
            LOW_WATER * ACTIVE <= len(others) <= ACTIVE
            and all(other in graph and node in graph[other] for other in others)
            for node, others in graph.items()
        )

    def find(self, asker: NodeId, number: int) -> LookupDone | None:
        """Look up the key of `number`; None if no answer comes within 5 s."""
        self.outputs[asker].clear()
        self.nodes[asker].lookup(key_for(number), self.now)
        self.pump(asker)

        def results() -> list[LookupDone]:
            return [o for _, o in self.outputs[asker] if isinstance(o, LookupDone)]

        self.run_until(lambda: bool(results()), 5)
        return results()[0] if results() else None


@pytest.fixture(scope="module")
def town() -> Town:
    """In the order of the tests below, each of which leaves it well."""
    return Town(TOWN)


def test_a_town_is_one_graph_of_small_degrees(town: Town) -> None:
    assert all(protocol.is_partial for protocol in town.nodes.values())
    assert town.run_until(town.is_whole, 20) is not None, "but for a few that are being mixed"
    for protocol in town.nodes.values():
        strangers = [
            record
            for record in protocol.records()
            if record.kind in LOCAL_KINDS and record.subject != protocol._core.identity
        ]
        assert {record.subject for record in strangers} <= {m.id for m in protocol.members()}
        assert len(protocol.members()) <= 3 * ACTIVE
    whole = 0
    for _ in range(100):
        town.run(0.2)
        assert town.is_connected()
        whole += town.is_whole()
    assert whole > 50
    assert town.errors == []


def test_any_node_finds_any_key(town: Town) -> None:
    for step in range(TOWN):
        asker, number = town.names[step], (step * 37 + 11) % TOWN
        result = town.find(asker, number)
        assert result is not None
        assert {record.subject for record in result.records} == {node_id(number)}
        assert town.nodes[asker].contact(node_id(number)) is not None
    assert town.errors == []


@pytest.mark.parametrize("kind", [RecordKind.ROUTES, RecordKind.REVOCATIONS, 9])
def test_what_is_for_everyone_reaches_everyone(town: Town, kind: int) -> None:
    town.node(5).publish(kind, b"to all", town.now)
    town.pump(node_id(5))
    took = town.run_until(
        lambda: all(p.record(node_id(5), kind) is not None for p in town.nodes.values()), 10
    )
    assert took is not None
    assert took < 3


def test_who_was_away_gets_what_is_for_everyone(town: Town) -> None:
    away = node_id(9)
    town.reachable = lambda a, b: away not in (a, b)
    record = town.node(6).publish(RecordKind.REVOCATIONS, b"missed", town.now)
    town.pump(node_id(6))
    town.run(20)
    assert town.node(9).record(node_id(6), RecordKind.REVOCATIONS) is None
    town.reachable = lambda a, b: True
    held = town.run_until(
        lambda: town.node(9).record(node_id(6), RecordKind.REVOCATIONS) == record, 120
    )
    assert held is not None
    assert town.run_until(town.is_whole, 120) is not None


def test_a_moved_node_is_found_where_it_is_now(town: Town) -> None:
    moved = town.node(12).publish(RecordKind.MEMBER, b"elsewhere", town.now)
    town.pump(node_id(12))
    town.run(10)
    for asker in (3, 21, 35):
        result = town.find(node_id(asker), 12)
        assert result is not None
        assert result.records[-1].sequence >= moved.sequence


def test_a_town_that_lost_a_fifth_is_whole_again(town: Town) -> None:
    for number in range(3, TOWN, 5):
        town.crash(number)
    took = town.run_until(town.is_whole, 120)
    assert took is not None, "lost neighbours are replaced"
    for step in range(0, TOWN, 5):
        result = town.find(node_id(step), (step + 7) % TOWN if step % 5 != 1 else 0)
        assert result is not None
        assert result.records
    assert town.errors == []


def test_two_towns_that_meet_again_become_one() -> None:
    town = Town(24)
    west = {node_id(number) for number in range(12)}
    town.reachable = lambda a, b: (a in west) == (b in west)
    town.run(100)
    assert all((a in west) == (b in west) for a, others in town.graph().items() for b in others)
    town.reachable = lambda a, b: True
    east = node_id(20)
    record = town.nodes[east].publish(RecordKind.REVOCATIONS, b"from the east", town.now)
    town.pump(east)
    kind = RecordKind.REVOCATIONS
    took = town.run_until(lambda: all(p.record(east, kind) for p in town.nodes.values()), 300)
    assert took is not None
    assert town.node(0).record(east, kind) == record
    assert town.run_until(town.is_whole, 300) is not None


def test_a_view_that_is_settled_asks_nobody_and_tells_nothing() -> None:
    protocol = protocol_of("a", SMALL)
    protocol.publish(RecordKind.MEMBER, b"here", 0.0)
    friends, others = [record_of(n) for n in range(4)], [record_of(n) for n in range(10, 20)]
    protocol.settle(friends, others, [(others[0].subject, others[:1])], 0.0)
    core = protocol._core
    assert protocol.is_partial
    assert protocol.neighbours() == [record.subject for record in friends]
    assert all(core.contacts.table.get(record.subject) for record in (*friends, *others))
    assert protocol.statistics().stored == 1
    protocol.handle_timer(core.config.probe_period)
    outputs = [output for output in protocol.drain() if isinstance(output, SendMessage)]
    said = [messages.decode(output.payload) for output in outputs]
    assert [(type(envelope.body), envelope.items) for envelope in said] == [(Ping, ())]
