"""Small frames by a second path too, while the one in use is in doubt.

The copy is the same sealed frame, so that the receiver's replay window drops whichever comes later.
It lasts a second at most and has few bytes: a doubt must not become load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from meshd.node.path import Path
from meshd.node.wire import Buffer, Frame

DOUBLE_FOR: Final = 1.0
"""Seconds."""
DOUBLE_BYTES: Final = 65_536
"""Bytes of the copies of one doubt."""
SMALL: Final = 8192
"""Plaintext bytes of a frame that is doubled at most."""


@dataclass(slots=True)
class Double:
    """Where copies go, until when, and how many bytes of them are left."""

    path: Path
    until: float
    left: int = DOUBLE_BYTES

    def takes(self, size: int, now: float) -> bool:
        """Whether a frame of `size` plaintext bytes is to go by both paths."""
        return size <= SMALL and now < self.until and size < self.left

    def copy(self, frame: Frame, prefix: bytes) -> Frame:
        """`frame`, whose headers have `prefix` before them, for the second path; its bytes are its
        own."""
        skip, own = len(prefix), self.path.prefix
        parts: list[Buffer] = [bytes(part) for part in frame.parts]
        parts[::2] = [own + bytes(head)[skip:] for head in parts[::2]]
        grown = len(own) - skip
        size = frame.size + frame.count * grown
        self.left -= size
        return Frame(parts, frame.segment_size + grown, frame.count, self.path.endpoint, size)
