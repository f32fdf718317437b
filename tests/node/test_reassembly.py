from __future__ import annotations

from random import Random

import pytest

from meshd.node import parity
from meshd.node.reassembly import (
    MAX_AGE,
    MAX_BYTES,
    MAX_FRAMES,
    MAX_LOST,
    MAX_VAIN,
    REASONS,
    ByteBudget,
    Reassembler,
    Shape,
)
from meshd.node.wire import MAX_PACKET


def add(
    reassembler: Reassembler, counter: int, index: int, count: int, piece: bytes, now: float
) -> bytes | None:
    """One segment of a frame without parity."""
    joined = reassembler.add(Shape(counter, count), bytes([index % 256]), (piece,), now)
    assert joined is None or not (joined.absent or joined.solved)
    return joined.sealed if joined is not None else None


def dropped(reassembler: Reassembler) -> dict[str, int]:
    """The reasons that counted something."""
    return {reason: n for reason, n in reassembler.statistics().dropped.items() if n}


def test_slices_in_any_order_make_the_frame() -> None:
    reassembler = Reassembler(ByteBudget())
    assert add(reassembler, 1, 2, 3, b"c", 0.0) is None
    assert add(reassembler, 1, 0, 3, b"aaa", 0.0) is None
    assert add(reassembler, 1, 1, 3, b"bbb", 0.0) == b"aaabbbc"
    statistics = reassembler.statistics()
    assert (statistics.joined, statistics.frames, statistics.size) == (1, 0, 0)


def test_a_frame_of_one_slice_passes_straight_through() -> None:
    reassembler = Reassembler(ByteBudget(0))
    assert add(reassembler, 1, 0, 1, b"whole", 0.0) == b"whole"


def test_frames_do_not_mix() -> None:
    reassembler = Reassembler(ByteBudget())
    add(reassembler, 1, 0, 2, b"a1", 0.0)
    add(reassembler, 2, 0, 2, b"a2", 0.0)
    assert add(reassembler, 1, 1, 2, b"b1", 0.0) == b"a1b1"
    assert add(reassembler, 2, 1, 2, b"b2", 0.0) == b"a2b2"


def test_a_duplicate_changes_nothing() -> None:
    reassembler = Reassembler(ByteBudget())
    add(reassembler, 1, 0, 2, b"first", 0.0)
    assert add(reassembler, 1, 0, 2, b"other", 0.0) is None
    assert add(reassembler, 1, 1, 2, b"end", 0.0) == b"firstend"
    assert reassembler.statistics().duplicates == 1


@pytest.mark.parametrize(
    ("index", "count", "piece"),
    [(0, 0, b"x"), (1, 1, b"x"), (2, 2, b"x"), (-1, 2, b"x"), (0, 129, b"x"), (0, 2, b"")],
)
def test_a_slice_that_no_frame_has_is_dropped(index: int, count: int, piece: bytes) -> None:
    reassembler = Reassembler(ByteBudget())
    assert add(reassembler, 1, index, count, piece, 0.0) is None
    assert dropped(reassembler) == {"malformed": 1}
    assert reassembler.statistics().frames == 0


@pytest.mark.parametrize(
    "slices",
    [
        [(0, 3, 10), (1, 3, 9)],
        [(0, 3, 10), (1, 3, 11)],
        [(0, 3, 10), (2, 3, 11)],
        [(2, 3, 10), (0, 3, 9)],
        [(0, 3, 10), (1, 4, 10)],
        [(0, 3, 10), (1, 2, 10)],
        [(0, 3, 10), (0, 4, 10)],
    ],
)
def test_a_slice_that_disagrees_is_dropped_and_the_frame_kept(
    slices: list[tuple[int, int, int]],
) -> None:
    reassembler = Reassembler(ByteBudget())
    for index, count, size in slices:
        assert add(reassembler, 1, index, count, bytes(size), 0.0) is None
    assert dropped(reassembler) == {"mismatch": 1}
    assert reassembler.statistics().frames == 1


def test_a_frame_is_given_up_after_its_time() -> None:
    budget = ByteBudget()
    reassembler = Reassembler(budget)
    assert reassembler.next_expiry() is None
    add(reassembler, 1, 0, 2, b"a", 10.0)
    add(reassembler, 2, 0, 2, b"a", 11.0)
    assert reassembler.next_expiry() == 10.0 + MAX_AGE
    assert add(reassembler, 1, 1, 2, b"b", 12.0) is None
    assert dropped(reassembler) == {"expired": 1}
    assert add(reassembler, 2, 1, 2, b"b", 12.9) == b"ab"
    reassembler.expire(13.9)
    assert reassembler.statistics().frames == 1
    reassembler.expire(14.0)
    assert reassembler.statistics().frames == budget.used == 0


def test_the_oldest_frame_makes_room_for_one_too_many() -> None:
    reassembler = Reassembler(ByteBudget())
    for counter in range(MAX_FRAMES + 1):
        add(reassembler, counter, 0, 2, b"a", 0.0)
    assert reassembler.statistics().frames == MAX_FRAMES
    assert dropped(reassembler) == {"evicted": 1}
    assert add(reassembler, 1, 1, 2, b"b", 0.0) == b"ab"
    assert add(reassembler, 0, 1, 2, b"b", 0.0) is None


def test_a_full_table_still_takes_the_slices_of_its_own_frames() -> None:
    reassembler = Reassembler(ByteBudget())
    for counter in range(MAX_FRAMES):
        add(reassembler, counter, 0, 2, b"a", 0.0)
    for counter in reversed(range(MAX_FRAMES)):
        assert add(reassembler, counter, 1, 2, b"b", 0.0) == b"ab"
    assert dropped(reassembler) == {}


def test_the_oldest_frames_make_room_for_bytes() -> None:
    budget = ByteBudget()
    reassembler = Reassembler(budget)
    piece = bytes(MAX_BYTES // 8)
    for counter in range(8):
        add(reassembler, counter, 0, 2, piece, 0.0)
    assert reassembler.statistics().size == budget.used == MAX_BYTES
    assert add(reassembler, 7, 1, 2, b"end", 0.0) == piece + b"end"
    assert dropped(reassembler) == {"evicted": 1}
    assert add(reassembler, 0, 1, 2, b"end", 0.0) is None


def test_a_slice_whose_own_frame_had_to_go_goes_with_it() -> None:
    reassembler = Reassembler(ByteBudget(10))
    add(reassembler, 1, 0, 3, b"12345678", 0.0)
    assert add(reassembler, 1, 1, 3, b"12345678", 0.0) is None
    statistics = reassembler.statistics()
    assert (statistics.frames, statistics.size) == (0, 0)
    assert dropped(reassembler) == {"evicted": 1}


def test_a_frame_over_the_sessions_bytes_is_refused_at_once() -> None:
    reassembler = Reassembler(ByteBudget())
    add(reassembler, 1, 0, 2, b"kept", 0.0)
    assert add(reassembler, 2, 0, 128, bytes(MAX_BYTES // 128 + 1), 0.0) is None
    assert dropped(reassembler) == {"oversized": 1}
    assert add(reassembler, 1, 1, 2, b"end", 0.0) == b"keptend"


def test_the_nodes_bytes_are_shared_and_given_back() -> None:
    budget = ByteBudget(100)
    one, two = Reassembler(budget), Reassembler(budget)
    add(one, 1, 0, 2, bytes(90), 0.0)
    assert add(two, 1, 0, 2, bytes(20), 0.0) is None
    assert dropped(two) == {"budget": 1}
    assert dropped(one) == {}
    add(two, 2, 0, 2, bytes(10), 0.0)
    assert budget.used == 100
    one.close()
    assert budget.used == 10
    assert one.statistics().frames == 0
    assert add(two, 1, 0, 2, bytes(20), 0.0) is None
    two.close()
    assert budget.used == 0


def test_every_reason_is_counted_from_zero() -> None:
    assert Reassembler(ByteBudget()).statistics().dropped == dict.fromkeys(REASONS, 0)


def protected(slices: int, parities: int, seed: int = 1) -> tuple[bytes, list[bytes]]:
    """A frame, and its slices followed by their parities."""
    frame = Random(seed).randbytes(slices * 52)
    pieces = [frame[at : at + 52] for at in range(0, len(frame), 52)]
    return frame, pieces + parity.encode(frame, slices, parities)


def test_parity_stands_in_for_lost_slices() -> None:
    frame, segments = protected(5, 3)
    reassembler = Reassembler(ByteBudget())
    shape = Shape(7, 5, 3)
    assert reassembler.add(shape, bytes([0, 3]), (segments[0], segments[3]), 0.0) is None
    assert reassembler.add(shape, bytes([5, 7]), (segments[5], segments[7]), 0.0) is None
    joined = reassembler.add(shape, bytes([4]), (segments[4],), 0.0)
    assert joined == (frame, 3, 2)
    assert reassembler.statistics().size == 0


def test_a_run_with_all_slices_needs_no_parity() -> None:
    frame, segments = protected(3, 2)
    reassembler = Reassembler(ByteBudget())
    joined = reassembler.add(Shape(1, 3, 2), bytes(range(4)), segments[:4], 0.0)
    assert joined == (frame, 1, 0)


def test_any_segment_is_enough_of_a_frame_of_one() -> None:
    frame, segments = protected(1, 2)
    assert segments == [frame] * 3
    reassembler = Reassembler(ByteBudget(0))
    assert reassembler.add(Shape(1, 1, 2), bytes([2]), (segments[2],), 0.0) == (frame, 2, 1)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (Shape(1, 54, 1), "malformed"),
        (Shape(1, 2, parity.MAX_PARITIES + 1), "malformed"),
        (Shape(1, 2, 2), "mismatch"),
    ],
)
def test_parity_that_cannot_be_is_dropped(shape: Shape, reason: str) -> None:
    reassembler = Reassembler(ByteBudget())
    assert reassembler.add(shape, bytes([shape.slices]), (bytes(53),), 0.0) is None
    assert dropped(reassembler) == {reason: 1}


def test_the_last_slice_twice_says_nothing_of_the_size_of_the_others() -> None:
    reassembler = Reassembler(ByteBudget())
    assert reassembler.add(Shape(1, 2), bytes([1, 1]), (b"!", b"!"), 0.0) is None
    assert reassembler.add(Shape(1, 2), bytes([0]), (b"hello",), 0.0) == (b"hello!", 0, 0)
    assert dropped(reassembler) == {}


@pytest.mark.parametrize(
    ("shape", "last"), [(Shape(1, 3, 2), 4), (Shape(1, 3, 2), 2), (Shape(1, 3), 1)]
)
def test_segments_of_one_batch_are_of_one_size(shape: Shape, last: int) -> None:
    reassembler = Reassembler(ByteBudget())
    assert reassembler.add(shape, bytes([0, last]), (bytes(104), bytes(52)), 0.0) is None
    assert dropped(reassembler) == {"mismatch": 2}


def test_parity_for_more_than_a_packet_is_not_computed() -> None:
    reassembler = Reassembler(ByteBudget())
    size = MAX_PACKET // 2 // 52 * 52
    assert reassembler.add(Shape(1, 3, 1), bytes([0]), (bytes(size),), 0.0) is None
    assert dropped(reassembler) == {"oversized": 1}
    assert reassembler.add(Shape(1, 2, 1), bytes([0]), (bytes(size),), 0.0) is None
    assert dropped(reassembler) == {"oversized": 1}


def test_parity_does_not_bring_back_more_slices_than_are_soon_solved() -> None:
    frame, segments = protected(20, 16)
    reassembler, shape = Reassembler(ByteBudget()), Shape(1, 20, 16)
    few = MAX_LOST + 1
    here = bytes([*range(few, 20), *range(20, 20 + few)])
    assert reassembler.add(shape, here, [segments[index] for index in here], 0.0) is None
    joined = reassembler.add(shape, bytes([0]), segments[:1], 0.0)
    assert joined == (frame, 16 - few + MAX_LOST, MAX_LOST)


def test_parity_that_lies_is_computed_so_many_times_a_second_and_no_more() -> None:
    reassembler = Reassembler(ByteBudget())
    _, segments = protected(20, 10)

    def solve(counter: int, now: float, slices: int = 20) -> bool:
        shape = Shape(counter, slices, 10)
        here = bytes(range(10, 30)) if slices == 20 else bytes([1])
        joined = reassembler.add(shape, here, [segments[index] for index in here], now)
        if joined is not None:
            reassembler.forged(shape, joined, now)
        return joined is not None

    for now in (0.0, 10.0):
        vain = [solve(100 * int(now) + counter, now) for counter in range(40)]
        assert sum(vain) == MAX_VAIN / 10
        assert all(solve(5000 + counter, now, 1) for counter in range(100))  # these cost nothing
    assert sum(solve(9000 + counter, 12.0 + counter / 100) for counter in range(200)) < 32
    assert dropped(reassembler)["doubted"] > 200
    assert reassembler.statistics().frames <= MAX_FRAMES


def test_segments_that_tell_of_different_frames_do_not_mix() -> None:
    _, segments = protected(2, 2)
    reassembler = Reassembler(ByteBudget())
    reassembler.add(Shape(1, 2, 2), bytes([0]), segments[:1], 0.0)
    assert reassembler.add(Shape(1, 2, 1), bytes([1]), segments[1:2], 0.0) is None
    assert dropped(reassembler) == {"mismatch": 1}
