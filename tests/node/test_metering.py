"""Counters of both ends become intervals, and what cannot be changes nothing."""

from __future__ import annotations

import pytest

from meshd.node.errors import RemoteError
from meshd.node.metering import CREDIT, MAX_MARKS, Mark, Meter, Tally
from meshd.node.redundancy import Interval

WAY, SESSION = "a path", "a session"


def exchange(
    meter: Meter,
    nonce: int,
    sent: tuple[int, int],
    tally: Tally,
    table: tuple[int, ...] = (),
    way: object = WAY,
    session: object = SESSION,
) -> Interval | None:
    """A probe that leaves at second `nonce`, after so many frames and segments, and its answer."""
    meter.sent(nonce, Mark(way, session, *sent, float(nonce)))
    return meter.answered(nonce, tally, nonce + 0.02, sent, table)


def test_two_answers_make_an_interval() -> None:
    meter = Meter()
    assert exchange(meter, 1, (10, 100), Tally(10, 100)) is None
    interval = exchange(meter, 2, (30, 500), Tally(30, 500))
    assert interval is not None
    assert (interval.sent, interval.lost, interval.seconds) == (400, 0.0, 1.0)
    assert interval.rtt == pytest.approx(0.02)


def test_frames_that_two_answers_miss_were_lost_with_a_segment_each_or_more() -> None:
    meter = Meter()
    exchange(meter, 1, (0, 0), Tally())
    late = exchange(meter, 2, (100, 1000), Tally(80, 800))
    assert late is not None
    assert (late.lost, late.late) == (0.0, 20)
    lost = exchange(meter, 3, (200, 2000), Tally(180, 1800))
    assert lost is not None
    # 20 of 100 frames of 10 segments: 1 - 0.8 ** 0.1 of the segments.
    assert lost.lost == pytest.approx(1000 * (1 - 0.8**0.1))
    assert lost.late == 0


def test_what_came_late_is_not_lost() -> None:
    meter = Meter()
    exchange(meter, 1, (0, 0), Tally())
    exchange(meter, 2, (100, 100), Tally(90, 90))
    came = exchange(meter, 3, (200, 200), Tally(200, 200))
    assert came is not None
    assert (came.lost, came.late) == (0.0, 0)


def test_losses_that_parity_bore_are_counted_as_told_with_their_bursts() -> None:
    meter, table = Meter(), tuple([3] * 129)
    for nonce in (1, 2, 3):
        exchange(meter, nonce, (10 * nonce, 130 * nonce), Tally(10 * nonce, 130 * nonce), table)
    told = Tally(40, 520, 6, 14, 3)
    interval = exchange(meter, 4, (40, 520), told, table)
    assert interval is not None
    assert (interval.lost, interval.squares, interval.frames) == (6.0, 14.0, 10)
    assert meter.saved == 3


def test_a_frame_lost_in_spite_of_parity_lost_more_than_that() -> None:
    meter, table = Meter(), tuple([3] * 129)
    for nonce in (1, 2, 3):
        exchange(meter, nonce, (10 * nonce, 130 * nonce), Tally(10 * nonce, 130 * nonce), table)
    exchange(meter, 4, (40, 520), Tally(39, 507), table)
    interval = exchange(meter, 5, (50, 650), Tally(49, 637), table)
    assert interval is not None
    assert (interval.lost, interval.squares) == (4.0, 16.0)


def test_another_path_or_session_begins_anew() -> None:
    meter = Meter()
    exchange(meter, 1, (10, 10), Tally(10, 10, recovered=2))
    assert exchange(meter, 2, (20, 20), Tally(15, 15, recovered=5), way="another") is None
    assert meter.saved == 3
    assert exchange(meter, 3, (5, 5), Tally(5, 5, recovered=1), session="another") is None
    assert meter.saved == 3
    assert (
        exchange(meter, 4, (9, 9), Tally(9, 9, recovered=1), session="another", way="another")
        is None
    )


def test_an_answer_that_was_overtaken_tells_nothing() -> None:
    meter = Meter()
    exchange(meter, 1, (10, 10), Tally(10, 10))
    meter.sent(2, Mark(WAY, SESSION, 20, 20, 2.0))
    meter.sent(3, Mark(WAY, SESSION, 30, 30, 3.0))
    assert meter.answered(3, Tally(30, 30), 3.1, (30, 30), ()) is not None
    assert meter.answered(2, Tally(20, 20), 3.2, (30, 30), ()) is None
    assert meter.answered(2, Tally(20, 20), 3.3, (30, 30), ()) is None


def test_probes_by_ways_that_may_not_exist_are_no_loss_of_this_path() -> None:
    meter = Meter()
    meter.stray(SESSION, 0)
    exchange(meter, 1, (0, 0), Tally())
    meter.stray(SESSION, 5)
    meter.stray(SESSION, -1)
    exchange(meter, 2, (105, 105), Tally(101, 101))
    interval = exchange(meter, 3, (205, 205), Tally(201, 201))
    assert interval is not None
    assert interval.lost == 0.0
    meter.stray("another", 1)
    assert exchange(meter, 4, (1, 1), Tally(), session="another") is None


def test_what_was_opened_too_often_hides_little_loss() -> None:
    meter = Meter()
    exchange(meter, 1, (1000, 1000), Tally(500, 500))
    exchange(meter, 2, (1500, 1500), Tally(1500, 1500))
    exchange(meter, 3, (2000, 2000), Tally(2000, 2000))
    exchange(meter, 4, (2500, 2500), Tally(2400, 2400))
    interval = exchange(meter, 5, (3000, 3000), Tally(2900, 2900))
    assert interval is not None
    assert interval.lost == pytest.approx(100 - CREDIT)


@pytest.mark.parametrize(
    "lie",
    [
        Tally(21, 200),
        Tally(20, 201),
        Tally(9, 100),
        Tally(20, 99),
        Tally(20, 200, lost=201, squares=201),
        Tally(20, 200, lost=0, squares=1),
        Tally(20, 200, lost=2, squares=1000),
        Tally(20, 200, lost=2, squares=1),
        Tally(20, 200, recovered=21),
        Tally(1 << 62, 1 << 62, 1 << 62, 1 << 62, 1 << 62),
    ],
)
def test_counters_that_cannot_be_are_refused_and_measuring_begins_anew(lie: Tally) -> None:
    meter = Meter()
    exchange(meter, 1, (10, 100), Tally(10, 100))
    with pytest.raises(RemoteError, match="tally"):
        exchange(meter, 2, (20, 200), lie)
    assert meter.saved == 0
    assert exchange(meter, 3, (30, 300), Tally(30, 300)) is None
    assert exchange(meter, 4, (40, 400), Tally(40, 400)) is not None


def test_probes_without_an_answer_are_forgotten() -> None:
    meter = Meter()
    for nonce in range(MAX_MARKS + 1):
        meter.sent(nonce, Mark(WAY, SESSION, nonce, nonce, 0.0))
    assert meter.find(0) is None
    assert meter.find(1) is not None
    assert meter.find(MAX_MARKS) is not None
