from __future__ import annotations

import pytest

from benchmarks.rows import Row, collect
from simulations.lab.waiting import LabError


def test_contenders_take_turns_and_each_round_starts_with_another() -> None:
    asked = []

    def trial(name: str) -> dict[str, float]:
        asked.append(name)
        return {"rate": float(len(asked)), "cost": 1.0}

    row = Row("rate", {"a": lambda: trial("a"), "b": lambda: trial("b")})
    samples = collect([row], 3)
    assert asked == ["a", "b", "b", "a", "a", "b"]
    assert samples["rate"] == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}
    assert samples["cost"]["a"] == [1.0, 1.0, 1.0]


def test_a_failed_trial_is_repeated_once(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[int] = []

    def trial() -> dict[str, float]:
        asked.append(1)
        if len(asked) == 1:
            raise LabError("iperf3 gave no result")
        return {"rate": 2.0}

    assert collect([Row("rate", {"a": trial})], 1) == {"rate": {"a": [2.0]}}
    assert "once more, since iperf3 gave no result" in capsys.readouterr().err


def test_a_trial_that_fails_twice_ends_the_run() -> None:
    def trial() -> dict[str, float]:
        raise LabError("no")

    with pytest.raises(LabError):
        collect([Row("rate", {"a": trial})], 1)
