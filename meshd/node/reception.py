"""What came of the frames that a session's peer sent: its loss is known here, and needed there.

Only authenticated frames are counted, so nobody else can make a peer believe in loss, or in none.
"""

from __future__ import annotations

from typing import Final

MAX_AWAITED: Final = 64
"""Frames whose last segments are still waited for."""


class Reception:
    """Counts since a session began, of frames that were opened and of their segments.

    A frame is opened as soon as enough of it is here, so some of its segments follow it: those
    that have not come when 64 later frames have, or when `settle` is called, are lost.
    """

    __slots__ = ("_awaited", "expected", "lost", "opened", "recovered", "squares")

    def __init__(self) -> None:
        self.opened = 0
        """Frames."""
        self.expected = 0
        """Their segments, parity included."""
        self.lost = 0
        """Those that never came."""
        self.squares = 0
        """The sum over frames of the square of those: more than `lost` where losses cluster."""
        self.recovered = 0
        """Frames that parity made whole."""
        self._awaited: dict[int, int] = {}

    def frame(self, counter: int, segments: int, absent: int = 0, recovered: bool = False) -> None:
        """A frame of so many segments was opened when `absent` of them were not here."""
        self.opened += 1
        self.expected += segments
        self.recovered += recovered
        if absent:
            self._awaited[counter] = absent
            if len(self._awaited) > MAX_AWAITED:
                self._lose(next(iter(self._awaited)))

    def late(self, counter: int, segments: int) -> bool:
        """Segments of a frame that was opened before; False if none of it were missing."""
        absent = self._awaited.get(counter)
        if absent is None:
            return False
        if segments < absent:
            self._awaited[counter] = absent - segments
        else:
            del self._awaited[counter]
        return True

    def settle(self, counter: int) -> None:
        """What is missing of the frames before `counter` will not come any more."""
        for awaited in [old for old in self._awaited if old < counter]:
            self._lose(awaited)

    def _lose(self, counter: int) -> None:
        absent = self._awaited.pop(counter)
        self.lost += absent
        self.squares += absent * absent
