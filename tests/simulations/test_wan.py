from __future__ import annotations

import itertools
import math
from random import Random

import pytest

from simulations.lab.wan import LIMIT, Direction, Gaps, Line


def arrivals(line: Line, count: int, spacing_s: float = 0.0, size: int = 1500) -> list[int]:
    """The numbers of the packets that arrive, in their order, of ``count`` that enter."""
    way, arrived = Direction(line, Random(1)), list[int]()

    def write(packet: bytes) -> None:
        arrived.append(int.from_bytes(packet[:4], "big"))

    for number in range(count):
        now = number * spacing_s
        way.leave(now, write)
        way.enter(number.to_bytes(4, "big").ljust(size, b"\0"), now)
    way.leave(math.inf, write)
    return arrived


def lost_runs(line: Line, count: int) -> list[int]:
    """The lengths of the runs of lost packets."""
    present = set(arrivals(line, count, 0.001))
    states = itertools.groupby(range(count), lambda number: number in present)
    return [len(list(run)) for arrived, run in states if not arrived]


@pytest.mark.parametrize(("percent", "burst"), [(0.1, 1), (1, 1), (4, 1), (2, 3), (1, 10)])
def test_as_many_packets_are_lost_as_was_asked_in_runs_as_long(percent: float, burst: int) -> None:
    count = 150_000
    runs = lost_runs(Line(loss_percent=percent, burst=burst), count)
    assert sum(runs) / count * 100 == pytest.approx(percent, rel=0.25)
    wanted = max(burst, 1 / (1 - percent / 100))
    assert sum(runs) / len(runs) == pytest.approx(wanted, rel=0.2)


def test_a_line_without_loss_brings_all_in_order() -> None:
    assert arrivals(Line(), 5000, 0.001) == list(range(5000))


def test_a_line_that_loses_all_brings_nothing() -> None:
    assert arrivals(Line(loss_percent=100), 1000, 0.001) == []
    assert Gaps(1.0, 1.0, Random(1)).next() == 1


def test_a_packet_arrives_after_the_delay_and_not_before() -> None:
    way, arrived = Direction(Line(delay_ms=10), Random(1)), list[bytes]()
    way.enter(b"x", 5.0)
    assert way.next_due() == pytest.approx(5.01)
    way.leave(5.009, arrived.append)
    assert arrived == []
    way.leave(5.011, arrived.append)
    assert arrived == [b"x"]
    assert way.next_due() == math.inf


def test_reordered_packets_come_later_and_none_is_lost() -> None:
    order = arrivals(Line(reorder_percent=5, reorder_ms=5), 4000, 0.001)
    assert sorted(order) == list(range(4000))
    late = sum(before > after for before, after in itertools.pairwise(order))
    assert late == pytest.approx(200, rel=0.25)


def test_a_rate_spaces_packets_and_its_queue_loses_what_it_cannot_hold() -> None:
    way = Direction(Line(delay_ms=0, rate_mbit=12, queue=10), Random(1))  # 1 ms for a packet
    for _ in range(50):
        way.enter(bytes(1500), 0.0)
    arrived: list[bytes] = []
    way.leave(0.0051, arrived.append)
    assert len(arrived) == 5
    way.leave(1.0, arrived.append)
    assert len(arrived) == 11  # one is being sent while ten wait
    assert way.overflowed == 39


def test_no_more_than_the_limit_is_under_way() -> None:
    assert len(arrivals(Line(), LIMIT + 100)) == LIMIT


def test_a_changed_line_holds_for_what_comes_from_then_on() -> None:
    way, arrived = Direction(Line(delay_ms=10), Random(1)), list[bytes]()
    way.enter(b"before", 0.0)
    way.change(Line(delay_ms=10, loss_percent=100))
    way.enter(b"after", 0.0)
    way.leave(1.0, arrived.append)
    assert arrived == [b"before"]
    assert way.lost == 1
