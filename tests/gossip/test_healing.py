"""Seeds, the dead, the returning, and those long gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossip import messages
from gossip.antientropy import Synchroniser
from gossip.config import GossipConfig, Policy
from gossip.core import Core
from gossip.events import MemberForgotten
from gossip.healing import MAX_HEALS, Healer
from gossip.ids import NodeId
from gossip.items import Accusation, RecordItem
from gossip.members import MemberState, Peer
from gossip.messages import Buckets, Gossip, Ping, Records, Want
from gossip.records import RecordKind
from gossip.timers import Timer

from .cluster import id_of, key_of, record_of
from .test_core import core_of, sent
from .test_probing import bodies

STRANGER = id_of(key_of("stranger"))


def healer_of(core: Core) -> Healer:
    return Healer(core, Synchroniser(core, 0.0), 0.0)


def kill(core: Core, count: int, at: float = 0.0) -> list[Peer]:
    peers = list(core.members)[:count]
    for peer in peers:
        peer.condemned = True
        core.members.move(peer, MemberState.DEAD, at)
    return peers


def test_seeds_are_asked_at_once_even_if_they_are_unknown() -> None:
    core = core_of()
    healer_of(core).join([STRANGER, core.identity], 0.0)
    assert [(to, type(body)) for to, body in bodies(core)] == [
        (STRANGER, Ping),
        (STRANGER, Buckets),
    ]


def test_a_silent_seed_is_asked_for_ever_but_ever_less_often() -> None:
    core = core_of()
    healer = healer_of(core)
    healer.join([STRANGER], 0.0)
    asked, pauses = 0.0, []
    for _ in range(500):
        due = core.timers.pop_due(20_000.0)
        if due is not None and due[1] is Timer.JOIN:
            core.outputs.clear()
            healer.on_join_timer(due[0])
            if core.outputs:
                pauses.append(due[0] - asked)
                asked = due[0]
    assert pauses[0] == core.config.join_interval
    assert max(pauses) <= core.config.retry_max + core.config.join_interval
    assert len(pauses) > 20


def test_a_seed_that_is_a_member_is_left_alone() -> None:
    core = core_of(1)
    peer = next(iter(core.members))
    peer.heard_at = 0.0
    healer_of(core).join([peer.id], 0.0)
    assert sent(core) == []


def test_a_dead_member_is_tried_about_once_per_interval_over_the_whole_cluster() -> None:
    core = core_of(20)
    kill(core, 4)
    healer = healer_of(core)
    for count in range(400):
        healer.on_heal_timer(float(count))
    tries = len(sent(core))
    assert 60 < tries < 140  # 400 rounds of one node of 16, with 4 dead


def test_a_dead_member_is_shown_what_is_held_against_it() -> None:
    core = core_of(1)
    (dead,) = kill(core, 1)
    healer_of(core).on_heal_timer(1.0)
    (message,) = sent(core)
    (item,) = messages.decode(message.payload).items
    assert message.to == dead.id
    assert isinstance(item, Accusation)
    assert item.subject == dead.id


def test_tries_are_bounded_when_all_are_dead() -> None:
    core = core_of(500)
    kill(core, 500)
    healer_of(core).on_heal_timer(1.0)
    assert len(sent(core)) == MAX_HEALS


def test_those_known_from_disk_are_tried_and_asked_for_in_turn() -> None:
    core = core_of(100)
    for peer in list(core.members)[1:]:
        core.members.move(peer, MemberState.DEAD, 0.0)
    healer = healer_of(core)
    healer.begin_burst(0.0)
    asked: dict[NodeId, bool] = {}
    for now in (0.0, 1.0):
        healer.on_heal_timer(now)
        found = bodies(core)
        wants = [body for _, body in found if isinstance(body, Want)]
        assert len(found) <= 2 * MAX_HEALS + 1
        assert len(wants) == 1
        asked.update({node: True for _, node in wants[0].keys})
    assert len(asked) == 99


def test_the_condemned_are_not_asked_for() -> None:
    core = core_of(10)
    kill(core, 5)
    healer = healer_of(core)
    healer.begin_burst(0.0)
    healer.on_heal_timer(0.0)
    assert not [body for _, body in bodies(core) if isinstance(body, Want)]


def test_a_burst_quickens_the_pace_for_a_while() -> None:
    core = core_of(3)
    healer = healer_of(core)
    healer.begin_burst(100.0)
    for now, low, high in ((100.0, 0.18, 0.32), (200.0, 7.0, 13.0)):
        while core.timers.pop_due(1e9):
            pass
        healer.on_heal_timer(now)
        following = core.timers.next()
        assert following is not None
        assert low < following[0] - now < high


def test_many_who_come_back_at_once_do_not_quicken_a_burst_any_more() -> None:
    core = core_of(3)
    healer = healer_of(core)
    healer.begin_burst(100.0)
    healer.on_heal_timer(100.0)
    following = core.timers.next()
    healer.begin_burst(100.01)
    assert core.timers.next() == following
    assert following is not None
    healer.on_heal_timer(following[0])
    healer.begin_burst(100.0 + 2 * core.config.heal_burst)
    assert core.timers.next() == (100.0 + 2 * core.config.heal_burst, Timer.HEAL)


def test_an_unknown_sender_is_asked_who_it_is_but_not_at_every_message() -> None:
    core = core_of()
    healer = healer_of(core)
    for _ in range(10):
        healer.met(STRANGER, 5, 1.0)
    assert bodies(core) == [(STRANGER, Want(((RecordKind.MEMBER, STRANGER),)))]
    healer.met(STRANGER, 0, 9.0)
    assert bodies(core) == []


def test_the_memory_of_strangers_is_bounded() -> None:
    core = core_of()
    healer = healer_of(core)
    for name in range(3000):
        healer.met(id_of(key_of(name)), 5, 1.0)
    assert len(healer._strangers) <= 1024


def test_whoever_has_a_newer_record_is_asked_for_it() -> None:
    core = core_of(1)
    peer = next(iter(core.members))
    healer_of(core).met(peer.id, peer.sequence + 1, 1.0)
    assert bodies(core) == [(peer.id, Want(((RecordKind.MEMBER, peer.id),)))]


def test_whoever_lost_its_state_is_shown_its_own_record() -> None:
    core = core_of(1)
    core.store.put(record_of(0, 1))
    peer = next(iter(core.members))
    healer_of(core).met(peer.id, 0, 1.0)
    (message,) = sent(core)
    envelope = messages.decode(message.payload)
    assert envelope.body == Records()
    assert envelope.items == (RecordItem(record_of(0, 1), MemberState.ALIVE),)


def test_a_dead_member_that_speaks_is_told_to_refute() -> None:
    core = core_of(1)
    (dead,) = kill(core, 1)
    healer = healer_of(core)
    healer.remind(dead, 1.0)
    healer.remind(dead, 1.1)
    (message,) = sent(core)
    envelope = messages.decode(message.payload)
    assert envelope.body == Gossip()
    assert isinstance(envelope.items[0], Accusation)


def test_a_member_in_good_standing_is_told_nothing() -> None:
    core = core_of(1)
    peer = next(iter(core.members))
    healer = healer_of(core)
    healer.met(peer.id, peer.sequence, 1.0)
    healer.remind(peer, 1.0)
    assert sent(core) == []


def test_the_dead_are_hidden_after_half_the_retention_and_forgotten_after_all_of_it() -> None:
    core = core_of(2)
    for name in range(2):
        core.store.put(record_of(name))
    (dead,) = kill(core, 1)
    healer = healer_of(core)
    retention = core.config.retention
    digest = core.store.digest
    healer.reap(retention * 0.49)
    assert core.store.digest == digest
    healer.reap(retention * 0.5)
    assert core.store.digest != digest
    assert core.store.get(dead.id, 0) is not None
    healer.reap(retention)
    assert MemberForgotten(dead.id) in core.outputs
    assert core.members.get(dead.id) is None
    assert core.store.get(dead.id, 0) is None
    assert len(core.members) == 1


@pytest.mark.parametrize("tells", [True, False])
def test_a_suspect_that_is_heard_is_told_so_unless_that_is_off(tells: bool) -> None:
    core = core_of(1, GossipConfig(policy=replace(Policy(), tell_suspects=tells)))
    peer = next(iter(core.members))
    core.members.move(peer, MemberState.SUSPECT, 0.0)
    healer_of(core).met(peer.id, peer.sequence, 9.0)
    assert len(sent(core)) == tells
