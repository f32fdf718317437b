"""Sessions with strangers: few, short, and replaced; replays refused by their counters."""

from __future__ import annotations

import pytest

from meshd.node.errors import RemoteError
from meshd.node.grants import Grants
from meshd.node.handshake import TransportKeys
from meshd.node.invitation import Invitation, invite
from meshd.node.noise import AES256GCM
from meshd.node.payloads import MemberPayload
from meshd.node.reassembly import Shape
from meshd.node.session import Session
from meshd.node.state import NodeState
from meshd.node.unproven import (
    MAX_JOINERS,
    MAX_OF_INVITATION,
    MAX_UNPROVEN,
    UNPROVEN_FOR,
    LastCounters,
    Unproven,
    UnprovenSessions,
)
from tests.node.meshes import NOW, bytes_of
from tests.node.virtual import Mesh

MEMBER = MemberPayload(1, 0, bytes(64), (), bytes(32))


def state() -> NodeState:
    return Mesh().alpha().node.state


def invitation(seed: int) -> Invitation:
    endpoints = (("192.0.2.1", 443),)
    return invite(bytes(16), bytes(32), Grants(), endpoints, NOW, 3600.0, bytes_of(seed))[1]


def session(owner: NodeState, index: int, now: float) -> Session:
    keys = TransportKeys(bytes(32), bytes(32), bytes(32), index, 7, False)
    return Session(AES256GCM, keys, None, owner.budget, now)


def member(owner: NodeState, index: int, now: float = 0.0) -> Unproven:
    return Unproven(session(owner, index, now), now, bytes(32), MEMBER, None)


def joiner(owner: NodeState, index: int, held: Invitation, now: float = 0.0) -> Unproven:
    return Unproven(session(owner, index, now), now, bytes(32), None, held)


def test_what_is_held_can_be_spoken_to_until_it_is_released() -> None:
    owner = state()
    held = UnprovenSessions(owner)
    one = member(owner, 5)
    held.add(one, 0.0)
    assert held.get(5) is one
    assert owner.sessions[5] is one.session
    held.release(one)
    assert held.get(5) is None
    assert owner.sessions[5] is one.session


def test_they_end_by_themselves_and_free_what_they_hold() -> None:
    owner = state()
    held = UnprovenSessions(owner)
    old = member(owner, 1, 0.0)
    held.add(old, 0.0)
    held.add(member(owner, 2, 5.0), 5.0)
    old.session.reassembler.add(Shape(1, 2), bytes([0]), (bytes(100),), 1.0)
    assert owner.budget.used == 100
    held.expire(UNPROVEN_FOR + 1)
    assert sorted(owner.sessions) == [2]
    assert owner.budget.used == 0
    held.expire(UNPROVEN_FOR + 6)
    assert owner.sessions == {}


def test_what_they_dropped_stays_counted() -> None:
    owner = state()
    held = UnprovenSessions(owner)
    one = member(owner, 1)
    held.add(one, 0.0)
    one.session.reassembler.add(Shape(1, 2), bytes([0]), (b"",), 0.0)
    held.expire(UNPROVEN_FOR + 1)
    assert owner.drops["reassembly-malformed"] == 1


def test_the_oldest_makes_room() -> None:
    owner = state()
    held = UnprovenSessions(owner)
    for index in range(MAX_UNPROVEN + 3):
        held.add(member(owner, index), 0.0)
    assert sorted(owner.sessions) == list(range(3, MAX_UNPROVEN + 3))


def test_one_invitation_takes_little_room_and_only_its_own() -> None:
    owner = state()
    held = UnprovenSessions(owner)
    other, greedy = invitation(1), invitation(2)
    held.add(joiner(owner, 0, other), 0.0)
    for index in range(1, 100):
        held.add(joiner(owner, index, greedy), 0.0)
    assert len(held) == 1 + MAX_OF_INVITATION
    assert held.get(0)
    assert held.get(99)


def test_joiners_leave_room_for_members() -> None:
    owner = state()
    held = UnprovenSessions(owner)
    held.add(member(owner, 0), 0.0)
    for index in range(1, 400):
        held.add(joiner(owner, index, invitation(index)), 0.0)
    assert len(held) == 1 + MAX_JOINERS
    assert held.get(0)
    assert held.get(1) is None
    assert held.get(399)


def test_a_counter_that_does_not_grow_is_a_replay() -> None:
    counters = LastCounters()
    counters.check(b"a", 0)
    counters.take(b"a", 7)
    counters.check(b"a", 8)
    counters.check(b"b", 1)
    for old in (7, 6, 0):
        with pytest.raises(RemoteError, match="handshake-replay"):
            counters.check(b"a", old)


def test_the_key_longest_unused_is_forgotten() -> None:
    counters = LastCounters(capacity=2)
    counters.take(b"a", 5)
    counters.take(b"b", 5)
    counters.take(b"a", 6)
    counters.take(b"c", 5)
    assert len(counters) == 2
    counters.check(b"b", 1)
    with pytest.raises(RemoteError):
        counters.check(b"a", 6)
