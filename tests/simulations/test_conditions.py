from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from simulations.conditions import Conditions


def test_conditions_are_values() -> None:
    assert Conditions(loss=0.1) == Conditions(loss=0.1)
    with pytest.raises(FrozenInstanceError):
        Conditions().loss = 0.5  # type: ignore[misc]


def test_the_world_has_the_round_trip_that_was_asked_for() -> None:
    assert Conditions.wan().rtt_p50_s == 0.080
    assert Conditions.wan(0.2, loss=0.05) == Conditions.wan(rtt_p50_s=0.2, loss=0.05)
