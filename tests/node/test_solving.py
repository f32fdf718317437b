from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.node.solving import PRIME, SYMBOLS, choose_rows, reduced, rotated, solve, wrapped

STEP = 16
TURN = PRIME * STEP


def unknowns(count: int, seed: int) -> list[int]:
    random = Random(seed)
    return [random.getrandbits(SYMBOLS * STEP) for _ in range(count)]


def syndrome(row: int, places: tuple[int, ...], values: list[int]) -> int:
    total = 0
    for place, value in zip(places, values, strict=True):
        total ^= rotated(value, place * row, STEP)
    return total


@given(
    places=st.sets(st.integers(0, PRIME - 1), min_size=1, max_size=8),
    rows=st.data(),
    seed=st.integers(0, 1 << 32),
)
def test_what_is_missing_follows_from_as_many_rows(
    places: set[int], rows: st.DataObject, seed: int
) -> None:
    wanted = tuple(sorted(places))
    some = st.sets(st.integers(0, 15), min_size=len(wanted), max_size=len(wanted))
    chosen = tuple(sorted(rows.draw(some)))
    values = unknowns(len(wanted), seed)
    found = solve(wanted, chosen, [syndrome(row, wanted, values) for row in chosen], STEP)
    if found is None:  # a singular matrix: only where the rows have gaps
        assert choose_rows(chosen, len(chosen)) == chosen
        assert len({b - a for a, b in pairwise(chosen)}) > 1
        return
    size = SYMBOLS * STEP // 8
    assert [reduced(value, STEP) for value in found] == [
        value.to_bytes(size, "little") for value in values
    ]


@pytest.mark.parametrize(
    ("there", "count", "chosen"),
    [
        ([5, 1, 2, 3], 3, (1, 2, 3)),
        ([0, 1, 3, 6, 9], 4, (0, 3, 6, 9)),
        ([0, 1, 3, 7], 3, (0, 1, 3)),
        ([4], 1, (4,)),
        ([0, 9], 2, (0, 9)),
    ],
)
def test_rows_equally_far_apart_are_chosen_if_there_are_any(
    there: list[int], count: int, chosen: tuple[int, ...]
) -> None:
    assert choose_rows(there, count) == chosen


def test_too_few_rows_do_not_do() -> None:
    assert choose_rows([0, 1], 3) is None
    assert choose_rows([], 1) is None


@given(value=st.integers(0, (1 << TURN) - 1), places=st.integers(-200, 200))
def test_rotations_add_up_and_return(value: int, places: int) -> None:
    there = rotated(value, places, STEP)
    assert rotated(there, -places, STEP) == value
    assert rotated(rotated(value, 1, STEP), places - 1, STEP) == there
    assert wrapped(value << STEP, TURN) == rotated(value, 1, STEP)


def test_what_is_a_multiple_of_m_counts_for_nothing() -> None:
    ones = sum(0x1234 << place * STEP for place in range(PRIME))
    [value] = unknowns(1, 3)
    assert reduced(value ^ ones, STEP) == reduced(value, STEP)
    assert not any(reduced(ones, STEP))
