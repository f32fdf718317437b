"""End-to-end tests run real daemons in namespaces of their own; without root they are skipped."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from simulations.lab.namespaces import Lab, check_requirements
from simulations.lab.waiting import LabError

LOG_TAIL = 40


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows the end of every daemon's log, while the files are still there."""
    report = yield
    if report.failed:
        for log in sorted(Path(tempfile.gettempdir()).glob(f"aegis-{os.getpid()}-*/*/meshd.log")):
            lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
            report.sections.append((f"log of {log.parent.name}", "\n".join(lines)))
    return report
