from __future__ import annotations

import pytest

from simulations.plan import Fault, Options


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault("crash", (3,)), "at 0 s: crash hosts 3"),
        (Fault("crash", (3, 4, 5, 9), 1.5, final=True), "at 1.5 s: crash hosts 3-5,9 for good"),
        (Fault("split", (2, 0, 1), 0.0, 60.0, 2), "at 0 s: split 2 hosts 2,0-1 for 60 s"),
        (Fault("mute", (1,), others=(2,)), "at 0 s: mute hosts 1 to hosts 2"),
        (Fault("lossy", value=0.1), "at 0 s: lossy 0.1 everyone"),
    ],
)
def test_a_fault_is_told_in_one_line(fault: Fault, text: str) -> None:
    assert str(fault) == text


def test_the_command_has_what_differs_from_a_whole_run() -> None:
    base = "python -m simulations run test --nodes 4 --seed 7"
    assert Options(4, 7).command("test") == base
    assert Options(4, 7, (1, 3), 2.5).command("test") == f"{base} --without 1,3 --until 2.5"


def test_faults_keep_their_number_when_others_are_left_out() -> None:
    plan = [Fault("crash", (n,), at=float(n)) for n in range(5)]
    assert list(Options(4, 7).kept(plan)) == [0, 1, 2, 3, 4]
    assert Options(4, 7, (0, 2), 3.5).kept(plan) == {1: plan[1], 3: plan[3]}
