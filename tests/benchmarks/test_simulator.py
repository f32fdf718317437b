from __future__ import annotations

import pytest

from benchmarks import simulator
from benchmarks.simulator import Case, measure
from simulations.lab.waiting import LabError


@pytest.mark.parametrize("partial", [False, True])
def test_a_mesh_left_to_itself_is_timed(partial: bool) -> None:
    speed = measure(Case("small", 40, partial, 10.0))
    assert speed.times_real > 1
    assert speed.events_per_s > 100
    assert 10 < speed.bytes_per_s < 2000
    assert speed.memory_mb > 10


def test_sizes_that_cannot_be_measured_are_refused() -> None:
    with pytest.raises(LabError, match="--many from 2"):
        simulator.main(["--many", "1"])
