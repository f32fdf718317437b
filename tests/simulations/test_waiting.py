from __future__ import annotations

import pytest

from simulations.lab.waiting import DeadlineError, wait_until


def test_the_first_true_value_is_returned() -> None:
    values = iter([None, 0, "yes", "later"])
    assert wait_until(lambda: next(values), "a value", 5.0, interval_s=0) == "yes"


def test_the_deadline_says_what_was_awaited_and_what_was_there() -> None:
    with pytest.raises(DeadlineError, match=r"^waited 0 s for tea: only coffee$"):
        wait_until(lambda: False, "tea", 0.0, detail=lambda: "only coffee")


def test_a_slow_condition_is_asked_again_after_the_deadline() -> None:
    values = iter([False, True])
    assert wait_until(lambda: next(values), "the second answer", 0.0, interval_s=0)
