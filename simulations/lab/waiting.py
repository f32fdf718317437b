"""What goes wrong in the lab, and the one place where it waits for something to go right."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class LabError(Exception):
    """The lab cannot be built here, or something in it did not happen; the text is one sentence."""


class DeadlineError(LabError):
    """A condition did not come true in time."""


def wait_until(
    condition: Callable[[], T | None],
    what: str,
    deadline_s: float,
    *,
    interval_s: float = 0.05,
    detail: Callable[[], str] | None = None,
) -> T:
    """Poll ``condition`` every ``interval_s`` seconds and return its first true value.

    ``what`` completes the sentence "waited ... s for"; ``detail``, asked once at the end, says what
    was there instead. Raises DeadlineError after ``deadline_s`` seconds; the condition is always
    asked at least twice, so that a slow one is not failed for its own slowness.
    """
    end = time.monotonic() + deadline_s
    asked = 0
    while True:
        value = condition()
        asked += 1
        if value:
            return value
        if time.monotonic() >= end and asked > 1:
            found = f": {detail()}" if detail else ""
            raise DeadlineError(f"waited {deadline_s:g} s for {what}{found}")
        time.sleep(interval_s)
