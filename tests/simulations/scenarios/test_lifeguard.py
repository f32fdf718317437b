from __future__ import annotations

from dataclasses import replace

import pytest

from gossip import messages
from gossip.config import GossipConfig
from gossip.events import MemberDown
from gossip.messages import Ack, Ping
from simulations.machine import Send
from simulations.run import Run, Scenario
from simulations.scenarios.lifeguard import (
    FULL,
    SCENARIOS,
    TABLE,
    Anomalies,
    FalsePositives,
    disturb,
    grid,
    table,
    variants,
)
from simulations.scenarios.published import group


def settled(nodes: int, variant: str = "plain") -> tuple[Run, FalsePositives]:
    outer = Run(Scenario("toy", "", lambda run: None), nodes, 1)
    inner = group(outer, nodes, variants()[variant])
    counted = FalsePositives(inner.cluster)
    inner.cluster.observers.append(counted)
    return inner, counted


def test_variants_differ_from_plain_swim_by_their_part_alone() -> None:
    found = variants()
    assert list(found) == list(TABLE)
    plain = found["plain"]
    assert plain == GossipConfig.swim()
    assert found["+buddy"] == replace(plain, policy=replace(plain.policy, buddy=True))
    assert found["+suspicion"].policy == plain.policy
    assert (found["all"].health_limit, found["all"].suspicion_beta) == (8, 6.0)
    assert found["all"].policy == replace(plain.policy, nacks=True, buddy=True)


def test_the_full_grid_has_1_to_32_slow_members_and_128_ms_to_32_s() -> None:
    assert {test.slow for test in FULL} == {1, 4, 8, 16, 32}
    assert (FULL[0].held_s, FULL[-1].held_s) == (0.128, 32.768)
    assert str(FULL[0]) == "1 slow, held 0.128 s, free 0.001 s"
    assert len(grid((1, 2), (3.0,), (4.0, 5.0), 60.0)) == 4


def test_verdicts_count_if_their_subject_is_not_slow() -> None:
    inner, counted = settled(6)
    slow, healthy, other = inner.hosts[:3]
    counted.begin([slow])
    counted.saw(slow, MemberDown(healthy.identity))
    counted.saw(other, MemberDown(healthy.identity))
    counted.saw(other, MemberDown(slow.identity))
    assert (counted.count, counted.at_healthy) == (2, 1)


def test_a_held_member_stands_still_at_its_probers_message_and_at_no_other() -> None:
    inner, counted = settled(6)
    slow = inner.hosts[0]
    ping, ack = (Send(slow.endpoint, messages.encode(1, body)) for body in (Ping(1), Ack(1, 0)))
    counted.begin([slow])
    counted.sent(slow, ping)
    assert slow.troubles == {"slow"}
    counted.hold()
    counted.sent(slow, ack)
    assert slow.troubles == {"slow", "held"}
    counted.sent(slow, ping)
    assert slow.troubles == {"slow", "held", "paused"}
    counted.release()
    counted.end()
    assert slow.troubles == set()


@pytest.mark.parametrize("variant", ["plain", "+suspicion"])
def test_long_holds_make_plain_swim_err_where_a_longer_suspicion_waits(variant: str) -> None:
    inner, counted = settled(16, variant)
    disturb(inner, counted, Anomalies(2, 8.192, 0.016, 40.0))
    assert (counted.count > 0) == (variant == "plain")
    assert counted.at_healthy == 0
    assert inner.cluster.agreed()


def test_short_holds_hurt_nobody() -> None:
    inner, counted = settled(16)
    disturb(inner, counted, Anomalies(4, 0.128, 1.024, 10.0))
    assert counted.count == 0


def test_a_run_states_the_ratio_of_every_variant_and_prints_every_test() -> None:
    run = Run(SCENARIOS[1], 16, 1)
    test = Anomalies(2, 8.192, 0.016, 20.0)
    table(run, [test])
    assert {target.name.split()[2].rstrip(",") for target in run.targets} == {*TABLE} - {"plain"}
    assert run.figures[f"plain, {test}"] == run.figures["plain, false positives"] > 0
    assert list(run.series) == [f"false positives, {name}" for name in TABLE]
