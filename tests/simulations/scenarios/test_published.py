from __future__ import annotations

from math import log2

import pytest

from gossip import messages
from gossip.messages import Gossip, Ping
from gossip.records import RecordKind
from simulations.machine import Send
from simulations.run import Run, Scenario
from simulations.scenarios.published import (
    CRASHES,
    DETECTION_SIZES,
    SCENARIOS,
    FirstPing,
    fitted,
    own,
    up_to,
)

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def toy_run(nodes: int) -> Run:
    return Run(Scenario("toy", "", lambda run: None), nodes, 1)


def test_only_the_first_ping_to_one_that_crashed_counts() -> None:
    run = toy_run(4)
    watch = FirstPing(run.cluster)
    sender, crashed, other = run.hosts[:3]
    watch.crashed(crashed)
    run.world.run_for(2.0)
    for host, body in ((crashed, Gossip()), (other, Ping(1))):
        watch.sent(sender, Send(host.endpoint, messages.encode(1, body)))
    assert (watch.waiting, watch.delays) == (1, [])
    for _ in range(2):
        watch.sent(sender, Send(crashed.endpoint, messages.encode(1, Ping(1))))
    assert (watch.waiting, watch.delays) == (0, [2.0])


def test_a_line_is_found_where_there_is_one() -> None:
    constant, slope = fitted([(log2(n), 1.5 + 0.5 * log2(n)) for n in (8, 16, 64, 1000)])
    assert constant == pytest.approx(1.5)
    assert slope == pytest.approx(0.5)


def test_sizes_go_up_to_the_number_of_hosts() -> None:
    assert up_to(toy_run(64), DETECTION_SIZES) == [8, 64]
    assert set(CRASHES) == set(DETECTION_SIZES)


def test_the_first_of_eight_members_picks_one_that_crashed_after_1_46_periods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sum over k of (1 - k/7)^7, by round robin, as the scenario's docstring says."""
    monkeypatch.setitem(CRASHES, 8, 400)
    report = Run(BY_NAME["swim-detection"], 8, 1).play()
    exact = sum((1 - k / 7) ** 7 for k in range(7))
    assert exact == pytest.approx(1.458, abs=0.001)
    assert report.targets[0].measured == pytest.approx(exact, abs=0.1)
    assert len(report.series["first pings, 8 members"]) >= 400


def test_members_in_peace_send_a_ping_and_an_ack_per_period() -> None:
    report = Run(BY_NAME["swim-messages"], 16, 1).play()
    assert report.ok
    assert [target.measured for target in report.targets] == pytest.approx([2.0] * 4, abs=0.02)


def test_news_reaches_twice_as_many_in_less_than_one_more_round() -> None:
    report = Run(BY_NAME["swim-infection"], 32, 1).play()
    assert report.ok
    curve = report.series["infection, 32 members"]
    assert len(curve) == 32
    assert curve[-1][1] == 1.0  # type: ignore[index]


def test_news_that_does_not_reach_all_is_no_short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulations.scenarios.published.NEWS_S", 0.01)
    report = Run(BY_NAME["swim-infection"], 32, 1).play()
    assert not report.ok
    assert any("news reaches all of 32" in check.name for check in report.checks if not check.ok)


def test_the_groups_decide_the_hash() -> None:
    first = Run(BY_NAME["swim-messages"], 8, 1).play().trace_hash
    assert Run(BY_NAME["swim-messages"], 8, 1).play().trace_hash == first
    assert Run(BY_NAME["swim-messages"], 8, 2).play().trace_hash != first


def test_a_host_knows_the_sequences_of_its_own_records() -> None:
    run = toy_run(2)
    for host in run.hosts:
        run.start(host)
    run.world.run_for(5.0)
    first, second = map(own, run.hosts)
    assert set(first) == set(second) == {RecordKind.MEMBER}
