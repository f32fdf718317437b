"""End-to-end tests run real daemons in namespaces of their own; without root they are skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulations.lab.namespaces import Lab, check_requirements
from simulations.lab.waiting import LabError


@pytest.fixture(scope="session", autouse=True)
def requirements() -> None:
    try:
        check_requirements()
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made
