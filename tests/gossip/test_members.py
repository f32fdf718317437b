"""The rules of precedence, and the table."""

from __future__ import annotations

from random import Random

import pytest

from gossip.ids import NodeId
from gossip.members import (
    MemberState,
    MemberTable,
    Peer,
    accusation_counts,
    state_after_record,
)

from .cluster import id_of, key_of, record_of

ALIVE, SUSPECT = MemberState.ALIVE, MemberState.SUSPECT
DEAD, LEFT = MemberState.DEAD, MemberState.LEFT


def peer_of(name: int | str, state: MemberState = ALIVE, sequence: int = 5) -> Peer:
    key = key_of(name)
    return Peer(id_of(key), key, sequence, state, since=0.0)


@pytest.mark.parametrize("state", list(MemberState))
@pytest.mark.parametrize("seen", list(MemberState))
def test_a_higher_sequence_makes_alive_whatever_was_known(
    state: MemberState, seen: MemberState
) -> None:
    assert state_after_record(record_of("a", 6), peer_of("a", state), seen) is ALIVE


@pytest.mark.parametrize("state", list(MemberState))
def test_a_withdrawn_record_makes_left(state: MemberState) -> None:
    record = record_of("a", 6, withdrawn=True)
    assert state_after_record(record, peer_of("a", state), ALIVE) is LEFT


@pytest.mark.parametrize("state", list(MemberState))
@pytest.mark.parametrize("sequence", [4, 5])
def test_the_same_or_an_older_record_changes_nothing(state: MemberState, sequence: int) -> None:
    peer = peer_of("a", state)
    peer.condemned = True
    assert state_after_record(record_of("a", sequence), peer, ALIVE) is None


def test_who_was_never_condemned_is_alive_if_another_says_so() -> None:
    peer = peer_of("a", DEAD)
    assert state_after_record(record_of("a", 5), peer, ALIVE) is ALIVE
    assert state_after_record(record_of("a", 5), peer, DEAD) is None


def test_the_unknown_are_taken_as_their_teller_sees_them() -> None:
    assert state_after_record(record_of("a"), None, ALIVE) is ALIVE
    assert state_after_record(record_of("a"), None, DEAD) is DEAD


def test_an_accusation_counts_once_per_accuser_and_for_the_current_sequence_only() -> None:
    peer, accuser = peer_of("a"), id_of(key_of("b"))
    assert accusation_counts(5, accuser, peer, 8)
    assert not accusation_counts(4, accuser, peer, 8)
    assert not accusation_counts(6, accuser, peer, 8)
    assert not accusation_counts(5, peer.id, peer, 8)
    peer.accusers[accuser] = True
    assert not accusation_counts(5, accuser, peer, 8)
    assert not accusation_counts(5, id_of(key_of("c")), peer, 1)
    assert not accusation_counts(5, accuser, peer_of("a", DEAD), 8)


def test_the_table_draws_the_live_only() -> None:
    table, rng = MemberTable(), Random(1)
    peers = [peer_of(name) for name in range(10)]
    for peer in peers:
        table.add(peer)
    for peer in peers[3:]:
        table.move(peer, DEAD, 1.0)
    table.move(peers[1], SUSPECT, 1.0)
    assert table.live == 3
    assert sorted(table.sample(9, rng)) == sorted(peer.id for peer in peers[:3])
    assert peers[0].id not in table.sample(9, rng, exclude=peers[0].id)
    assert (table.count(DEAD), table.count(ALIVE), table.count(SUSPECT)) == (7, 2, 1)
    table.remove(peers[0].id)
    assert table.get(peers[0].id) is None
    assert table.live == len(table.live_ids()) == 2


def test_a_sample_has_no_one_twice_and_misses_no_one_in_the_long_run() -> None:
    table, rng = MemberTable(), Random(1)
    for name in range(20):
        table.add(peer_of(name))
    seen: dict[NodeId, bool] = {}
    for _ in range(200):
        drawn = table.sample(3, rng, exclude=id_of(key_of(0)))
        assert len(dict.fromkeys(drawn)) == 3
        seen.update(dict.fromkeys(drawn, True))
    assert len(seen) == 19


def test_round_trips_are_smoothed_as_in_rfc_6298() -> None:
    peer = peer_of("a")
    peer.measure(0.1)
    assert (peer.srtt, peer.rttvar) == (0.1, 0.05)
    peer.measure(0.2)
    assert peer.srtt == pytest.approx(0.1125)
    assert peer.rttvar == pytest.approx(0.0625)
    assert peer.snapshot().rtt == peer.srtt
