"""Two records of one sequence: proved, told, believed in neither."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossip import messages, store
from gossip.core import Core
from gossip.errors import GossipError
from gossip.events import Equivocated, RecordChanged
from gossip.intake import Intake
from gossip.items import Item, RecordItem, encode_item
from gossip.members import MemberState
from gossip.messages import Gossip
from gossip.own import QUICK_CONTESTS, OwnRecords
from gossip.probing import Prober
from gossip.records import Record, RecordKind
from gossip.suspects import Suspects
from gossip.timers import Timer

from .cluster import Cluster, FakeAuthority, id_of, key_of, record_of
from .test_core import core_of
from .test_intake import intake_of, state_of
from .test_items import proof_of
from .test_suspects import accusation_by

ALIVE, DEAD = MemberState.ALIVE, MemberState.DEAD
ROUTES, MEMBER = RecordKind.ROUTES, RecordKind.MEMBER
A = id_of(key_of("a"))
ONE, OTHER = (record_of("a", 7, ROUTES, body) for body in (b"x", b"y"))
PROOF = proof_of("a")


def holding(*held: Record) -> tuple[Core, Intake]:
    core = core_of(3)
    intake = intake_of(core)
    for record in held:
        intake.record(record, ALIVE, 0.0, spread=False)
    core.outputs.clear()
    return core, intake


def take(intake: Intake, *items: Item) -> None:
    intake.apply(intake.verify(items), 1.0, spread=True)


@pytest.mark.parametrize(("held", "comes"), [(ONE, OTHER), (OTHER, ONE)])
def test_two_records_of_one_sequence_are_proved_and_told(held: Record, comes: Record) -> None:
    core, intake = holding(held)
    take(intake, RecordItem(comes, ALIVE))
    assert core.outputs == [Equivocated(A, ROUTES, 7)]
    assert core.store.proof(A, ROUTES) == PROOF
    assert core.store.get(A, ROUTES) == held
    assert core.news.fill(1000, 4) == [encode_item(PROOF)]
    take(intake, RecordItem(comes, ALIVE), PROOF)
    assert (len(core.outputs), core.counters.equivocations) == (1, 1)


def test_a_proof_alone_is_enough_for_who_holds_either() -> None:
    core, intake = holding(ONE)
    take(intake, PROOF)
    assert core.store.quarantined(A, ROUTES)
    assert core.outputs == [Equivocated(A, ROUTES, 7)]


def test_a_proof_may_come_with_the_record_it_speaks_of() -> None:
    core, intake = holding()
    take(intake, PROOF, RecordItem(ONE, ALIVE))
    assert core.outputs == [RecordChanged(ONE), Equivocated(A, ROUTES, 7)]


@pytest.mark.parametrize("held", [(), (record_of("a", 6, ROUTES),), (record_of("a", 8, ROUTES),)])
def test_a_proof_of_what_is_not_held_is_nothing(held: tuple[Record, ...]) -> None:
    core, intake = holding(*held)
    take(intake, PROOF)
    assert not core.store.quarantined(A, ROUTES)
    assert (core.outputs, len(core.news)) == ([], 0)


def test_a_proof_that_proves_nothing_is_refused_and_changes_nothing() -> None:
    core, intake = holding(ONE)
    low, high = PROOF.statements
    forged = replace(PROOF, statements=(low, replace(high, signature=bytes(64))))
    with pytest.raises(GossipError) as caught:
        take(intake, RecordItem(record_of("b"), ALIVE), forged)
    assert caught.value.reason == "equivocation-signature"
    assert not core.store.quarantined(A, ROUTES)
    assert core.outputs == []


def test_a_clash_with_a_wrong_signature_is_refused() -> None:
    core, intake = holding(ONE)
    with pytest.raises(GossipError):
        take(intake, RecordItem(replace(OTHER, body=b"z"), ALIVE))
    assert core.outputs == []


def test_a_higher_sequence_ends_it_and_a_lower_one_does_not() -> None:
    core, intake = holding(ONE)
    take(intake, PROOF)
    take(intake, RecordItem(record_of("a", 6, ROUTES), ALIVE))
    assert core.store.quarantined(A, ROUTES)
    take(intake, RecordItem(record_of("a", 8, ROUTES), ALIVE))
    assert not core.store.quarantined(A, ROUTES)
    assert core.store.proofs == 0


def test_a_third_record_of_that_sequence_is_not_taken() -> None:
    core, intake = holding(ONE)
    take(intake, PROOF)
    core.outputs.clear()
    for body in range(20):
        take(intake, RecordItem(record_of("a", 7, ROUTES, bytes((body,))), ALIVE))
    assert core.store.get(A, ROUTES) == ONE
    assert core.outputs == []


def test_other_kinds_of_the_subject_are_not_quarantined() -> None:
    core, intake = holding(ONE, record_of("a", 7))
    take(intake, PROOF)
    assert not core.store.quarantined(A, MEMBER)


def test_proofs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_PROOFS", 5)
    core, intake = holding(*(record_of(name, 7, ROUTES, b"x") for name in range(8)))
    take(intake, *(proof_of(name) for name in range(8)))
    assert core.store.proofs == 5
    assert core.counters.refused == {"proofs-full": 3}
    core.store.forget(id_of(key_of(0)))
    assert core.store.proofs == 4


def test_hearsay_does_not_raise_a_quarantined_member_but_its_own_voice_does() -> None:
    core, intake = holding()
    one, other = (record_of("a", 7, body=body) for body in (b"x", b"y"))
    intake.record(one, DEAD, 0.0, spread=False)
    take(intake, RecordItem(other, ALIVE), RecordItem(one, ALIVE))
    assert core.store.quarantined(A, MEMBER)
    assert state_of(core, A) is DEAD
    peer = core.members.get(A)
    assert peer is not None
    intake.prove(peer, 2.0)
    assert state_of(core, A) is ALIVE


def test_who_is_quarantined_accuses_nobody() -> None:
    accuser = id_of(key_of(1))
    core, intake = holding(record_of(1, 7, body=b"x"))
    take(intake, proof_of(1, kind=MEMBER))
    assert core.store.quarantined(accuser, MEMBER)
    assert intake.verify([accusation_by(1, id_of(key_of(2)))]) == []
    assert core.counters.refused == {"accuser-quarantined": 1}


def test_the_whole_mesh_learns_of_it_and_so_does_who_joins_later() -> None:
    cluster = Cluster(seed=5)
    cluster.boot(12)
    cluster.run(20)
    for name, record in ((2, ONE), (9, OTHER)):
        message = messages.encode(1, Gossip(), [encode_item(RecordItem(record, ALIVE))])
        cluster.node(name).receive(message, id_of(key_of(1)), cluster.now)
        cluster.pump(id_of(key_of(name)))

    def all_know() -> bool:
        return all(protocol.quarantined(A, ROUTES) for protocol in cluster.nodes.values())

    took = cluster.run_until(all_know, 5)
    assert took is not None
    cluster.run(30)
    cluster.start(12, [3])
    assert cluster.run_until(all_know, 5) is not None
    digests = [list(map(hex, cluster.node(name)._core.store.hashes())) for name in range(13)]
    assert digests.count(digests[0]) == 13
    assert cluster.errors == []


def test_comparison_alone_spreads_it() -> None:
    """Two that hold one half each, without news: the listing shows it, the proof goes along."""
    cluster = Cluster(seed=6)
    cluster.boot(2)
    cluster.run(10)
    first, second = cluster.node(0), cluster.node(1)
    first.accept(ONE, cluster.now)
    second.accept(ONE, cluster.now)
    cluster.run(30)
    assert first._core.store.quarantine(PROOF)
    assert first.statistics().quarantined == 1
    taken = cluster.run_until(lambda: second.quarantined(A, ROUTES), 60)
    assert taken is not None


def test_a_node_learns_that_another_machine_has_its_key_and_goes_on_above_it() -> None:
    core = core_of(3)
    own, prober = OwnRecords(core, 5), Prober(core)
    intake = Intake(core, own, prober, Suspects(core, prober))
    own.publish(MEMBER, b"mine", 0.0)
    core.outputs.clear()
    take(intake, RecordItem(record_of("self", 5, body=b"the twin's"), ALIVE))
    assert core.outputs[0] == Equivocated(core.identity, MEMBER, 5)
    held = core.store.get(core.identity, MEMBER)
    assert held is not None
    assert (held.sequence, held.body) == (6, b"mine")
    assert not core.store.quarantined(core.identity, MEMBER)


def test_two_machines_with_one_key_do_not_outdo_each_other_for_ever() -> None:
    machines = []
    for name in ("here", "there"):
        core = core_of(3)
        own, prober = OwnRecords(core, 5), Prober(core)
        machines.append((core, own, Intake(core, own, prober, Suspects(core, prober))))
        own.publish(MEMBER, name.encode(), 0.0)
        own.publish(ROUTES, name.encode(), 0.0)
    used = []
    for tick in range(4 * 3600):
        now = tick / 4
        for core, own, intake in machines:
            while (due := core.timers.pop_due(now)) is not None:
                own.on_timer(now) if due[1] is Timer.OWN else None
            for other, _, _ in machines:
                for record in list(other.store):
                    intake.record(record, ALIVE, now, spread=False)
        used.append(machines[0][0].sequence)
    assert used[60] > 5
    assert used[-1] <= 5 + 4 * QUICK_CONTESTS + 4 * 12 + 4 * 12
    assert used[-1] - used[-1 - 4 * 600] <= 10
    assert len({record.sequence for record in machines[0][0].store}) == 2


def test_after_a_calm_the_pace_is_quick_again() -> None:
    core = core_of(3)
    own = OwnRecords(core, 5)
    own.publish(MEMBER, b"mine", 0.0)
    for count in range(40):
        own.witness(record_of("self", core.sequence + 1, body=b"other"), 1000.0 * count)
    assert not core.timers.pending(Timer.OWN)
    assert core.sequence == 5 + 2 * 40


def test_who_has_used_up_its_numbers_is_silent() -> None:
    core = core_of(3)
    own = OwnRecords(core, 2**63 - 1)
    own.publish(MEMBER, b"last", 0.0)
    own.refute(2**63 - 1, 1.0)
    own.contested(MEMBER, 2.0)
    assert core.sequence == 2**63 - 1


@pytest.mark.parametrize(("jump", "taken"), [(2**40, True), (2**40 + 1, False)])
def test_a_sequence_that_jumps_too_far_is_not_taken(jump: int, taken: bool) -> None:
    core, intake = holding(record_of("a", 5, ROUTES))
    take(intake, RecordItem(record_of("a", 5 + jump, ROUTES), ALIVE))
    record = core.store.get(A, ROUTES)
    assert record is not None
    assert (record.sequence == 5 + jump) is taken
    assert core.counters.refused == ({} if taken else {"sequence-jump": 1})


@pytest.mark.parametrize("sequence", [2**40 + 1, 2**63 - 1])
def test_an_unknown_node_begins_at_no_absurd_number(sequence: int) -> None:
    core, intake = holding()
    take(intake, RecordItem(record_of("a", sequence), ALIVE))
    assert not intake.record(record_of("a", sequence), ALIVE, 0.0, spread=True)
    assert (len(core.store), core.members.get(A)) == (0, None)


def test_a_thief_of_our_key_cannot_make_us_use_up_our_numbers() -> None:
    core = core_of(3)
    own, prober = OwnRecords(core, 5), Prober(core)
    intake = Intake(core, own, prober, Suspects(core, prober))
    own.publish(MEMBER, b"mine", 0.0)
    take(intake, RecordItem(record_of("self", 2**63 - 1, body=b"the thief's"), ALIVE))
    assert core.sequence == 5
    assert own.publish(MEMBER, b"mine", 1.0).sequence == 6


def test_a_jump_is_not_asked_for_in_a_comparison() -> None:
    cluster = Cluster(seed=7)
    cluster.boot(2)
    cluster.run(10)
    first, second = cluster.node(0), cluster.node(1)
    first._core.store.put(record_of("a", 2**62, ROUTES))
    cluster.run(60)
    assert second.record(A, ROUTES) is None
    assert cluster.errors == []


def test_the_proof_is_for_this_mesh_only() -> None:
    assert PROOF.verified(FakeAuthority(key_of("b")))
    assert not PROOF.verified(FakeAuthority(key_of("b"), b"another"))
