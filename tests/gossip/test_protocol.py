"""Whole nodes among each other, under virtual time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from gossip import messages
from gossip.config import GossipConfig
from gossip.errors import GossipError
from gossip.events import (
    MemberDown,
    MemberLeft,
    MemberSuspected,
    MemberUp,
    Output,
    SendMessage,
    SequenceChanged,
)
from gossip.ids import NodeId
from gossip.items import RecordItem, accuse, encode_item
from gossip.members import MemberState
from gossip.messages import Gossip
from gossip.protocol import GossipProtocol
from gossip.records import RecordKind, signed

from .cluster import Cluster, FakeAuthority, id_of, key_of, protocol_of, record_of

ALIVE, SUSPECT = MemberState.ALIVE, MemberState.SUSPECT
DEAD, LEFT = MemberState.DEAD, MemberState.LEFT


def cluster_of(count: int, seed: int = 1, config: GossipConfig | None = None) -> Cluster:
    cluster = Cluster(config, seed)
    cluster.boot(count)
    assert cluster.run_until(cluster.converged, 10) is not None
    cluster.run(3)
    return cluster


def split(cluster: Cluster, names: range) -> None:
    side = {id_of(key_of(name)): True for name in names}
    cluster.reachable = lambda a, b: (a in side) == (b in side)


@pytest.mark.parametrize(("count", "seconds"), [(2, 0.2), (5, 0.5), (50, 2.0)])
def test_a_cold_start_joins_everybody(count: int, seconds: float) -> None:
    cluster = Cluster()
    cluster.boot(count)
    assert cluster.run_until(cluster.converged, seconds) is not None
    cluster.run(12)
    digests = {
        frozenset((r.subject, r.sequence) for r in n.records()): 0 for n in cluster.nodes.values()
    }
    assert len(digests) == 1
    assert cluster.errors == []
    assert cluster.largest <= cluster.config.packet_size


@pytest.mark.parametrize("count", [2, 3, 5, 20])
@pytest.mark.parametrize("seed", range(4))
def test_a_crash_is_seen_by_all(count: int, seed: int) -> None:
    cluster = cluster_of(count, seed)
    cluster.run(seed * 0.31)
    cluster.crash(count - 1)
    assert cluster.run_until(lambda: cluster.all_see(count - 1, DEAD), 12) is not None
    assert cluster.events(0, MemberSuspected)
    assert cluster.events(0, MemberDown)
    assert sum(node.statistics().dead for node in cluster.nodes.values()) == count - 1


def test_the_idle_cost_is_a_probe_and_an_answer_per_period() -> None:
    cluster = cluster_of(20)
    cluster.run(20)
    before = cluster.sent
    cluster.run(20)
    assert (cluster.sent - before) / 20 / 20 == pytest.approx(2.0, abs=0.1)


def test_a_slow_member_refutes_and_nobody_declares_it_dead() -> None:
    cluster = cluster_of(5)
    victim = id_of(key_of(4))
    cluster.reachable = lambda a, b: victim not in (a, b)
    assert cluster.run_until(lambda: cluster.all_see(4, SUSPECT), 8) is not None
    cluster.reachable = lambda a, b: True
    assert cluster.run_until(cluster.converged, 3) is not None
    assert cluster.node(4).statistics().refutations >= 1
    for name in range(4):
        assert not cluster.events(name, MemberDown)
    record = cluster.node(0).record(victim, RecordKind.MEMBER)
    assert record is not None
    assert record.sequence > 1


def test_leaving_is_told_and_is_not_a_death() -> None:
    cluster = cluster_of(5)
    leaver = cluster.node(4)
    leaver.leave(cluster.now)
    leaver.leave(cluster.now)
    cluster.pump(id_of(key_of(4)))
    assert cluster.run_until(lambda: cluster.all_see(4, LEFT), 1) is not None
    cluster.run(20)
    assert leaver.next_wakeup() is None
    cluster.crash(4)
    cluster.run(20)
    for name in range(4):
        assert len(cluster.events(name, MemberLeft)) == 1
        assert not cluster.events(name, MemberDown)


@pytest.mark.parametrize("pause", [0.5, 5.0, 60.0])
def test_a_node_that_lost_its_sequence_is_back_at_once(pause: float) -> None:
    cluster = cluster_of(5)
    for _ in range(7):
        cluster.node(4).publish(RecordKind.MEMBER, b"old", cluster.now)
    cluster.pump(id_of(key_of(4)))
    cluster.run(2)
    cluster.crash(4)
    cluster.run(pause)
    cluster.start(4, [0], first=1, body=b"new")

    def all_hold_the_new_one() -> bool:
        held = [node.record(id_of(key_of(4)), 0) for node in cluster.nodes.values()]
        return all(record is not None and record.body == b"new" for record in held)

    assert cluster.run_until(lambda: cluster.converged() and all_hold_the_new_one(), 3) is not None
    assert cluster.events(4, SequenceChanged)[-1] == SequenceChanged(9)


def test_a_node_that_kept_its_sequence_and_records_is_back_without_seeds() -> None:
    cluster = cluster_of(5)
    kept = cluster.node(4).records()
    cluster.crash(4)
    assert cluster.run_until(lambda: cluster.all_see(4, DEAD), 12) is not None
    cluster.start(4, first=2)
    cluster.node(4).restore(kept, cluster.now)
    assert Counter(cluster.states(4).values()) == {DEAD: 4}
    assert cluster.run_until(cluster.converged, 5) is not None


@pytest.mark.parametrize("seed", range(3))
def test_some_that_restart_with_their_records_are_back_with_all_at_once(seed: int) -> None:
    cluster = cluster_of(30, seed)
    kept = {name: cluster.node(name).records() for name in (7, 8, 9)}
    for name in kept:
        cluster.crash(name)
    cluster.run(25)
    for name, held in kept.items():
        cluster.start(name, [0, 1, 2], first=9)
        cluster.node(name).restore(held, cluster.now)
        cluster.pump(id_of(key_of(name)))
    assert cluster.run_until(cluster.converged, 4) is not None


def test_everybody_restarting_together_finds_together() -> None:
    cluster = cluster_of(10)
    kept = {name: cluster.node(name).records() for name in range(10)}
    for name in range(10):
        cluster.crash(name)
    for name in range(10):
        cluster.start(name, first=2)
        cluster.node(name).restore(kept[name], cluster.now)
        cluster.pump(id_of(key_of(name)))
    assert cluster.run_until(cluster.converged, 5) is not None


@pytest.mark.parametrize(("count", "cut", "seconds"), [(2, 1, 300), (5, 2, 3600), (20, 8, 600)])
def test_a_split_heals_with_nobodys_help(count: int, cut: int, seconds: float) -> None:
    cluster = cluster_of(count)
    split(cluster, range(cut))
    cluster.run(seconds)
    assert Counter(cluster.states(0).values())[DEAD] == count - cut
    assert Counter(cluster.states(count - 1).values())[DEAD] == cut
    cluster.reachable = lambda a, b: True
    assert cluster.run_until(cluster.converged, 60) is not None


def test_one_who_is_back_from_the_dead_makes_us_try_the_others_soon() -> None:
    cluster = cluster_of(5)
    split(cluster, range(2))
    cluster.run(120)
    protocol = cluster.node(0)
    back = record_of(3, 50)
    message = messages.encode(50, Gossip(), [encode_item(RecordItem(back, ALIVE))])
    before = protocol.statistics().messages_sent
    protocol.receive(message, back.subject, cluster.now)
    assert protocol.statistics().messages_sent == before
    protocol.handle_timer(cluster.now)
    tried = {o.to: True for o in protocol.drain() if isinstance(o, SendMessage)}
    assert any(id_of(key_of(name)) in tried for name in (2, 4))


def test_loss_makes_no_false_death() -> None:
    cluster = cluster_of(15)
    cluster.loss = 0.1
    cluster.run(120)
    assert sum(node.statistics().verdicts for node in cluster.nodes.values()) == 0
    assert cluster.run_until(cluster.converged, 20) is not None


def test_one_way_loss_to_one_member_makes_no_false_death() -> None:
    cluster = cluster_of(6)
    a, b = id_of(key_of(1)), id_of(key_of(2))
    cluster.reachable = lambda source, to: (source, to) not in ((a, b), (b, a))
    cluster.run(60)
    assert sum(node.statistics().verdicts for node in cluster.nodes.values()) == 0
    assert cluster.converged()


def test_accusation_spam_evicts_nobody() -> None:
    cluster = cluster_of(8)
    spammers = range(4)
    for _ in range(200):
        for spammer in spammers:
            key = key_of(spammer)
            for victim in range(4, 8):
                subject = id_of(key_of(victim))
                record = cluster.node(spammer).record(subject, RecordKind.MEMBER)
                assert record is not None
                charge = accuse(FakeAuthority(key), id_of(key), subject, record.sequence)
                message = messages.encode(1, Gossip(), [encode_item(charge)])
                for target in range(4, 8):
                    cluster.node(target).receive(message, id_of(key), cluster.now)
                    cluster.pump(id_of(key_of(target)))
        cluster.run(0.25)
    assert sum(node.statistics().verdicts for node in cluster.nodes.values()) == 0
    assert cluster.run_until(cluster.converged, 10) is not None
    for name in range(4, 8):
        assert cluster.node(name).statistics().refutations < 200


def test_a_liar_cannot_revive_the_dead() -> None:
    cluster = cluster_of(4)
    record = cluster.node(3).record(id_of(key_of(3)), 0)
    assert record is not None
    cluster.crash(3)
    assert cluster.run_until(lambda: cluster.all_see(3, DEAD), 12) is not None
    lie = messages.encode(1, Gossip(), [encode_item(RecordItem(record, ALIVE))])
    cluster.node(0).receive(lie, id_of(key_of(1)), cluster.now)
    assert cluster.states(0)[id_of(key_of(3))] is DEAD


def test_what_gossip_missed_is_found_by_comparison() -> None:
    cluster = cluster_of(6)
    lonely = id_of(key_of(5))
    cluster.reachable = lambda a, b: lonely not in (a, b)
    cluster.node(0).publish(RecordKind.ROUTES, b"10.0.0.0/8", cluster.now)
    cluster.pump(id_of(key_of(0)))
    cluster.run(4)
    cluster.reachable = lambda a, b: True

    def found() -> bool:
        return cluster.node(5).record(id_of(key_of(0)), RecordKind.ROUTES) is not None

    assert cluster.run_until(found, 45) is not None


def test_a_large_record_of_every_kind_reaches_everybody() -> None:
    cluster = cluster_of(12)
    for name in range(12):
        for kind in (RecordKind.CERTIFICATE, RecordKind.ROUTES):
            cluster.node(name).publish(kind, bytes(970), cluster.now)
        cluster.pump(id_of(key_of(name)))
    everything = 12 * 3

    def complete() -> bool:
        return all(len(node.records()) == everything for node in cluster.nodes.values())

    assert cluster.run_until(complete, 20) is not None
    assert cluster.largest <= cluster.config.packet_size


def test_withdrawing_a_record_reaches_everybody_and_it_stays_withdrawn() -> None:
    cluster = cluster_of(5)
    cluster.node(1).publish(RecordKind.ROUTES, b"x", cluster.now)
    cluster.pump(id_of(key_of(1)))
    cluster.run(2)
    old = cluster.node(0).record(id_of(key_of(1)), RecordKind.ROUTES)
    assert old is not None
    cluster.node(1).withdraw(RecordKind.ROUTES, cluster.now)
    assert cluster.node(1).withdraw(RecordKind.ROUTES, cluster.now) is None
    cluster.pump(id_of(key_of(1)))
    cluster.run(2)
    assert not cluster.node(0).accept(old, cluster.now)
    for node in cluster.nodes.values():
        record = node.record(id_of(key_of(1)), RecordKind.ROUTES)
        assert record is not None
        assert record.withdrawn


def test_traffic_is_life_though_gossip_is_lost() -> None:
    cluster = cluster_of(3)
    cluster.reachable = lambda a, b: False
    for _ in range(400):
        for name in range(3):
            for peer in range(3):
                cluster.node(name).heard(id_of(key_of(peer)), cluster.now)
        cluster.run(0.2)
    assert sum(node.statistics().verdicts for node in cluster.nodes.values()) == 0


def test_a_node_that_is_cut_off_waits_before_it_buries_everybody() -> None:
    cluster = cluster_of(12)
    split(cluster, range(1))
    cluster.run(20)
    assert cluster.node(0).statistics().isolated
    assert cluster.node(0).statistics().dead == 0
    cluster.reachable = lambda a, b: True
    assert cluster.run_until(cluster.converged, 30) is not None


def test_a_paused_node_blames_nobody_when_it_wakes() -> None:
    protocol = protocol_of("sleeper")
    for name in range(5):
        protocol.accept(record_of(name, 100), 0.0)
    for second in range(3):
        protocol.handle_timer(float(second))
        protocol.drain()
    protocol.handle_timer(500.0)
    assert protocol.statistics().verdicts == 0
    assert protocol.statistics().suspect <= 1


def test_two_machines_with_one_key_do_not_storm() -> None:
    cluster = cluster_of(5)
    twin = protocol_of(4, now=cluster.now)
    twin.publish(RecordKind.MEMBER, b"twin", cluster.now)
    before = cluster.node(4).record(id_of(key_of(4)), 0)
    for _ in range(100):
        seen = cluster.node(0).record(id_of(key_of(4)), 0)
        assert seen is not None
        twin.accept(seen, cluster.now)
        mine = twin.record(id_of(key_of(4)), 0)
        assert mine is not None
        cluster.node(0).accept(mine, cluster.now)
        cluster.pump(id_of(key_of(0)))
        cluster.run(0.1)
    after = cluster.node(4).record(id_of(key_of(4)), 0)
    assert before is not None
    assert after is not None
    assert after.sequence - before.sequence < 100


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01\x01",
        bytes(1150),
        messages.encode(1, Gossip(), [encode_item(RecordItem(record_of("x"), ALIVE))[:-1] + b"!"]),
    ],
)
def test_bad_messages_change_nothing_but_a_counter(message: bytes) -> None:
    protocol = protocol_of("a")
    protocol.accept(record_of("b"), 0.0)
    protocol.drain()
    before, wakeup = protocol.statistics(), protocol.next_wakeup()
    with pytest.raises(GossipError):
        protocol.receive(message, id_of(key_of("b")), 1.0)
    after = protocol.statistics()
    assert sum(after.refused.values()) == 1
    assert replace(after, refused={}) == before
    assert (protocol.drain(), protocol.next_wakeup()) == ([], wakeup)


def test_ones_own_message_is_refused() -> None:
    protocol = protocol_of("a")
    with pytest.raises(GossipError) as caught:
        protocol.receive(messages.encode(1, Gossip()), id_of(key_of("a")), 1.0)
    assert caught.value.reason == "own-message"


def test_accept_says_whether_the_record_is_held() -> None:
    protocol = protocol_of("a")
    assert protocol.accept(record_of("b", 2), 0.0)
    assert protocol.accept(record_of("b", 2), 0.0)
    assert not protocol.accept(record_of("b", 1), 0.0)
    assert not protocol.accept(replace(record_of("b", 3), body=b"forged"), 0.0)
    assert not protocol.accept(replace(record_of("b", 3), key=b"short"), 0.0)
    assert MemberUp(id_of(key_of("b"))) in protocol.drain()
    assert [member.state for member in protocol.members()] == [ALIVE]


def test_restored_records_are_verified_again() -> None:
    protocol = protocol_of("a")
    protocol.restore(
        [replace(record_of("b"), body=b"forged"), record_of("c"), record_of("a", 9)], 0.0
    )
    assert [member.id for member in protocol.members()] == [id_of(key_of("c"))]
    assert protocol.publish(RecordKind.MEMBER, b"", 0.0).sequence == 10


@pytest.mark.parametrize(
    "change", [{"identity": b"short"}, {"key": b"short"}, {"first_sequence": 0}]
)
def test_a_node_needs_a_whole_identity(change: dict[str, object]) -> None:
    key = key_of("a")
    arguments: dict[str, object] = {
        "identity": id_of(key),
        "key": key,
        "config": GossipConfig(),
        "authority": FakeAuthority(key),
        "rng": Random(1),
        "now": 0.0,
        "first_sequence": 1,
    }
    with pytest.raises(ValueError):
        GossipProtocol(**(arguments | change))  # type: ignore[arg-type]


TRACE = """
from tests.gossip.cluster import Cluster
cluster = Cluster(seed=7)
cluster.loss = 0.1
cluster.boot(8)
cluster.run(10)
cluster.crash(3)
cluster.run(10)
print(cluster.trace())
"""


def test_the_same_seed_gives_the_same_trace_whatever_the_hash_seed() -> None:
    root = Path(__file__).resolve().parents[2]
    traces = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        run = subprocess.run(
            [sys.executable, "-c", TRACE],
            env=environment,
            capture_output=True,
            cwd=root,
            check=True,
        )
        traces.append(run.stdout)
    assert traces[0] == traces[1]
    assert len(traces[0].strip()) == 32


def test_another_seed_gives_another_trace() -> None:
    traces = []
    for seed in (1, 2):
        cluster = Cluster(seed=seed)
        cluster.boot(4)
        cluster.run(5)
        traces.append(cluster.trace())
    assert traces[0] != traces[1]


def test_what_a_messages_head_claims_advances_nobodys_sequence() -> None:
    cluster = cluster_of(3)
    claimed = messages.encode(2**62, Gossip())
    cluster.node(0).receive(claimed, id_of(key_of(1)), cluster.now)
    member = cluster.node(0).member(id_of(key_of(1)))
    assert member is not None
    assert member.sequence < 10
    cluster.run(5)
    assert cluster.converged()
    assert cluster.errors == []


def test_a_record_about_another_is_believed_from_nobody() -> None:
    cluster = cluster_of(3)
    victim, liar = id_of(key_of(2)), key_of(1)
    forged = signed(FakeAuthority(liar), 0, liar, victim, 50, b"mine now")
    for key in (liar, key_of(2)):
        lie = replace(forged, key=key)
        message = messages.encode(1, Gossip(), [encode_item(RecordItem(lie, ALIVE))])
        with pytest.raises(GossipError, match="record-signature"):
            cluster.node(0).receive(message, id_of(liar), cluster.now)
    held = cluster.node(0).record(victim, 0)
    assert held is not None
    assert held.body == b"hello"


def test_plain_swim_finds_the_crashed_and_takes_back_what_was_wrong() -> None:
    cluster = cluster_of(8, config=GossipConfig.swim())
    cluster.crash(7)
    assert cluster.run_until(lambda: cluster.all_see(7, DEAD), 20) is not None
    record = cluster.node(1).record(id_of(key_of(1)), RecordKind.MEMBER)
    assert record is not None
    verdict = messages.encode(1, Gossip(), [encode_item(RecordItem(record, DEAD))])
    cluster.node(0).receive(verdict, id_of(key_of(2)), cluster.now)
    cluster.pump(id_of(key_of(0)))
    assert cluster.states(0)[id_of(key_of(1))] is DEAD
    cluster.run(0.5)
    fooled = [node for node in cluster.nodes if MemberDown(record.subject) in told(cluster, node)]
    assert len(fooled) >= 3
    assert cluster.run_until(lambda: cluster.all_see(1, ALIVE), 300) is not None


def told(cluster: Cluster, node: NodeId) -> list[Output]:
    """What came out of a node so far."""
    return [output for _, output in cluster.outputs[node]]
