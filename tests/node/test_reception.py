from __future__ import annotations

from meshd.node.reception import MAX_AWAITED, Reception


def test_a_whole_frame_has_lost_nothing() -> None:
    reception = Reception()
    reception.frame(0, 45)
    assert (reception.opened, reception.expected, reception.lost) == (1, 45, 0)


def test_what_follows_a_frame_is_not_lost() -> None:
    reception = Reception()
    reception.frame(3, 12, 4)
    assert reception.late(3, 3)
    assert reception.late(3, 1)
    assert not reception.late(3, 1)
    reception.settle(10)
    assert (reception.lost, reception.squares) == (0, 0)


def test_what_does_not_follow_is_lost_when_settled() -> None:
    reception = Reception()
    reception.frame(3, 12, 4, recovered=True)
    reception.frame(4, 12, 2)
    assert reception.late(3, 1)
    reception.settle(4)
    assert (reception.lost, reception.squares, reception.recovered) == (3, 9, 1)
    assert reception.late(4, 2)
    assert not reception.late(3, 1)


def test_only_so_many_frames_are_waited_for() -> None:
    reception = Reception()
    for counter in range(MAX_AWAITED + 1):
        reception.frame(counter, 5, 2)
    assert reception.lost == 2
    assert not reception.late(0, 1)
    assert reception.late(1, 1)


def test_segments_of_no_frame_that_was_opened_count_for_nothing() -> None:
    reception = Reception()
    assert not reception.late(5, 1)
    assert reception.expected == 0
