"""Parity is as much as hides a loss, and no more."""

from __future__ import annotations

from random import Random
from time import perf_counter

import pytest

from meshd.node.parity import MAX_SLICES
from meshd.node.protection import EPSILON, most_parity, parity_table
from meshd.node.wire import MAX_SEGMENTS


def test_a_table_has_the_least_parity_that_hides_the_loss_of_long_frames() -> None:
    assert [parity_table(loss, 1.0)[45] for loss in (0.001, 0.005, 0.01, 0.04)] == [2, 4, 5, 10]


@pytest.mark.parametrize("loss", [0.001, 0.01, 0.04])
def test_frames_fail_as_seldom_as_they_should(loss: float) -> None:
    rng, failed, frames = Random(3), 0, 20_000
    parity = parity_table(loss, 1.0)[20]
    for _ in range(frames):
        failed += sum(rng.random() < loss for _ in range(20 + parity)) > parity
    assert failed <= max(4, 10 * EPSILON * frames)


def test_bursts_ask_for_more_parity_than_the_same_loss_one_by_one() -> None:
    one, three = parity_table(0.005, 1.0), parity_table(0.005, 3.0)
    assert three[45] >= 2 * one[45]


@pytest.mark.parametrize("count", [2, 5, 10])
def test_a_small_frame_seldom_dies_in_a_burst(count: int) -> None:
    rng, failed, frames = Random(5), 0, 20_000
    parity, bad = parity_table(0.01, 5.0)[count], False
    for _ in range(frames):
        lost = 0
        for _ in range(count + parity):
            bad = rng.random() < (2 / 3 if bad else 0.01 / 2.97)
            lost += bad
        failed += lost > parity
    assert failed / frames < 1e-3


def test_parity_hardly_exceeds_half_a_frame_and_never_goes_where_the_code_cannot() -> None:
    table = parity_table(0.4, 10.0)
    assert len(table) == MAX_SEGMENTS + 1
    assert all(parity <= most_parity(count, 10.0) for count, parity in enumerate(table))
    assert [most_parity(count, 1.0) for count in (0, 1, 2, 10, 45)] == [2, 2, 3, 7, 16]
    assert not any(table[MAX_SLICES + 1 :])
    assert table[0] == 0


def test_a_table_costs_less_than_a_few_milliseconds_and_is_kept() -> None:
    parity_table(0.0123, 1.7)
    before = parity_table.cache_info().hits
    begun = perf_counter()
    parity_table(0.0123, 1.7)
    assert parity_table.cache_info().hits == before + 1
    assert perf_counter() - begun < 0.005
