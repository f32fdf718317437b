"""Everyone in turn."""

from __future__ import annotations

from random import Random

from gossip.ids import NodeId
from gossip.members import MemberState, MemberTable, Peer
from gossip.rotation import Rotation

from .cluster import id_of, key_of


def table_of(count: int) -> MemberTable:
    table = MemberTable()
    for name in range(count):
        key = key_of(name)
        table.add(Peer(id_of(key), key, 1, MemberState.ALIVE, 0.0))
    return table


def test_nobody_waits_longer_than_two_cycles() -> None:
    rotation = Rotation(table_of(10), Random(1))
    turns = [rotation.next() for _ in range(100)]
    for start in range(100 - 19):
        assert len(dict.fromkeys(turns[start : start + 19])) == 10


def test_orders_differ_from_cycle_to_cycle() -> None:
    rotation = Rotation(table_of(10), Random(1))
    assert [rotation.next() for _ in range(10)] != [rotation.next() for _ in range(10)]


def test_a_small_stable_group_is_reached_wholly_by_so_many_turns() -> None:
    rotation = Rotation(table_of(4), Random(1), stable=8)
    turns: list[NodeId] = [node for _ in range(20) for node in rotation.take(3)]
    for start in range(len(turns) - 4):
        assert len(dict.fromkeys(turns[start : start + 4])) == 4


def test_the_dead_are_passed_over_and_joiners_come_this_cycle() -> None:
    table = table_of(6)
    rotation = Rotation(table, Random(1))
    rotation.next()
    for peer in list(table)[:5]:
        table.move(peer, MemberState.DEAD, 1.0)
    key = key_of("new")
    table.add(Peer(id_of(key), key, 1, MemberState.ALIVE, 1.0))
    rotation.insert(id_of(key))
    assert id_of(key) in (rotation.next(), rotation.next())


def test_nobody_live_is_nobodys_turn() -> None:
    rotation = Rotation(MemberTable(), Random(1))
    assert rotation.next() is None
    assert rotation.take(3) == []


def test_who_comes_and_goes_all_the_time_takes_nobody_elses_turn() -> None:
    table = table_of(10)
    rotation = Rotation(table, Random(1))
    turns = []
    restless = next(iter(table))
    for _ in range(40):
        for _ in range(50):
            table.move(restless, MemberState.LEFT, 1.0)
            table.move(restless, MemberState.ALIVE, 1.0)
            rotation.insert(restless.id)
        turns.append(rotation.next())
    assert turns.count(restless.id) <= 5
    assert len(dict.fromkeys(turns)) == 10
    assert len(rotation._order) <= 11
