"""What the counters of calls say about clocks."""

from __future__ import annotations

import pytest

from gossip import NodeId
from meshd.node.clocks import MAX_CLOCKS, Clocks
from meshd.node.visiting import TOLERANCE
from tests.node.virtual import Mesh

UNIX = 1_700_000_000.0


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(16, "big"))


def name(of: NodeId) -> str:
    return f"node-{of[-1]}"


def clocks(*ahead: float) -> Clocks:
    """Of members that are so many seconds ahead of us; our monotonic time is 5."""
    made = Clocks()
    for number, by in enumerate(ahead):
        made.heard(node(number), int((UNIX + 5.0 + by) * 1e9), 5.0)
    return made


@pytest.mark.parametrize("ahead", [(), (0.0,), (60.0, -30.0), (TOLERANCE - 1, 1 - TOLERANCE)])
def test_clocks_that_agree_more_or_less_are_no_news(ahead: tuple[float, ...]) -> None:
    assert clocks(*ahead).notices(UNIX, name) == []


@pytest.mark.parametrize(("by", "words"), [(300.0, "300 s behind"), (-7200.0, "7200 s ahead of")])
def test_where_most_members_differ_from_us_it_is_our_clock(by: float, words: str) -> None:
    [told] = clocks(by, by + 20, by - 20, 0.0).notices(UNIX, name)
    assert told.startswith(f"this host's clock is {words} those of 3 of 4 members")


def test_one_that_differs_is_named() -> None:
    [told] = clocks(0.0, 1.0, -500.0, 2.0).notices(UNIX, name)
    assert told.startswith('the clock of "node-2" is 500 s behind that of this host')
    assert len(clocks(500.0).notices(UNIX, name)) == 1  # who is right of two, nobody knows


def test_the_last_word_of_each_counts_and_a_clock_that_was_set_is_right() -> None:
    made = clocks(500.0, 500.0)
    assert made.notices(UNIX, name) != []
    assert made.notices(UNIX + 500.0, name) == []
    for number in range(2):
        made.heard(node(number), int((UNIX + 9.0) * 1e9), 9.0)
    assert made.notices(UNIX, name) == []


def test_few_are_remembered() -> None:
    made = clocks(*[0.0] * (3 * MAX_CLOCKS))
    assert len(made._calls) == MAX_CLOCKS


def test_a_counter_that_only_counts_is_no_clock() -> None:
    made = clocks(5000.0)
    counter = int((UNIX + 5.0 + 5000.0) * 1e9)
    assert made.notices(UNIX, name) != []
    made.heard(node(0), counter + 1, 125.0)
    assert made.notices(UNIX, name) == []


def test_calls_by_udp_tell_both_that_a_clock_is_wrong() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    assert alpha.node.state.clocks.notices(alpha.node.state.unix_offset, name) == []
    beta.kill()
    mesh.run(1)
    beta.start()
    beta.node.set_clock(beta.node.state.unix_time(mesh.world.now) + 1000.0, mesh.world.now)
    mesh.run(300)
    told = [
        sentence
        for host in (alpha, beta)
        for sentence in host.node.state.clocks.notices(host.node.state.unix_offset, name)
    ]
    assert told
    assert all("1000 s" in sentence or "999 s" in sentence for sentence in told)
