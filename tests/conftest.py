"""What all tests share: how hard hypothesis looks, and that CI skips nothing.

`--hypothesis-profile=fuzz` searches long. With CI set, hypothesis repeats the same examples, and a
test that would be skipped fails.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("mesh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "repeatable", parent=settings.get_profile("mesh"), derandomize=True, database=None
)
settings.register_profile("fuzz", parent=settings.get_profile("mesh"), max_examples=20_000)
settings.load_profile("repeatable" if os.environ.get("CI") else "mesh")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI, what cannot run fails, with the reason that it would have been skipped for."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} cannot run here, and CI skips nothing: {report.longrepr}"
    return report
