from __future__ import annotations

import os

import pytest

from benchmarks.measure import MEASURES, UNITS, cpu_seconds, percentile, unit


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1.0), (50, 50.0), (99, 99.0), (99.9, 100.0), (100, 100.0)]
)
def test_a_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected


def test_of_one_value_every_percentile_is_that_value() -> None:
    assert percentile([7.0], 99.9) == 7.0


def test_every_measure_has_a_unit() -> None:
    assert set(MEASURES) <= set(UNITS)
    assert unit("lossy bbr 0.5 %") == "Mbit/s"


def test_the_cpu_time_of_a_process_grows_with_its_work() -> None:
    before = cpu_seconds(os.getpid())
    assert before > 0
    while cpu_seconds(os.getpid()) < before + 0.02:
        sum(range(10_000))
