"""What the parts share: sending, and rounds of news."""

from __future__ import annotations

from random import Random

from gossip import messages
from gossip.config import GossipConfig
from gossip.core import Core
from gossip.events import SendMessage
from gossip.ids import NodeId
from gossip.items import Accusation
from gossip.members import MemberState, Peer
from gossip.messages import Gossip, Ping
from gossip.timers import Timer

from .cluster import FakeAuthority, id_of, key_of, record_of


def core_of(members: int = 0, config: GossipConfig | None = None) -> Core:
    key = key_of("self")
    core = Core(id_of(key), key, config or GossipConfig(), FakeAuthority(key), Random(1))
    for name in range(members):
        other = key_of(name)
        core.members.add(Peer(id_of(other), other, 1, MemberState.ALIVE, 0.0))
    return core


def sent(core: Core) -> list[SendMessage]:
    return [output for output in core.outputs if isinstance(output, SendMessage)]


def test_a_message_takes_news_along_up_to_the_packet_size() -> None:
    core = core_of(3)
    for name in range(20):
        core.spread_record(record_of(name, 2, body=bytes(100)), 0.0)
    core.send(NodeId(bytes(16)), Ping(1), news=True)
    payload = sent(core)[0].payload
    assert len(messages.decode(payload).items) >= 4
    assert len(payload) <= core.config.packet_size


def test_without_news_a_ping_is_a_ping() -> None:
    core = core_of(3)
    core.send(NodeId(bytes(16)), Ping(1), news=True)
    assert len(sent(core)[0].payload) == messages.HEADER_SIZE + 4


def test_outputs_are_bounded_and_the_dropped_are_counted() -> None:
    core = core_of(config=GossipConfig(max_outputs=3))
    for _ in range(5):
        core.send(NodeId(bytes(16)), Gossip())
    assert (len(core.outputs), core.counters.outputs_dropped) == (3, 2)


def test_a_round_reaches_fanout_members_and_comes_again_while_there_is_news() -> None:
    core = core_of(10)
    core.spread_record(record_of("x"), 5.0)
    assert core.timers.pop_due(5.0) == (5.0, Timer.GOSSIP, None)
    core.gossip_round(5.0)
    targets = dict.fromkeys(message.to for message in sent(core))
    assert len(targets) == core.config.gossip_fanout
    assert core.timers.next() == (5.0 + core.config.gossip_interval, Timer.GOSSIP)
    now = 5.0
    while core.timers.pending(Timer.GOSSIP):
        now += core.config.gossip_interval
        core.timers.pop_due(now)
        core.gossip_round(now)
    assert len(sent(core)) == 2 * core.config.retransmit_multiplier
    core.outputs.clear()
    core.gossip_round(now)
    assert sent(core) == []


def test_news_waits_for_somebody_to_tell() -> None:
    core = core_of(0)
    core.spread_record(record_of("x"), 5.0)
    assert core.timers.next() is None
    core.members.add(Peer(id_of(key_of(1)), key_of(1), 1, MemberState.ALIVE, 0.0))
    core.wake_gossip(6.0)
    assert core.timers.next() == (6.0, Timer.GOSSIP)


def test_the_suspect_and_the_condemned_are_shown_our_accusation() -> None:
    core = core_of(1)
    peer = next(iter(core.members))
    assert core.buddy_items(peer) == []
    core.members.move(peer, MemberState.SUSPECT, 0.0)
    (item,) = core.buddy_items(peer)
    (accusation,) = messages.decode(messages.encode(1, Gossip(), [item])).items
    assert isinstance(accusation, Accusation)
    assert (accusation.subject, accusation.accuser) == (peer.id, core.identity)
    core.members.move(peer, MemberState.DEAD, 0.0)
    assert core.buddy_items(peer) == []
    peer.condemned = True
    assert core.buddy_items(peer) == [item]


def test_health_stays_in_its_bounds() -> None:
    core = core_of()
    core.adjust_health(-1)
    assert core.health == 0
    core.adjust_health(100)
    assert core.health == core.config.health_limit
