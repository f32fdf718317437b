"""Which counters of a session have been seen: RFC 6479's window."""

from __future__ import annotations

from typing import Final

WINDOW: Final = 8192
"""Counters back from the highest that may still arrive."""


class ReplayWindow:
    """Ask `check` before a frame is authenticated, and `commit` after it was."""

    __slots__ = ()

    def check(self, counter: int) -> bool:
        """Whether `counter` (u64) is new: not seen, and not too old to tell."""
        raise NotImplementedError

    def commit(self, counter: int) -> None:
        """Take a counter that `check` allowed and whose frame is authentic."""
        raise NotImplementedError
