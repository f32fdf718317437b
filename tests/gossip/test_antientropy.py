"""Comparisons: two nodes that differ end up the same, within bounds."""

from __future__ import annotations

from random import Random

import pytest

from gossip import messages
from gossip.antientropy import (
    JOINED_AFTER,
    JOINING_PERIODS,
    PEER_SHARE,
    SETTLED_AFTER,
    Synchroniser,
)
from gossip.config import GossipConfig
from gossip.core import Core
from gossip.ids import NodeId
from gossip.items import RecordItem
from gossip.members import MemberState, Peer
from gossip.messages import BUCKETS, Ack, Buckets, Entries, Want
from gossip.records import Record, RecordKind

from .cluster import FakeAuthority, id_of, key_of, record_of
from .test_core import sent


def holding(name: str, held: list[Record], config: GossipConfig | None = None) -> Core:
    key = key_of(name)
    core = Core(id_of(key), key, config or GossipConfig(), FakeAuthority(key), Random(1))
    for record in held:
        core.store.put(record)
    return core


def exchange(first: Core, second: Core, rounds: int = 1) -> int:
    """Comparisons begun by `first`, carried to and fro until all is silent; messages sent."""
    sides = {first.identity: first, second.identity: second}
    parts = {node: Synchroniser(core, 0.0) for node, core in sides.items()}
    count, now = 0, 0.0
    for _ in range(rounds):
        now += 60.0
        parts[first.identity].on_digest(Ack(1, second.store.digest), second.identity, now)
        for _ in range(10):
            for core in (first, second):
                outgoing = sent(core)
                core.outputs.clear()
                for message in outgoing:
                    count += 1
                    assert len(message.payload) <= core.config.packet_size
                    deliver(sides[message.to], parts[message.to], core, message.payload, now)
    return count


def deliver(core: Core, part: Synchroniser, other: Core, payload: bytes, now: float) -> None:
    envelope = messages.decode(payload)
    match envelope.body:
        case Buckets():
            part.on_buckets(envelope.body, other.identity, now)
        case Entries():
            part.on_entries(envelope.body, other.identity, now)
        case Want():
            part.on_want(envelope.body, other.identity, now)
    for item in envelope.items:
        assert isinstance(item, RecordItem)
        held = core.store.get(item.record.subject, item.record.kind)
        if held is None or item.record.supersedes(held):
            core.store.put(item.record)


COMMON = [record_of(name, kind=kind) for name in range(100) for kind in (0, 2)]


@pytest.mark.parametrize("begins", [0, 1])
def test_each_side_gets_what_it_lacks(begins: int) -> None:
    newer = [record_of(name, 5) for name in range(7)]
    first = holding("x", [*COMMON, record_of("only-first")])
    second = holding("y", [*COMMON, *newer, record_of("only-second")])
    pair = (first, second) if begins == 0 else (second, first)
    exchange(*pair)
    assert first.store.digest == second.store.digest
    assert len(first.store) == len(COMMON) + 2


def test_equal_nodes_exchange_nothing() -> None:
    assert exchange(holding("x", COMMON), holding("y", COMMON)) == 0


def test_one_difference_costs_few_messages_however_many_records_there_are() -> None:
    second = holding("y", [*COMMON, record_of("new")])
    assert exchange(holding("x", COMMON), second) <= 5


def test_an_empty_node_gets_everything_in_bursts() -> None:
    held = [record_of(name, body=bytes(170)) for name in range(600)]
    first, second = holding("x", []), holding("y", held)
    exchange(first, second)
    assert 0 < len(first.store) < 600
    exchange(first, second, rounds=9)
    assert first.store.digest == second.store.digest


def test_different_records_of_one_sequence_are_exchanged_too() -> None:
    first = holding("x", [*COMMON, record_of("a", 3, body=b"x")])
    second = holding("y", [*COMMON, record_of("a", 3, body=b"y")])
    exchange(first, second)
    assert first.store.digest == second.store.digest


def test_a_bucket_of_many_pages_is_compared_wholly() -> None:
    names = [n for n in range(20_000) if id_of(key_of(n))[0] >> 1 == 5][:120]
    held = [record_of(name) for name in names]
    first, second = holding("x", held[::2]), holding("y", held[1:])
    exchange(first, second, rounds=5)
    assert first.store.digest == second.store.digest
    assert len(first.store) == 120


def test_answers_are_bounded_in_number_and_rate() -> None:
    held = [record_of(name, body=bytes(170)) for name in range(2000)]
    core = holding("y", held)
    part = Synchroniser(core, 0.0)
    asking = Buckets((0,) * BUCKETS)
    part.on_buckets(asking, id_of(key_of("x")), 0.0)
    assert 0 < len(sent(core)) <= core.config.sync_burst
    for _ in range(50):
        part.on_buckets(asking, id_of(key_of("x")), 0.0)
    assert len(sent(core)) <= core.config.sync_rate / 2


def test_one_node_takes_no_more_than_its_share() -> None:
    core = holding("y", [record_of(name, body=bytes(170)) for name in range(2000)])
    part = Synchroniser(core, 0.0)
    asking, greedy, other = Buckets((0,) * BUCKETS), id_of(key_of("x")), id_of(key_of("z"))
    for tenth in range(100):
        for _ in range(10):
            part.on_buckets(asking, greedy, tenth / 10)
            part.on_entries(Entries(bytes(16), b"\xff" * 16, ()), greedy, tenth / 10)
    share = core.config.sync_rate / PEER_SHARE
    assert 11 * share <= len(sent(core)) <= 12 * share
    core.outputs.clear()
    part.on_buckets(asking, other, 10.0)
    assert len(sent(core)) == core.config.sync_burst
    for number in range(20):
        part.on_buckets(asking, id_of(key_of(number)), 10.0)
    assert len(sent(core)) <= core.config.sync_rate


def test_no_more_is_gathered_than_may_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    core = holding("y", [record_of(name, body=bytes(170)) for name in range(4000)])
    part, read = Synchroniser(core, 0.0), list[int]()
    of = core.store.of

    def counted(subject: NodeId) -> list[Record]:
        read.append(1)
        return of(subject)

    monkeypatch.setattr(core.store, "of", counted)
    part.on_buckets(Buckets((0,) * BUCKETS), id_of(key_of("x")), 0.0)
    assert 0 < len(read) < 400
    read.clear()
    part.on_entries(Entries(bytes(16), b"\xff" * 16, ()), id_of(key_of("z")), 0.0)
    assert 0 < len(read) < 400
    assert len(sent(core)) == 2 * core.config.sync_burst


def test_what_may_not_be_answered_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    core = holding("y", [record_of(name) for name in range(50)])
    part = Synchroniser(core, 0.0)
    asking, other = Buckets((0,) * BUCKETS), id_of(key_of("x"))
    while part._has_token(other, 0.0):
        part.on_buckets(asking, other, 0.0)
    monkeypatch.delattr(core.store, "_subjects")
    part.on_buckets(asking, other, 0.0)
    part.on_entries(Entries(bytes(16), b"\xff" * 16, ()), other, 0.0)
    monkeypatch.undo()
    core.outputs.clear()
    part.on_buckets(asking, other, 1.0)
    assert sent(core)


def test_what_is_lacking_in_many_buckets_is_sent_in_few_messages() -> None:
    core = holding("y", [record_of(name, body=bytes(100)) for name in range(40)])
    Synchroniser(core, 0.0).on_buckets(Buckets((0,) * BUCKETS), id_of(key_of("x")), 0.0)
    assert len(sent(core)) == 10  # four to a message of 1150 bytes


def test_a_joiner_compares_until_some_others_agree_with_it() -> None:
    core = holding("x", COMMON)
    part = Synchroniser(core, 0.0)
    part.begin_joining(0.0)
    for number in range(JOINED_AFTER):
        assert part.joining
        part.on_digest(Ack(1, core.store.digest), id_of(key_of(number)), 1.0)
    assert not part.joining


def test_a_joiner_whom_nobody_agrees_with_stops_comparing_so_often() -> None:
    core = holding("x", COMMON)
    part = Synchroniser(core, 0.0)
    part.begin_joining(0.0)
    part.on_timer(JOINING_PERIODS * core.config.probe_period - 0.1)
    assert part.joining
    part.on_timer(JOINING_PERIODS * core.config.probe_period)
    assert not part.joining


def test_fruitless_comparisons_become_rare() -> None:
    core = holding("x", COMMON)
    part = Synchroniser(core, 0.0)
    other = id_of(key_of("y"))
    for second in range(3600):
        part.on_digest(Ack(1, 12345), other, float(second))
    assert core.counters.syncs <= 13


def test_what_brought_something_is_soon_repeated() -> None:
    core = holding("x", COMMON)
    part = Synchroniser(core, 0.0)
    other = id_of(key_of("y"))
    part.on_digest(Ack(1, 12345), other, 0.0)
    part.learned(3)
    part.on_digest(Ack(1, 12345), other, core.config.sync_interval * 2)
    part.on_digest(Ack(1, 12345), other, core.config.sync_interval * 2 + 1)
    assert core.counters.syncs == 3


def test_what_all_others_hold_is_news_no_more_but_accusations_are() -> None:
    core = holding("x", COMMON)
    part = Synchroniser(core, 0.0)
    record = record_of("new")
    core.store.put(record)
    core.spread_record(record, 0.0)
    core.spread_accusation(record.subject, id_of(key_of(1)), b"charge", 0.0)
    for count in range(SETTLED_AFTER):
        assert core.news.sizes() == (2, 0, 0)
        part.on_digest(Ack(1, core.store.digest), id_of(key_of(count)), 1.0)
    assert core.news.sizes() == (1, 0, 0)


def test_one_node_alone_cannot_settle_what_others_have_not_confirmed() -> None:
    core = holding("x", COMMON)
    part = Synchroniser(core, 0.0)
    part.begin_joining(0.0)
    others = [id_of(key_of(number)) for number in range(SETTLED_AFTER + 2)]
    for other in others:
        core.members.add(Peer(other, bytes(32), 1, MemberState.ALIVE, 0.0))
    core.spread_record(record_of("new"), 0.0)
    for _ in range(3 * SETTLED_AFTER):
        part.on_digest(Ack(0, core.store.digest), others[0], 1.0)
    assert part.joining
    assert core.news.sizes() == (1, 0, 0)
    for other in others[1:SETTLED_AFTER]:
        part.on_digest(Ack(1, core.store.digest), other, 1.0)
    assert not part.joining
    assert core.news.sizes() == (0, 0, 0)


def test_agreement_on_an_older_state_does_not_settle_what_came_since() -> None:
    core = holding("x", COMMON)
    part = Synchroniser(core, 0.0)
    for count in range(SETTLED_AFTER - 1):
        part.on_digest(Ack(1, core.store.digest), id_of(key_of(count)), 1.0)
    record = record_of("new")
    core.store.put(record)
    core.spread_record(record, 0.0)
    part.on_digest(Ack(1, core.store.digest), id_of(key_of("y")), 1.0)
    assert core.news.sizes() == (1, 0, 0)


def test_nothing_is_compared_while_there_is_news_to_tell() -> None:
    core = holding("x", COMMON)
    part = Synchroniser(core, 0.0)
    core.spread_record(record_of("new"), 0.0)
    part.on_digest(Ack(1, 12345), id_of(key_of("y")), 1.0)
    assert core.counters.syncs == 0


def test_what_all_keep_is_compared_though_there_is_news_to_tell() -> None:
    revocation, member = record_of("issuer", kind=RecordKind.REVOCATIONS), record_of("new")
    first = holding("x", COMMON, GossipConfig(sync_interval=40.0))
    second = holding("y", [*COMMON, revocation, member])
    first.spread_record(record_of("other"), 0.0)
    exchange(first, second)
    assert first.store.get(revocation.subject, RecordKind.REVOCATIONS) == revocation
    assert first.store.get(member.subject, RecordKind.MEMBER) is None


def test_while_there_is_news_what_all_keep_is_compared_as_seldom_as_the_rest() -> None:
    core = holding("x", COMMON)
    part = Synchroniser(core, 0.0)
    core.spread_record(record_of("new"), 0.0)
    for tenth in range(300):
        part.on_digest(Ack(1, 12345), id_of(key_of("y")), tenth / 10)
    shown = [messages.decode(message.payload).body for message in sent(core)]
    assert [isinstance(body, Buckets) and body.only_global for body in shown] == [True, False]


def test_what_was_forgotten_for_its_age_is_not_asked_for() -> None:
    first, second = holding("x", COMMON), holding("y", COMMON)
    first.store.forget(id_of(key_of(3)))
    exchange(first, second, rounds=3)
    assert first.store.get(id_of(key_of(3)), 0) is None or first.store.digest == second.store.digest


def test_what_vouches_for_a_member_is_sent_before_its_member_record() -> None:
    second = holding("y", [record_of("a", kind=kind) for kind in (0, 1, 2)])
    Synchroniser(second, 0.0).on_buckets(Buckets((0,) * BUCKETS), id_of(key_of("x")), 0.0)
    (message,) = sent(second)
    items = messages.decode(message.payload).items
    assert [i.record.kind for i in items if isinstance(i, RecordItem)] == [1, 2, 0]
