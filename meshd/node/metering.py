"""What one peer received of what it was sent, from the counters in its answers to probes.

Both ends count from a session's first frame: we what we sealed, the peer what it opened
(`Tally`). A probe remembers our counters as it leaves, its answer brings the peer's; between two
answered probes lie the frames and segments of an `Interval`, and what became of them. What the
peer tells is checked against what was sent: a lie changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meshd.node.errors import RemoteError
from meshd.node.parity import MAX_PARITIES
from meshd.node.redundancy import Interval

MAX_MARKS = 64
"""Probes without an answer that are remembered."""
PROTECTED_FOR = 2
"""Answers after parity began whose frames may still have none."""
CREDIT = 32
"""Frames that may come late, or were opened by the time of an earlier probe's answer."""


@dataclass(frozen=True, slots=True)
class Tally:
    """A receiver's counters of one session, from 0."""

    opened: int = 0
    """Frames that authenticated."""
    expected: int = 0
    """Segments of those, parity included."""
    lost: int = 0
    """Segments of those that never came."""
    squares: int = 0
    """Sum over those frames of the square of their lost segments."""
    recovered: int = 0
    """Frames that parity saved."""

    def counters(self) -> list[int]:
        """All of them, in this order, as they are told to the sender."""
        return [self.opened, self.expected, self.lost, self.squares, self.recovered]


@dataclass(frozen=True, slots=True)
class Mark:
    """Our counters as a probe left at `at`, and of which path and session they are."""

    way: object
    session: object
    frames: int
    segments: int
    at: float


class Meter:
    """Marks on the way, and the last one answered. A change of path or session starts anew."""

    def __init__(self) -> None:
        self.saved = 0
        """Frames that parity saved, as the peer tells."""
        self._marks: dict[int, Mark] = {}
        self._strays = 0
        self._session: object = None
        self._last: tuple[Mark, Tally] | None = None
        self._missing_before = 0
        """How many frames were missing at the last mark."""
        self._counted = 0.0
        """How many of them are accounted for."""
        self._protected = 0
        """Answers in a row, since which frames carry parity."""

    def stray(self, session: object, number: int) -> None:
        """`number` frames of one segment left by another way than the measured one, or turned
        out to have arrived (below 0): what is lost there is not this path's."""
        if session is not self._session:
            if number < 0:
                return
            self._session, self._strays = session, 0
        self._strays += number

    def sent(self, nonce: int, mark: Mark) -> None:
        """A probe leaves by the measured path."""
        while len(self._marks) >= MAX_MARKS:
            del self._marks[next(iter(self._marks))]
        strays = self._strays if mark.session is self._session else 0
        frames, segments = mark.frames - strays, mark.segments - strays
        self._marks[nonce] = Mark(mark.way, mark.session, frames, segments, mark.at)

    def find(self, nonce: int) -> Mark | None:
        """The mark that probe `nonce` made, if no answer came before."""
        return self._marks.get(nonce)

    def answered(
        self, nonce: int, tally: Tally, now: float, sent: tuple[int, int], table: Sequence[int]
    ) -> Interval | None:
        """The answer to probe `nonce` came. `sent`: frames and segments in its session until now;
        `table`: the parity in use. None: it begins a measurement, or tells nothing new.

        Raises RemoteError("tally") when the counters cannot be; measuring then starts anew.
        """
        mark = self._marks.pop(nonce, None)
        if mark is None:
            return None
        before, told = self._last if self._last is not None else (None, None)
        if before is not None and before.session is not mark.session:
            before = told = None
        if before is not None and before.frames > mark.frames:
            return None
        if not _possible(tally, told or Tally(), *sent):
            self._last = None
            raise RemoteError("tally")
        self._last = mark, tally
        if told is not None:
            self.saved += tally.recovered - told.recovered
        missing = mark.frames - tally.opened
        if before is None or told is None or before.way is not mark.way:
            self._missing_before, self._counted = missing, float(missing)
            return None
        return self._interval(mark, tally, (before, told), now, table)

    def _interval(
        self, mark: Mark, tally: Tally, last: tuple[Mark, Tally], now: float, table: Sequence[int]
    ) -> Interval | None:
        before, told = last
        missing = mark.frames - tally.opened
        # A frame that is late, or was opened with the batch of an earlier probe, shows at one
        # mark and not at the next: what both show is missing.
        sure = max(0.0, min(missing, self._missing_before) - self._counted)
        # Frames that were taken for missing and came count against later ones; not for ever.
        self._counted = min(self._counted + sure, max(missing, self._missing_before) + CREDIT)
        self._missing_before = missing
        frames, sent = mark.frames - before.frames, mark.segments - before.segments
        if sent <= 0 or frames <= 0:
            return None
        parity = _parity(table, sent / frames)
        lost = float(tally.lost - told.lost)
        if sure and not parity:
            # A frame is missing as soon as one segment is: how many are, follows from how often.
            share = min(0.98, sure / frames)
            lost += sent * (1 - (1 - share) ** (frames / sent))
        elif sure:
            lost += sure * (parity + 1)
        # Frames from before the parity, which fail by one loss, say nothing about bursts.
        self._protected = self._protected + 1 if table else 0
        counted = tally.opened - told.opened if self._protected > PROTECTED_FOR else 0
        squares = float(tally.squares - told.squares)
        if counted:
            squares += sure * (parity + 1) ** 2
        late = max(0, int(missing - self._counted))
        rtt, seconds = now - mark.at, mark.at - before.at
        return Interval(sent, min(lost, sent), counted, squares, rtt, seconds, late)


def _parity(table: Sequence[int], segments: float) -> int:
    """Parity slices of a frame of so many segments, parity included."""
    count = next((k for k, parity in enumerate(table) if k + parity >= segments), 0)
    return table[count] if table else 0


def _possible(tally: Tally, told: Tally, frames: int, segments: int) -> bool:
    """Whether a receiver can tell `tally` after `told`, when so much was sent."""
    return (
        told.opened <= tally.opened <= frames
        and told.expected <= tally.expected <= segments
        and told.lost <= tally.lost <= tally.expected
        and told.squares <= tally.squares <= MAX_PARITIES * tally.lost
        and told.recovered <= tally.recovered <= tally.opened
        and tally.lost <= tally.squares
    )
