"""Lookups on the wire, between nodes that know everyone and one that begins with a single hint."""

from __future__ import annotations

import pytest

from gossip import resolver
from gossip.errors import GossipError
from gossip.events import LookupDone
from gossip.items import RecordItem
from gossip.members import MemberState
from gossip.protocol import GossipProtocol
from gossip.queries import Find, Found, Store
from gossip.records import RecordKind
from gossip.resolver import PUBLISH_AGAIN, PUBLISH_PAUSE
from gossip.timers import Timer

from .cluster import Cluster, id_of, key_of, protocol_of, record_of
from .questions import ALICE, KEY, OTHER, done, message, owned, sent, town


def stranger(cluster: Cluster) -> GossipProtocol:
    """A node that has not joined, and has the MEMBER record of number 3 from somewhere."""
    protocol = cluster.start(99)
    member = cluster.node(3).record(id_of(key_of(3)), RecordKind.MEMBER)
    assert member is not None
    protocol.restore([member], cluster.now)
    protocol._core.contacts.hint(member)
    protocol._core.contacts.heard(member.subject, cluster.now)
    return protocol


def test_in_full_view_every_key_is_answered_at_once() -> None:
    cluster = town()
    protocol = cluster.node(2)
    owner = id_of(key_of(7))
    for key in (KEY, owner):
        protocol.lookup(key, cluster.now)
        (result,) = done(protocol)
        assert (result.key, result.answered_by, result.hops) == (key, id_of(key_of(2)), 0)
        assert [r.kind for r in result.records] == [RecordKind.CERTIFICATE, RecordKind.MEMBER]
        assert {r.subject for r in result.records} == {owner}


def test_a_node_finds_its_own_keys_in_itself() -> None:
    cluster = town()
    cluster.node(7).lookup(KEY, cluster.now)
    (result,) = done(cluster.node(7))
    assert result.answered_by == id_of(key_of(7))


def test_one_hint_is_enough_to_find_any_key() -> None:
    cluster = town()
    protocol = stranger(cluster)
    for key in (KEY, id_of(key_of(5))):
        protocol.lookup(key, cluster.now)
        cluster.pump(id_of(key_of(99)))
        assert cluster.run_until(lambda: len(cluster.events(99, LookupDone)) > 0, 2) is not None
        result = cluster.events(99, LookupDone)[-1]
        assert isinstance(result, LookupDone)
        assert result.key == key
        assert result.records
        assert result.answered_by in cluster.nodes
        assert result.hops >= 1
        cluster.outputs[id_of(key_of(99))].clear()
    assert protocol.statistics().lookups == 2
    assert protocol.statistics().lookups_failed == 0
    assert cluster.errors == []


def test_nobody_to_ask_is_an_answer_too() -> None:
    protocol = protocol_of("a")
    protocol.lookup(KEY, 0.0)
    assert done(protocol) == [LookupDone(KEY, (), None, 0)]
    assert protocol.statistics().lookups_failed == 1


def test_a_key_has_sixteen_bytes() -> None:
    protocol = protocol_of("a")
    with pytest.raises(ValueError, match="16 bytes"):
        protocol.lookup(b"short", 0.0)
    with pytest.raises(ValueError, match="16 keys"):
        protocol.announce([b"short"], 0.0)


def test_keys_stored_before_a_change_are_stored_again_after_it() -> None:
    protocol = protocol_of("a")
    protocol._core.in_parts = True
    protocol._core.contacts.table.heard(record_of("alice"), 0.0)
    protocol.announce([KEY, OTHER], 0.0)
    resolver = protocol._resolver
    resolver.on_republish_timer(5.0)
    resolver.on_republish_timer(6.0)
    assert resolver._unpublished == [OTHER]
    protocol.publish(RecordKind.MEMBER, b"elsewhere", 6.5)
    assert resolver._unpublished == [OTHER, protocol._core.identity, KEY]


def test_a_publication_that_found_nobody_is_soon_repeated() -> None:
    protocol = protocol_of("a")
    core, resolver = protocol._core, protocol._resolver
    core.in_parts = True
    again = PUBLISH_AGAIN * core.config.probe_period

    def due() -> float:
        timers, key = core.timers, (Timer.REPUBLISH, None)
        (at,) = [at for at, order, of in timers._heap if (of, order) == (key, timers._order[key])]
        return at

    resolver.on_republish_timer(10.0)  # it knows nobody
    assert due() == 10.0 + again
    core.contacts.table.heard(record_of("alice"), 0.0)
    resolver.on_republish_timer(100.0)
    assert due() > 100.0 + core.config.republish_interval / 2
    (nonce,) = [e.body.nonce for _, e in sent(protocol, Find) if isinstance(e.body, Find)]
    assert nonce in resolver._queries
    for second in range(101, 140):
        for number in list(resolver._runs):
            resolver.on_lookup_timer(number, float(second))
    assert not resolver._runs
    assert 100.0 < due() < 140.0 + again
    resolver.on_republish_timer(200.0)
    for to, envelope in sent(protocol, Find):
        assert isinstance(envelope.body, Find)
        protocol.receive(message(Found(envelope.body.nonce, 0, 1)), to, 200.1)
    assert due() > 200.0 + core.config.republish_interval / 2


def asking(name: str = "a") -> tuple[GossipProtocol, int]:
    """A node that has asked alice about KEY, and the nonce of its query."""
    protocol = protocol_of(name)
    protocol.publish(RecordKind.MEMBER, b"", 0.0)
    protocol._core.contacts.table.heard(record_of("alice"), 0.0)
    protocol.drain()
    protocol.lookup(KEY, 0.0)
    ((to, envelope),) = sent(protocol, Find)
    assert to == ALICE
    assert isinstance(envelope.body, Find)
    assert [item.record.subject for item in envelope.items if isinstance(item, RecordItem)] == [
        protocol._core.identity
    ], "whoever asks introduces itself"
    return protocol, envelope.body.nonce


@pytest.mark.parametrize("order", [1, -1])
def test_an_answer_may_come_in_parts_of_any_order(order: int) -> None:
    protocol, nonce = asking()
    parts = list(enumerate(owned("owner")))[::order]
    for index, record in parts:
        assert done(protocol) == []
        protocol.receive(message(Found(nonce, index, 2), record), ALICE, 0.1)
    (result,) = done(protocol)
    assert result.records == tuple(owned("owner"))
    assert result.answered_by == ALICE


def test_calls_for_a_key_that_is_looked_up_share_its_answer() -> None:
    protocol, nonce = asking()
    protocol.lookup(KEY, 0.05)
    assert sent(protocol, Find) == []
    protocol.receive(message(Found(nonce, 0, 1), *owned("owner")), ALICE, 0.1)
    assert len(done(protocol)) == 1


def test_a_certificate_for_another_key_is_a_lie() -> None:
    protocol, nonce = asking()
    protocol.receive(message(Found(nonce, 0, 1), *owned("owner", key=OTHER)), ALICE, 0.1)
    assert protocol.statistics().refused == {"lookup-lie": 1}
    assert done(protocol) == [LookupDone(KEY, (), None, 0)]


def test_who_passes_on_a_wrong_signature_is_out_of_the_lookup() -> None:
    protocol, nonce = asking()
    forged = message(Found(nonce, 0, 1), *owned("owner"))[:-1] + b"!"
    with pytest.raises(GossipError):
        protocol.receive(forged, ALICE, 0.1)
    assert done(protocol) == [LookupDone(KEY, (), None, 0)]
    protocol.receive(message(Found(nonce, 0, 1), *owned("owner")), ALICE, 0.2)
    assert done(protocol) == []


def test_answers_to_others_questions_change_nothing() -> None:
    protocol, nonce = asking()
    good = message(Found(nonce, 0, 1), *owned("owner"))
    protocol.receive(good, id_of(key_of("mallory")), 0.1)
    protocol.receive(message(Found(nonce + 1, 0, 1), *owned("owner")), ALICE, 0.1)
    assert done(protocol) == []
    assert protocol.statistics().stored == 0


def test_a_lookup_ends_by_itself_when_nobody_answers() -> None:
    protocol, _ = asking()
    now = 0.0
    while not (results := done(protocol)):
        wakeup = protocol.next_wakeup()
        assert wakeup is not None
        assert wakeup.at < 20
        now = max(now, wakeup.at)
        protocol.handle_timer(now)
    assert results == [LookupDone(KEY, (), None, 0)]


def test_lookups_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MAX_LOOKUPS", 1)
    protocol, _ = asking()
    protocol.lookup(OTHER, 0.0)
    assert done(protocol) == [LookupDone(OTHER, (), None, 0)]
    assert protocol.statistics().refused == {"lookups-full": 1}


def test_a_member_that_is_taken_to_be_dead_is_looked_up_elsewhere() -> None:
    cluster = town()
    protocol = cluster.node(2)
    peer = protocol._core.members.get(id_of(key_of(7)))
    assert peer is not None
    protocol._core.members.move(peer, MemberState.DEAD, cluster.now)
    protocol.lookup(KEY, cluster.now)
    cluster.pump(id_of(key_of(2)))
    assert cluster.run_until(lambda: len(cluster.events(2, LookupDone)) > 0, 2) is not None
    result = cluster.events(2, LookupDone)[0]
    assert isinstance(result, LookupDone)
    assert result.answered_by not in (None, id_of(key_of(2)))


def test_a_copy_goes_to_the_closest_that_did_not_have_it() -> None:
    protocol = protocol_of("a")
    for name in ("alice", "bob", "carol"):
        protocol._core.contacts.table.heard(record_of(name), 0.0)
    protocol.lookup(KEY, 0.0)
    asked = {to: e.body.nonce for to, e in sent(protocol, Find) if isinstance(e.body, Find)}
    bob, *others = asked
    for other in others:
        protocol.receive(message(Found(asked[other], 0, 1)), other, 0.1)
    protocol.receive(message(Found(asked[bob], 0, 1), *owned("owner")), bob, 0.1)
    stores = sent(protocol, Store)
    assert [e.body for _, e in stores] == [Store(KEY, True)]
    assert stores[0][0] in others


def test_announced_keys_are_stored_at_others_where_some_are_partial() -> None:
    cluster = town()
    for number in range(10):
        cluster.node(number)._core.in_parts = True
    cluster.node(7).announce([KEY], cluster.now)
    cluster.pump(id_of(key_of(7)))
    cluster.run(12)
    keys = [cluster.node(number).statistics().stored for number in range(10) if number != 7]
    assert keys == [2] * 9, "the owner's id, and its key"


def test_what_is_settled_is_looked_up_and_stored_again_in_its_time() -> None:
    protocol = protocol_of("a")
    protocol._core.in_parts = True
    protocol._core.contacts.table.heard(record_of("alice"), 0.0)
    protocol.announce([KEY], 0.0)
    settled = protocol._resolver
    settled.settle(0.0)
    timers = protocol._core.timers
    due = {key[0]: at for at, order, key in timers._heap if timers._order.get(key) == order}
    assert due[Timer.REPUBLISH] > 2 * PUBLISH_PAUSE
    settled.on_refresh_timer([], due[Timer.REFRESH])
    (find,) = [e.body for _, e in sent(protocol, Find)]
    assert isinstance(find, Find)
    assert find.target != protocol._core.identity
