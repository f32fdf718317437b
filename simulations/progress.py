"""One line that says how far a long run is, redrawn in place while it works."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

WIDTH: Final = 24
EVERY_S: Final = 0.5
CLEAR: Final = "\r\x1b[K"
"""Back to the line's first column, and erase it (ECMA-48, EL)."""


def bar(done: float, total: float) -> str:
    """`[######......]  50 %`; an unknown total (0) shows no share."""
    share = min(1.0, max(0.0, done / total)) if total > 0 else 0.0
    filled = int(share * WIDTH)
    return f"[{'#' * filled}{'.' * (WIDTH - filled)}] {100 * share:3.0f} %"


@contextmanager
def shown(
    describe: Callable[[], str], stream: TextIO | None, every_s: float = EVERY_S
) -> Iterator[None]:
    """While the block runs, write what `describe` says to `stream` every `every_s` real seconds.

    A run that ends sooner shows nothing. `describe` is called in a thread of its own and must only
    look. Without a stream nothing happens at all.
    """
    if stream is None:
        yield
        return
    over = threading.Event()

    def redraw() -> None:
        drawn = False
        while not over.wait(every_s):
            stream.write(CLEAR + describe())
            stream.flush()
            drawn = True
        if drawn:
            stream.write(CLEAR)
            stream.flush()

    thread = threading.Thread(target=redraw, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
