"""What happened in a run, as one hash: two runs of one seed must have the same."""

from __future__ import annotations

from hashlib import blake2b
from typing import TextIO

BLOCK_LINES = 1024


class Trace:
    """A running hash over lines of text, one line per event.

    Lines hold the virtual time, the kind of event and its fields, so that the first differing line
    of two runs says where they parted. `sink` receives every line, for that comparison. They are
    hashed in blocks.
    """

    def __init__(self, sink: TextIO | None = None) -> None:
        self._hash = blake2b(digest_size=16)
        self._sink = sink
        self._lines: list[str] = []
        self._hashed = 0

    @property
    def lines(self) -> int:
        """How many events there were."""
        return self._hashed + len(self._lines)

    def record(self, now: float, kind: str, *fields: object) -> None:
        """Add one event at `now` seconds of virtual time; `fields` must print the same each run."""
        self.line(f"{now:.9f} {kind} {' '.join(map(str, fields))}\n")

    def line(self, line: str) -> None:
        """Add one event as `record` would write it, newline and all: for what happens often."""
        self._lines.append(line)
        if self._sink is not None:
            self._sink.write(line)
        if len(self._lines) >= BLOCK_LINES:
            self._gather()

    def digest(self) -> str:
        """The hash so far, 32 hexadecimal digits."""
        self._gather()
        return self._hash.hexdigest()

    def _gather(self) -> None:
        self._hash.update("".join(self._lines).encode())
        self._hashed += len(self._lines)
        self._lines.clear()
