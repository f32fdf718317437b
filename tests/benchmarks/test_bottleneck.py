from __future__ import annotations

from typing import Any

import pytest

from benchmarks.bottleneck import parity_share
from simulations.lab.host import Host


class Answering(Host):
    def __init__(self, answer: dict[str, Any] | None) -> None:
        self.answer = answer

    def status(self) -> dict[str, Any] | None:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, []),
        ({"peers": []}, []),
        ({"peers": [{"path": None}]}, []),
        ({"peers": [{"path": {"kind": "direct"}}]}, []),
        ({"peers": [{"path": {"parity": 0.1}}, {"path": {"parity": 0}}]}, [0.1, 0.0]),
    ],
)
def test_parity_is_read_from_each_path_that_tells_it(
    answer: dict[str, Any] | None, expected: list[float]
) -> None:
    assert parity_share(Answering(answer)) == expected
