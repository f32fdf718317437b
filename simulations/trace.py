"""What happened in a run, as one hash: two runs of one seed must have the same."""

from __future__ import annotations

from hashlib import blake2b
from typing import TextIO


class Trace:
    """A running hash over lines of text, one line per event.

    Lines hold the virtual time, the kind of event and its fields, so that the first differing line
    of two runs says where they parted. `sink` receives every line, for that comparison.
    """

    def __init__(self, sink: TextIO | None = None) -> None:
        self._hash = blake2b(digest_size=16)
        self._sink = sink
        self.lines = 0

    def record(self, now: float, kind: str, *fields: object) -> None:
        """Add one event at `now` seconds of virtual time; `fields` must print the same each run."""
        line = f"{now:.9f} {kind} {' '.join(map(str, fields))}\n"
        self._hash.update(line.encode())
        self.lines += 1
        if self._sink is not None:
            self._sink.write(line)

    def digest(self) -> str:
        """The hash so far, 32 hexadecimal digits."""
        return self._hash.hexdigest()
