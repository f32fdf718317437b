"""What happened in a run, as one hash: two runs of one seed must have the same."""

from __future__ import annotations

import marshal
from hashlib import blake2b
from typing import Final, TextIO

BLOCK_EVENTS: Final = 1024

_FORMAT: Final = 2
"""Of `marshal`: the last one whose bytes follow from the values alone, not from their identity."""


class Trace:
    """A running hash over all events: the virtual time, the kind of event and its fields.

    `sink` receives each as a line of text, so that the first differing line of two runs says where
    they parted. Events are hashed in blocks, without making text of them. Times count in whole
    nanoseconds: what platforms round differently is far below that.
    """

    def __init__(self, sink: TextIO | None = None) -> None:
        self._hash = blake2b(digest_size=16)
        self._sink = sink
        self._events: list[tuple[int, tuple[str | int, ...]]] = []
        self._hashed = 0

    @property
    def events(self) -> int:
        """How many events there were."""
        return self._hashed + len(self._events)

    def record(self, now: float, kind: str, *fields: object) -> None:
        """Add one event at `now` seconds of virtual time; `fields` must print the same each run."""
        self.event(now, kind, *map(str, fields))

    def event(self, now: float, *fields: str | int) -> None:
        """Add one event, its kind first: for what happens often."""
        events = self._events
        events.append((int(now * 1e9), fields))
        if self._sink is not None:
            self._sink.write(f"{now:.9f} {' '.join(map(str, fields))}\n")
        if len(events) >= BLOCK_EVENTS:
            self._gather()

    def digest(self) -> str:
        """The hash so far, 32 hexadecimal digits."""
        so_far = self._hash.copy()
        so_far.update(marshal.dumps(self._events, _FORMAT))
        return so_far.hexdigest()

    def _gather(self) -> None:
        self._hash.update(marshal.dumps(self._events, _FORMAT))
        self._hashed += len(self._events)
        self._events.clear()
