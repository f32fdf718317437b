"""The cycle collector is left as it was found."""

from __future__ import annotations

import gc

import pytest

from simulations.garbage import THRESHOLDS, rarely_collected


def test_cycles_are_looked_for_rarely_and_then_as_before() -> None:
    before = gc.get_threshold()
    with rarely_collected():
        assert gc.get_threshold() == THRESHOLDS
        assert gc.isenabled()
    assert gc.get_threshold() == before


def test_an_error_does_not_leave_it_changed() -> None:
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="out"), rarely_collected():
        raise ValueError("out")
    assert gc.get_threshold() == before
