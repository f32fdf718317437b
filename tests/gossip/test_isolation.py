"""When a node doubts itself rather than others."""

from __future__ import annotations

from dataclasses import replace

from gossip import suspicion
from gossip.config import GossipConfig, Policy
from gossip.isolation import IsolationGuard
from gossip.members import MemberState, MemberTable, Peer

from .cluster import id_of, key_of

CONFIG = GossipConfig()


def guard_of(
    members: int, suspects: int, config: GossipConfig = CONFIG
) -> tuple[IsolationGuard, MemberTable]:
    table = MemberTable()
    for name in range(members):
        key = key_of(name)
        state = MemberState.SUSPECT if name < suspects else MemberState.ALIVE
        table.add(Peer(id_of(key), key, 1, state, 0.0))
    return IsolationGuard(config, table), table


def test_one_suspect_of_four_is_no_isolation() -> None:
    guard, _ = guard_of(4, 1)
    assert not guard.evaluate(10.0)
    assert guard.verdicts_wait_until() is None


def test_many_suspects_at_once_delay_verdicts_but_not_for_ever() -> None:
    guard, table = guard_of(20, 6)
    assert guard.evaluate(10.0)
    assert guard.isolated
    assert not guard.evaluate(11.0)
    until = guard.verdicts_wait_until()
    assert until == 10.0 + suspicion.longest(CONFIG, table.live + 1)


def test_it_ends_when_the_suspects_are_cleared() -> None:
    guard, table = guard_of(20, 6)
    guard.evaluate(10.0)
    for peer in table:
        table.move(peer, MemberState.ALIVE, 12.0)
    guard.evaluate(12.0)
    assert not guard.isolated


def test_silence_of_everybody_is_isolation_and_a_word_ends_it() -> None:
    guard, _ = guard_of(5, 0)
    for _ in range(CONFIG.isolation_failures):
        guard.probe_failed()
    assert guard.evaluate(10.0)
    guard.heard()
    guard.evaluate(11.0)
    assert not guard.isolated


def test_with_one_other_member_silence_says_nothing() -> None:
    guard, _ = guard_of(1, 0)
    for _ in range(10):
        guard.probe_failed()
    assert not guard.evaluate(10.0)


def test_without_the_guard_nothing_waits() -> None:
    config = GossipConfig(policy=replace(Policy(), isolation_guard=False))
    guard, _ = guard_of(20, 20, config)
    assert not guard.evaluate(10.0)
    assert guard.verdicts_wait_until() is None
