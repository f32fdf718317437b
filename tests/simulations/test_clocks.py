from __future__ import annotations

import pytest

from simulations.clocks import HostClock


def test_a_clock_reads_the_worlds_time_until_it_is_adjusted() -> None:
    clock = HostClock()
    assert clock.local(12.5) == 12.5
    assert clock.world(12.5) == 12.5


def test_a_jump_stays_and_a_drift_grows() -> None:
    clock = HostClock()
    clock.adjust(100.0, 5.0, 0.0)
    assert clock.local(100.0) == 105.0
    clock.adjust(200.0, 0.0, 0.01)
    assert clock.local(200.0) == 205.0
    assert clock.local(300.0) == pytest.approx(306.0)
    assert clock.world(clock.local(333.3)) == pytest.approx(333.3)


@pytest.mark.parametrize(("jump_s", "drift"), [(-0.1, 0.0), (0.0, -1.0)])
def test_a_clock_never_goes_back_or_stands_still(jump_s: float, drift: float) -> None:
    clock = HostClock()
    with pytest.raises(ValueError, match="monotonic"):
        clock.adjust(1.0, jump_s, drift)
    assert clock.local(2.0) == 2.0
