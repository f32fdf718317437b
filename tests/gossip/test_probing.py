"""Probes: direct, indirect, relayed; and what they say of ourselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossip import messages
from gossip.config import GossipConfig, Policy
from gossip.coordinates import ORIGIN
from gossip.core import Core
from gossip.ids import NodeId
from gossip.members import MemberState
from gossip.messages import Ack, Body, Nack, Ping, PingRequest
from gossip.probing import MAX_FOR_ONE, NACK_AT, Prober
from gossip.timers import Timer

from .cluster import id_of, key_of
from .test_core import core_of, sent


def bodies(core: Core) -> list[tuple[NodeId, Body]]:
    """What was sent since the last look."""
    found = [(message.to, messages.decode(message.payload).body) for message in sent(core)]
    core.outputs.clear()
    return found


def probing(members: int, config: GossipConfig | None = None) -> tuple[Core, Prober, NodeId, int]:
    """A node whose first probe is under way since 0: its target and nonce."""
    core = core_of(members, config)
    prober = Prober(core)
    prober.next_round(0.0)
    ((target, body),) = bodies(core)
    assert isinstance(body, Ping)
    return core, prober, target, body.nonce


def test_an_answer_ends_the_probe_and_measures_the_round_trip() -> None:
    core, prober, target, nonce = probing(5)
    prober.on_ack(nonce, target, 0.03)
    peer = core.members.get(target)
    assert peer is not None
    assert peer.srtt == pytest.approx(0.03)
    assert not core.timers.pending(Timer.PROBE_END, nonce)
    assert prober.on_end(nonce, 1.0, 1.0) is None


def test_without_an_answer_k_others_are_asked_and_then_it_has_failed() -> None:
    core, prober, target, nonce = probing(8)
    assert core.timers.next() == (0.5, Timer.PROBE_TIMEOUT)
    prober.on_timeout(nonce, 0.5)
    asked = bodies(core)
    assert len(dict.fromkeys(to for to, _ in asked)) == core.config.indirect_probes
    assert all(body == PingRequest(nonce, target) and to != target for to, body in asked)
    assert prober.on_end(nonce, 1.0, 1.0) == target


def test_an_answer_through_a_helper_counts_but_measures_nothing() -> None:
    core, prober, target, nonce = probing(8)
    prober.on_timeout(nonce, 0.5)
    helper = bodies(core)[0][0]
    prober.on_ack(nonce, helper, 0.7)
    peer = core.members.get(target)
    assert peer is not None
    assert peer.srtt is None
    assert prober.on_end(nonce, 1.0, 1.0) is None


def test_an_answer_of_somebody_who_was_not_asked_is_nothing() -> None:
    _, prober, target, nonce = probing(8)
    prober.on_ack(nonce, id_of(key_of("stranger")), 0.2)
    prober.on_ack(nonce + 1, target, 0.2)
    assert prober.on_end(nonce, 1.0, 1.0) == target


def test_the_timeout_follows_the_measured_round_trip() -> None:
    core = core_of(1)
    prober = Prober(core)
    peer = next(iter(core.members))
    for _ in range(50):
        peer.measure(0.1)
    prober.next_round(0.0)
    at, timer = core.timers.next() or (0.0, Timer.REAP)
    assert (round(at, 2), timer) == (0.1, Timer.PROBE_TIMEOUT)


def test_traffic_within_the_period_is_an_answer() -> None:
    core, prober, target, nonce = probing(5)
    peer = core.members.get(target)
    assert peer is not None
    peer.heard_at = 0.4
    prober.on_timeout(nonce, 0.5)
    assert bodies(core) == []
    assert prober.on_end(nonce, 1.0, 1.0) is None


@pytest.mark.parametrize(("nacks", "health"), [(0, 3), (1, 2), (3, 0)])
def test_silent_helpers_speak_against_ourselves(nacks: int, health: int) -> None:
    core, prober, _, nonce = probing(8)
    prober.on_timeout(nonce, 0.5)
    for helper, _ in bodies(core)[:nacks]:
        prober.on_nack(nonce, helper)
        prober.on_nack(nonce, helper)
    prober.on_end(nonce, 1.0, 1.0)
    assert core.health == health
    assert prober.interval == 1.0 + health


def test_coming_late_ourselves_is_no_evidence_against_the_target() -> None:
    core, prober, _, nonce = probing(5)
    assert prober.on_end(nonce, 1.0, 9.0) is None
    assert core.health == 1
    assert core.counters.probes_failed == 0


def test_a_helper_passes_the_answer_on() -> None:
    core = core_of(5)
    prober = Prober(core)
    target, requester = core.members.live_ids()[:2]
    prober.on_request(77, target, requester, 0.0)
    ((to, body),) = bodies(core)
    assert to == target
    assert isinstance(body, Ping)
    prober.on_ack(body.nonce, requester, 0.1)
    assert bodies(core) == []
    prober.on_ack(body.nonce, target, 0.1)
    assert bodies(core) == [(requester, Ack(77, 0))]
    prober.on_relay_timeout(body.nonce)
    assert bodies(core) == []


def test_a_helper_says_when_it_had_no_answer_either() -> None:
    core = core_of(5)
    prober = Prober(core)
    target, requester = core.members.live_ids()[:2]
    prober.on_request(77, target, requester, 0.0)
    core.outputs.clear()
    at, timer, nonce = core.timers.pop_due(10.0) or (0.0, Timer.REAP, None)
    assert (at, timer) == (NACK_AT * core.config.probe_timeout_max, Timer.RELAY)
    assert isinstance(nonce, int)
    prober.on_relay_timeout(nonce)
    assert bodies(core) == [(requester, Nack(77))]


def test_strangers_are_not_probed_for_anybody_and_relaying_is_bounded() -> None:
    core = core_of(5)
    prober = Prober(core)
    target, requester, other = core.members.live_ids()[:3]
    prober.on_request(1, id_of(key_of("stranger")), requester, 0.0)
    assert bodies(core) == [(requester, Nack(1))]
    for nonce in range(2 * MAX_FOR_ONE):
        prober.on_request(nonce, target, requester, 0.0)
    assert len(bodies(core)) == MAX_FOR_ONE
    assert core.counters.refused["relayed-probes-full"] == MAX_FOR_ONE
    prober.on_request(1, target, other, 0.0)
    assert len(bodies(core)) == 1, "one requester leaves room for others"
    for number in range(2 * core.config.max_relayed_probes):
        prober.on_request(1, target, id_of(key_of(number)), 0.0)
    assert len(bodies(core)) == core.config.max_relayed_probes - MAX_FOR_ONE - 1


def test_being_asked_for_oneself_is_an_answer() -> None:
    core = core_of(2)
    Prober(core).on_request(5, core.identity, core.members.live_ids()[0], 0.0)
    assert bodies(core) == [(core.members.live_ids()[0], Ack(5, 0))]


def test_checks_are_bounded_and_one_per_member() -> None:
    core = core_of(200)
    prober = Prober(core)
    live = core.members.live_ids()
    assert prober.check(live[0], 0.0)
    assert prober.check(live[0], 0.0)
    assert len(bodies(core)) == 1
    assert not all([prober.check(node, 0.0) for node in live])


@pytest.mark.parametrize("nacks", [0, 1])
def test_failures_without_even_a_nack_make_us_doubt_our_own_network(nacks: int) -> None:
    core = core_of(8)
    prober = Prober(core)
    for now in range(core.config.isolation_failures):
        prober.next_round(float(now))
        ((_, ping),) = bodies(core)
        assert isinstance(ping, Ping)
        prober.on_timeout(ping.nonce, now + 0.5)
        for helper, _ in bodies(core)[:nacks]:
            prober.on_nack(ping.nonce, helper)
        prober.on_end(ping.nonce, now + 1.0, now + 1.0)
    assert core.guard.evaluate(9.0) is (nacks == 0)


def test_without_nacks_none_is_sent_and_none_is_missed() -> None:
    config = GossipConfig(policy=replace(Policy(), nacks=False))
    core, prober, target, nonce = probing(8, config)
    prober.on_timeout(nonce, 0.5)
    assert prober.on_end(nonce, 1.0, 1.0) == target
    assert core.health == 1
    bodies(core)
    prober.on_request(5, target, core.members.live_ids()[0], 2.0)
    ((_, ping),) = bodies(core)
    assert isinstance(ping, Ping)
    prober.on_relay_timeout(ping.nonce)
    assert bodies(core) == []


def test_health_can_be_switched_off() -> None:
    core, prober, target, nonce = probing(8, GossipConfig(health_limit=0))
    prober.on_timeout(nonce, 0.5)
    assert prober.on_end(nonce, 1.0, 1.0) == target
    assert (core.health, prober.interval) == (0, core.config.probe_period)


@pytest.mark.parametrize("buddy", [True, False])
def test_only_with_buddy_a_probe_of_a_suspect_carries_its_accusation(buddy: bool) -> None:
    core = core_of(1, GossipConfig(policy=replace(Policy(), buddy=buddy)))
    peer = next(iter(core.members))
    core.members.move(peer, MemberState.SUSPECT, 0.0)
    peer.accusers[core.identity] = True
    Prober(core).next_round(1.0)
    (message,) = sent(core)
    assert len(messages.decode(message.payload).items) == buddy


def test_plain_swim_counts_answers_only_and_forgives_no_lateness() -> None:
    config = GossipConfig(policy=replace(Policy(), traffic_is_life=False, tolerate_lateness=False))
    core, prober, target, nonce = probing(8, config)
    peer = core.members.get(target)
    assert peer is not None
    peer.heard_at = 0.4
    prober.on_timeout(nonce, 0.5)
    assert len(bodies(core)) == config.indirect_probes
    assert prober.on_end(nonce, 1.0, 30.0) == target


def test_only_a_straight_answer_places_anybody() -> None:
    core, prober, target, nonce = probing(8)
    prober.on_timeout(nonce, 0.5)
    helper = bodies(core)[0][0]
    prober.on_ack(nonce, helper, 0.7, ORIGIN)
    assert len(core.vivaldi) == 0
    prober.next_round(1.0)
    ((other, ping),) = bodies(core)
    assert isinstance(ping, Ping)
    prober.on_ack(ping.nonce, other, 1.03, ORIGIN)
    assert core.vivaldi.of(other) == ORIGIN
    assert core.ack(1, target).coordinate == core.vivaldi.coordinate != ORIGIN
