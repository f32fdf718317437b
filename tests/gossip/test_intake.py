"""What comes from others: verified whole, then applied."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossip.config import GossipConfig, Policy
from gossip.core import Core
from gossip.errors import GossipError
from gossip.events import MemberLeft, MemberUp, RecordChanged
from gossip.ids import NodeId
from gossip.intake import Intake
from gossip.items import Item, RecordItem
from gossip.members import MemberState
from gossip.own import OwnRecords
from gossip.probing import Prober
from gossip.records import RecordKind
from gossip.suspects import Suspects

from .cluster import FakeAuthority, id_of, key_of, record_of
from .test_core import core_of
from .test_suspects import accusation_by

ALIVE, SUSPECT = MemberState.ALIVE, MemberState.SUSPECT
DEAD, LEFT = MemberState.DEAD, MemberState.LEFT
A = id_of(key_of("a"))


def intake_of(core: Core) -> Intake:
    prober = Prober(core)
    return Intake(core, OwnRecords(core, 1), prober, Suspects(core, prober))


def state_of(core: Core, node: NodeId) -> MemberState:
    peer = core.members.get(node)
    assert peer is not None
    return peer.state


def test_a_new_member_is_up_and_is_told_to_others() -> None:
    core = core_of(1)
    record = record_of("a")
    assert intake_of(core).record(record, ALIVE, 5.0, spread=True)
    assert core.outputs == [RecordChanged(record), MemberUp(A)]
    assert core.news.sizes() == (1, 0, 0)


def test_a_member_that_others_hold_dead_is_not_up() -> None:
    core = core_of()
    record = record_of("a")
    intake = intake_of(core)
    intake.record(record, DEAD, 5.0, spread=True)
    assert core.outputs == [RecordChanged(record)]
    intake.record(record, ALIVE, 6.0, spread=True)
    assert state_of(core, A) is ALIVE


def test_who_left_is_told_once_and_is_back_with_a_higher_sequence() -> None:
    core = core_of()
    intake = intake_of(core)
    intake.record(record_of("a", 1), ALIVE, 1.0, spread=True)
    intake.record(record_of("a", 2, withdrawn=True), ALIVE, 2.0, spread=True)
    intake.record(record_of("a", 2, withdrawn=True), ALIVE, 3.0, spread=True)
    assert core.outputs.count(MemberLeft(A)) == 1
    intake.record(record_of("a", 1), ALIVE, 4.0, spread=True)
    assert core.members.count(LEFT) == 1
    intake.record(record_of("a", 3), ALIVE, 5.0, spread=True)
    assert state_of(core, A) is ALIVE


def test_the_condemned_come_back_with_a_higher_sequence_only() -> None:
    core = core_of()
    intake = intake_of(core)
    intake.record(record_of("a", 1), ALIVE, 1.0, spread=True)
    peer = core.members.get(A)
    assert peer is not None
    peer.condemned = True
    core.members.move(peer, DEAD, 2.0)
    intake.record(record_of("a", 1), ALIVE, 3.0, spread=True)
    intake.prove(peer, 3.0)
    assert core.members.count(DEAD) == 1
    intake.record(record_of("a", 2), ALIVE, 4.0, spread=True)
    assert core.members.count(ALIVE) == 1
    assert intake.revivals == 1


def test_a_forged_record_is_refused_and_nothing_of_its_message_is_applied() -> None:
    core = core_of()
    forged = replace(record_of("a"), body=b"other")
    with pytest.raises(GossipError) as caught:
        intake_of(core).verify([RecordItem(record_of("b"), ALIVE), RecordItem(forged, ALIVE)])
    assert caught.value.reason == "record-signature"
    assert (len(core.store), core.outputs) == (0, [])


def test_a_forged_accusation_is_refused() -> None:
    core = core_of(3)
    accusation = replace(accusation_by(1, id_of(key_of(2))), signature=bytes(64))
    with pytest.raises(GossipError) as caught:
        intake_of(core).verify([accusation])
    assert caught.value.reason == "accusation-signature"


def test_a_stranger_accuses_nobody() -> None:
    core = core_of(3)
    intake = intake_of(core)
    assert intake.verify([accusation_by(99, id_of(key_of(2)))]) == []
    assert core.counters.refused == {"accuser-unknown": 1}


def test_an_accuser_may_be_introduced_by_the_same_message() -> None:
    core = core_of(3)
    intake = intake_of(core)
    items: list[Item] = [accusation_by(99, id_of(key_of(2))), RecordItem(record_of(99), ALIVE)]
    intake.apply(intake.verify(items), 5.0, spread=True)
    assert state_of(core, id_of(key_of(2))) is SUSPECT


def test_a_refutation_beside_the_accusation_voids_it() -> None:
    core = core_of(3)
    intake = intake_of(core)
    items: list[Item] = [accusation_by(1, id_of(key_of(2))), RecordItem(record_of(2, 2), ALIVE)]
    intake.apply(intake.verify(items), 5.0, spread=True)
    assert state_of(core, id_of(key_of(2))) is ALIVE


def test_what_is_older_than_what_is_held_is_dropped_unverified() -> None:
    core = core_of()
    intake = intake_of(core)
    intake.record(record_of("a", 5), ALIVE, 1.0, spread=True)
    stale = replace(record_of("a", 4), signature=bytes(64))
    assert intake.verify([RecordItem(stale, ALIVE)]) == []


def test_a_record_that_was_forgotten_cannot_be_slipped_in_behind_a_new_one() -> None:
    core = core_of()
    intake = intake_of(core)
    core.store.put(record_of("a", 5))
    core.store.put(record_of("a", 6, RecordKind.ROUTES))
    core.store.forget(A)
    forged = replace(record_of("a", 6, RecordKind.ROUTES), body=b"0.0.0.0/0")
    with pytest.raises(GossipError):
        intake.verify([RecordItem(record_of("a", 7), ALIVE), RecordItem(forged, ALIVE)])


def test_two_records_of_one_sequence_are_noticed_and_all_digests_agree() -> None:
    first, second = record_of("a", 3, body=b"x"), record_of("a", 3, body=b"y")
    digests = []
    for order in ((first, second), (second, first)):
        core = core_of()
        intake = intake_of(core)
        for record in order:
            intake.apply(intake.verify([RecordItem(record, ALIVE)]), 1.0, spread=True)
        assert core.counters.equivocations == 1
        digests.append(core.store.digest)
    assert digests[0] == digests[1]


def test_who_is_not_admitted_is_not_stored() -> None:
    core = core_of()
    assert isinstance(core.authority, FakeAuthority)
    core.authority.refused.append(A)
    assert not intake_of(core).record(record_of("a"), ALIVE, 1.0, spread=True)
    assert core.counters.refused == {"not-admitted": 1}
    assert (len(core.members), len(core.store), len(core.news)) == (0, 0, 0)


def test_unknown_kinds_are_kept_and_passed_on_but_do_nothing() -> None:
    core = core_of(1)
    record = record_of("a", kind=15)
    assert intake_of(core).record(record, ALIVE, 1.0, spread=True)
    assert core.outputs == [RecordChanged(record)]
    assert core.news.sizes() == (0, 0, 1)


def test_what_vouches_for_a_member_is_applied_before_its_member_record() -> None:
    core = core_of()
    member, certificate = record_of("a", 1), record_of("a", 2, RecordKind.CERTIFICATE)
    items = [RecordItem(member, ALIVE), RecordItem(certificate, ALIVE)]
    intake_of(core).apply(items, 1.0, spread=True)
    assert core.outputs == [RecordChanged(certificate), RecordChanged(member), MemberUp(A)]


@pytest.mark.parametrize("own_verdict", [True, False])
def test_a_verdict_of_others_is_believed_and_refuted_in_plain_swim_only(own_verdict: bool) -> None:
    core = core_of(1, GossipConfig(policy=replace(Policy(), own_verdict=own_verdict)))
    own = OwnRecords(core, 1)
    prober = Prober(core)
    intake = Intake(core, own, prober, Suspects(core, prober))
    mine = own.publish(RecordKind.MEMBER, b"me", 0.0)
    intake.record(record_of("a"), ALIVE, 1.0, spread=True)
    for record in (record_of("a"), mine):
        intake.apply(intake.verify([RecordItem(record, DEAD)]), 2.0, spread=True)
    assert state_of(core, A) is (ALIVE if own_verdict else DEAD)
    assert core.sequence == (1 if own_verdict else 2)
