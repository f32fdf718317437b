from __future__ import annotations

import pytest

from meshd.node.reassembly import (
    MAX_AGE,
    MAX_BYTES,
    MAX_FRAMES,
    REASONS,
    ByteBudget,
    Reassembler,
)


def dropped(reassembler: Reassembler) -> dict[str, int]:
    """The reasons that counted something."""
    return {reason: n for reason, n in reassembler.statistics().dropped.items() if n}


def test_slices_in_any_order_make_the_frame() -> None:
    reassembler = Reassembler(ByteBudget())
    assert reassembler.add(1, 2, 3, b"c", 0.0) is None
    assert reassembler.add(1, 0, 3, b"aaa", 0.0) is None
    assert reassembler.add(1, 1, 3, b"bbb", 0.0) == b"aaabbbc"
    statistics = reassembler.statistics()
    assert (statistics.joined, statistics.frames, statistics.size) == (1, 0, 0)


def test_a_frame_of_one_slice_passes_straight_through() -> None:
    reassembler = Reassembler(ByteBudget(0))
    assert reassembler.add(1, 0, 1, memoryview(b"whole"), 0.0) == b"whole"


def test_slices_are_copied_out_of_the_receive_buffer() -> None:
    reassembler = Reassembler(ByteBudget())
    buffer = bytearray(b"one")
    reassembler.add(1, 0, 2, memoryview(buffer), 0.0)
    buffer[:] = b"two"
    assert reassembler.add(1, 1, 2, memoryview(buffer), 0.0) == b"onetwo"


def test_frames_do_not_mix() -> None:
    reassembler = Reassembler(ByteBudget())
    reassembler.add(1, 0, 2, b"a1", 0.0)
    reassembler.add(2, 0, 2, b"a2", 0.0)
    assert reassembler.add(1, 1, 2, b"b1", 0.0) == b"a1b1"
    assert reassembler.add(2, 1, 2, b"b2", 0.0) == b"a2b2"


def test_a_duplicate_changes_nothing() -> None:
    reassembler = Reassembler(ByteBudget())
    reassembler.add(1, 0, 2, b"first", 0.0)
    assert reassembler.add(1, 0, 2, b"other", 0.0) is None
    assert reassembler.add(1, 1, 2, b"end", 0.0) == b"firstend"
    assert reassembler.statistics().duplicates == 1


@pytest.mark.parametrize(
    ("index", "count", "piece"),
    [(0, 0, b"x"), (1, 1, b"x"), (2, 2, b"x"), (-1, 2, b"x"), (0, 129, b"x"), (0, 2, b"")],
)
def test_a_slice_that_no_frame_has_is_dropped(index: int, count: int, piece: bytes) -> None:
    reassembler = Reassembler(ByteBudget())
    assert reassembler.add(1, index, count, piece, 0.0) is None
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
        assert reassembler.add(1, index, count, bytes(size), 0.0) is None
    assert dropped(reassembler) == {"mismatch": 1}
    assert reassembler.statistics().frames == 1


def test_a_frame_is_given_up_after_its_time() -> None:
    budget = ByteBudget()
    reassembler = Reassembler(budget)
    assert reassembler.next_expiry() is None
    reassembler.add(1, 0, 2, b"a", 10.0)
    reassembler.add(2, 0, 2, b"a", 11.0)
    assert reassembler.next_expiry() == 10.0 + MAX_AGE
    assert reassembler.add(1, 1, 2, b"b", 12.0) is None
    assert dropped(reassembler) == {"expired": 1}
    assert reassembler.add(2, 1, 2, b"b", 12.9) == b"ab"
    reassembler.expire(13.9)
    assert reassembler.statistics().frames == 1
    reassembler.expire(14.0)
    assert reassembler.statistics().frames == budget.used == 0


def test_the_oldest_frame_makes_room_for_one_too_many() -> None:
    reassembler = Reassembler(ByteBudget())
    for counter in range(MAX_FRAMES + 1):
        reassembler.add(counter, 0, 2, b"a", 0.0)
    assert reassembler.statistics().frames == MAX_FRAMES
    assert dropped(reassembler) == {"evicted": 1}
    assert reassembler.add(1, 1, 2, b"b", 0.0) == b"ab"
    assert reassembler.add(0, 1, 2, b"b", 0.0) is None


def test_a_full_table_still_takes_the_slices_of_its_own_frames() -> None:
    reassembler = Reassembler(ByteBudget())
    for counter in range(MAX_FRAMES):
        reassembler.add(counter, 0, 2, b"a", 0.0)
    for counter in reversed(range(MAX_FRAMES)):
        assert reassembler.add(counter, 1, 2, b"b", 0.0) == b"ab"
    assert dropped(reassembler) == {}


def test_the_oldest_frames_make_room_for_bytes() -> None:
    budget = ByteBudget()
    reassembler = Reassembler(budget)
    piece = bytes(MAX_BYTES // 8)
    for counter in range(8):
        reassembler.add(counter, 0, 2, piece, 0.0)
    assert reassembler.statistics().size == budget.used == MAX_BYTES
    assert reassembler.add(7, 1, 2, b"end", 0.0) == piece + b"end"
    assert dropped(reassembler) == {"evicted": 1}
    assert reassembler.add(0, 1, 2, b"end", 0.0) is None


def test_a_slice_whose_own_frame_had_to_go_goes_with_it() -> None:
    reassembler = Reassembler(ByteBudget(10))
    reassembler.add(1, 0, 3, b"12345678", 0.0)
    assert reassembler.add(1, 1, 3, b"12345678", 0.0) is None
    statistics = reassembler.statistics()
    assert (statistics.frames, statistics.size) == (0, 0)
    assert dropped(reassembler) == {"evicted": 1}


def test_a_frame_over_the_sessions_bytes_is_refused_at_once() -> None:
    reassembler = Reassembler(ByteBudget())
    reassembler.add(1, 0, 2, b"kept", 0.0)
    assert reassembler.add(2, 0, 128, bytes(MAX_BYTES // 128 + 1), 0.0) is None
    assert dropped(reassembler) == {"oversized": 1}
    assert reassembler.add(1, 1, 2, b"end", 0.0) == b"keptend"


def test_the_nodes_bytes_are_shared_and_given_back() -> None:
    budget = ByteBudget(100)
    one, two = Reassembler(budget), Reassembler(budget)
    one.add(1, 0, 2, bytes(90), 0.0)
    assert two.add(1, 0, 2, bytes(20), 0.0) is None
    assert dropped(two) == {"budget": 1}
    assert dropped(one) == {}
    two.add(2, 0, 2, bytes(10), 0.0)
    assert budget.used == 100
    one.close()
    assert budget.used == 10
    assert one.statistics().frames == 0
    assert two.add(1, 0, 2, bytes(20), 0.0) is None
    two.close()
    assert budget.used == 0


def test_every_reason_is_counted_from_zero() -> None:
    assert Reassembler(ByteBudget()).statistics().dropped == dict.fromkeys(REASONS, 0)
