"""From an accusation to a verdict, or back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossip import suspicion
from gossip.config import GossipConfig, Policy
from gossip.core import Core
from gossip.events import MemberDown, MemberSuspected, MemberUp
from gossip.ids import NodeId
from gossip.items import Accusation, accuse
from gossip.members import MemberState, Peer
from gossip.messages import Ping
from gossip.probing import Prober
from gossip.suspects import Suspects
from gossip.timers import Timer

from .cluster import FakeAuthority, id_of, key_of, record_of
from .test_core import core_of
from .test_probing import bodies


def accusation_by(name: int, subject: NodeId, sequence: int = 1) -> Accusation:
    key = key_of(name)
    return accuse(FakeAuthority(key), id_of(key), subject, sequence)


def scene(members: int = 10, config: GossipConfig | None = None) -> tuple[Core, Suspects, Peer]:
    """A node among others, and the one (name 0) that will be accused."""
    core = core_of(members, config)
    suspects = Suspects(core, Prober(core))
    peer = core.members.get(id_of(key_of(0)))
    assert peer is not None
    return core, suspects, peer


def suspicion_ends(core: Core) -> float:
    ends = []
    while (due := core.timers.pop_due(1e9)) is not None:
        ends += [due[0]] if due[1] is Timer.SUSPICION else []
    assert len(ends) == 1
    return ends[0]


def test_a_failed_probe_makes_a_suspect_and_tells_others() -> None:
    core, suspects, peer = scene()
    suspects.probe_failed(peer.id, 7.0)
    assert peer.state is MemberState.SUSPECT
    assert core.outputs == [MemberSuspected(peer.id)]
    assert core.news.sizes() == (1, 0, 0)
    assert suspicion_ends(core) == pytest.approx(7.0 + suspicion.longest(core.config, 11))


def test_others_accusations_shorten_it_and_each_counts_once() -> None:
    core, suspects, peer = scene()
    suspects.probe_failed(peer.id, 7.0)
    for _ in range(5):
        suspects.accused(accusation_by(1, peer.id), 8.0)
    assert peer.confirmations == 1
    suspects.accused(accusation_by(2, peer.id), 8.0)
    assert suspicion_ends(core) == pytest.approx(7.0 + suspicion.shortest(core.config, 11))


def test_accusations_beyond_what_is_needed_are_not_passed_on() -> None:
    core, suspects, peer = scene(20)
    for name in range(1, 15):
        suspects.accused(accusation_by(name, peer.id), 8.0)
    assert core.news.sizes() == (core.config.suspicion_confirmations + 1, 0, 0)
    assert len(peer.accusers) == core.config.max_accusers


@pytest.mark.parametrize("sequence", [0, 2, 2**60])
def test_accusations_of_another_sequence_are_void(sequence: int) -> None:
    _, suspects, peer = scene()
    suspects.accused(accusation_by(1, peer.id, sequence), 8.0)
    assert peer.state is MemberState.ALIVE


def test_nobody_is_declared_dead_unless_our_own_probe_failed() -> None:
    core, suspects, peer = scene()
    for name in range(1, 9):
        suspects.accused(accusation_by(name, peer.id), 8.0)
    core.outputs.clear()
    suspects.expired(peer.id, 20.0, 20.0)
    assert core.members.count(MemberState.SUSPECT) == 1
    assert [(to, type(body)) for to, body in bodies(core)] == [(peer.id, Ping)]
    suspects.probe_failed(peer.id, 21.0)
    suspects.expired(peer.id, 21.5, 21.5)
    assert peer.state is MemberState.DEAD
    assert peer.condemned
    assert MemberDown(peer.id) in core.outputs


def test_who_was_heard_since_is_cleared() -> None:
    core, suspects, peer = scene()
    suspects.probe_failed(peer.id, 7.0)
    peer.heard_at = 9.0
    suspects.expired(peer.id, 20.0, 20.0)
    assert peer.state is MemberState.ALIVE
    assert core.outputs[-1] == MemberUp(peer.id)


def test_who_was_heard_before_it_failed_again_is_not_cleared() -> None:
    _, suspects, peer = scene()
    suspects.probe_failed(peer.id, 7.0)
    peer.heard_at = 9.0
    suspects.probe_failed(peer.id, 12.0)
    suspects.expired(peer.id, 20.0, 20.0)
    assert peer.state is MemberState.DEAD


def test_a_node_that_comes_late_gives_the_suspect_one_more_period() -> None:
    _, suspects, peer = scene()
    suspects.probe_failed(peer.id, 7.0)
    suspects.expired(peer.id, 20.0, 40.0)
    assert peer.state is MemberState.SUSPECT


def test_many_suspects_at_once_wait_for_their_verdict() -> None:
    core, suspects, peer = scene(10)
    for node in core.members.live_ids()[:5]:
        suspects.probe_failed(node, 7.0)
    suspects.expired(peer.id, 11.0, 11.0)
    assert core.members.count(MemberState.SUSPECT) == 5
    suspects.expired(peer.id, 60.0, 60.0)
    assert peer.state is MemberState.DEAD


def test_a_check_looks_once_for_itself() -> None:
    core, suspects, peer = scene()
    suspects.check(peer.id, 8.0)
    assert bodies(core) == []
    suspects.accused(accusation_by(1, peer.id), 8.0)
    assert core.timers.pending(Timer.CHECK, peer.id)
    core.outputs.clear()
    suspects.check(peer.id, 9.0)
    assert len(bodies(core)) == 1


def test_a_higher_sequence_voids_all_that_was_said() -> None:
    core, suspects, peer = scene()
    suspects.accused(accusation_by(1, peer.id), 8.0)
    suspects.cleared(peer)
    assert (peer.accusers, peer.charge, core.news.sizes()) == ({}, None, (0, 0, 0))
    assert not core.timers.pending(Timer.SUSPICION, peer.id)


def test_nobody_but_the_subject_advances_its_sequence() -> None:
    core, suspects, peer = scene()
    core.store.put(record_of(0))
    for sequence in (0, 1, 2, 2**40):
        suspects.accused(accusation_by(1, peer.id, sequence), 8.0)
    suspects.probe_failed(peer.id, 9.0)
    suspects.expired(peer.id, 60.0, 60.0)
    assert peer.state is MemberState.DEAD
    assert peer.sequence == 1
    assert core.store.get(peer.id, 0) == record_of(0)


def test_one_accuser_is_held_to_its_quota() -> None:
    core, suspects, _ = scene(100)
    for name in range(100):
        suspects.accused(accusation_by(99, id_of(key_of(name))), 8.0)
    assert core.members.count(MemberState.SUSPECT) == core.config.accusation_burst
    assert core.counters.refused["accuser-over-quota"] > 0
    for name in range(100):
        suspects.accused(accusation_by(99, id_of(key_of(name))), 11.0)
    heard = core.config.accusation_burst + 3 * core.config.accusation_rate
    assert core.members.count(MemberState.SUSPECT) == heard
    suspects.accused(accusation_by(98, id_of(key_of(97))), 11.0)
    assert core.members.count(MemberState.SUSPECT) == heard + 1


def test_a_verdict_repeats_our_accusation_for_those_who_still_wait() -> None:
    core, suspects, peer = scene()
    suspects.probe_failed(peer.id, 7.0)
    core.news.discard((peer.id, core.identity))
    suspects.expired(peer.id, 60.0, 60.0)
    assert core.news.sizes() == (1, 0, 0)


def without(**parts: bool) -> GossipConfig:
    """The default, with some parts of its policy off."""
    return GossipConfig(policy=replace(Policy(), **parts))


def test_plain_swim_declares_dead_whom_others_accuse() -> None:
    core, suspects, peer = scene(config=without(own_failure=False))
    suspects.accused(accusation_by(1, peer.id), 8.0)
    assert not core.timers.pending(Timer.CHECK, peer.id)
    peer.heard_at = 9.0
    suspects.expired(peer.id, 60.0, 60.0)
    assert peer.state is MemberState.DEAD


def test_plain_swim_judges_when_it_comes_late() -> None:
    _, suspects, peer = scene(config=without(tolerate_lateness=False))
    suspects.probe_failed(peer.id, 7.0)
    suspects.expired(peer.id, 20.0, 40.0)
    assert peer.state is MemberState.DEAD


@pytest.mark.parametrize("own_verdict", [True, False])
def test_only_plain_swim_believes_a_verdict_and_passes_it_on(own_verdict: bool) -> None:
    core, suspects, peer = scene(config=without(own_verdict=own_verdict))
    core.store.put(record_of(0))
    suspects.told_dead(peer, 8.0)
    assert (peer.state is MemberState.DEAD) is not own_verdict
    assert (core.outputs == [MemberDown(peer.id)]) is not own_verdict
    assert len(core.news) == (not own_verdict)
    suspects.told_dead(peer, 9.0)
    suspects.cleared(peer)
    assert len(core.news) == 0


def test_without_dynamic_suspicion_the_timer_is_the_shortest_and_stays() -> None:
    config = replace(GossipConfig(), suspicion_beta=1.0, suspicion_confirmations=0)
    core, suspects, peer = scene(config=config)
    suspects.probe_failed(peer.id, 7.0)
    suspects.accused(accusation_by(1, peer.id), 8.0)
    assert core.news.sizes() == (1, 0, 0)
    assert suspicion_ends(core) == pytest.approx(7.0 + suspicion.shortest(config, 11))
