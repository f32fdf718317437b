"""Python's cycle collector, told that the objects of a simulation live long.

By default it looks at all that is young after 700 allocations, and at everything whenever a quarter
more is there: with millions of objects that live to the end, that is a tenth of a run. What is not
part of a cycle, which is almost all, is freed at once in any case.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (200_000, 10, 5)
"""Allocations, less what was freed, before the young are looked at; how often the middle-aged are,
and the old."""


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Look for cycles ever so rarely until the end of the block."""
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
