from __future__ import annotations

import pytest

from simulations.scenarios.records import SCENARIOS
from tests.simulations.scenarios.played import play


@pytest.mark.parametrize(
    ("name", "nodes"), [(s.name, n) for s in SCENARIOS for n in (s.nodes_min, 9)]
)
def test_what_hosts_say_holds_until_they_take_it_back(name: str, nodes: int) -> None:
    play(name, nodes)


def test_a_revocation_has_its_targets_and_its_curve() -> None:
    report = play("revocation", 9)
    assert [target.name for target in report.targets] == [
        "a revocation reaches 99 %",
        "one made in a split is everywhere after it",
    ]
    curve = report.series["revocation, share by seconds"]
    assert curve[-1][1] == 1.0  # type: ignore[index]
