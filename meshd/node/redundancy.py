"""How much parity a path's frames carry, and how long they may be: as measured loss asks for.

`LossControl` is told, exchange by exchange, what a stretch of segments lost and how long the round
trip was. Loss that comes with queueing is congestion: parity would only add to it, so it is judged
apart, and only what is lost while queues are short counts as the path's own. Where loss follows
what is sent (a policer drops without a queue), a trial without parity shows it.

    loss of its own   p = lost / sent, exponentially forgotten, where the queueing delay is low
    bursts            D = variance / mean of the losses of a frame

`protection.parity_table` says what parity those ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, sqrt

from meshd.node.protection import parity_table
from meshd.node.wire import MAX_SEGMENTS

LOSS_MIN, LOSS_ON = 1e-4, 2e-4
"""Below the first a path is clean; parity begins at the second."""
SPAN_COST = 0.07
"""Chance that an unprotected frame is lost, at most: a lost segment rarely costs more than it."""
SPAN_MIN = 2
MEMORY_SEGMENTS, MEMORY_SECONDS = 8000.0, 3.0
"""Measured loss fades to 1/e after so many segments, or after so much time with traffic."""
BUSY = 20.0
"""Segments per second from which time counts in full."""
MEMORY_PRIOR = 200.0
"""Segments without loss that every estimate begins with."""
FEW_PRIOR = 40.0
"""The same where paths are compared and fewer than those were sent."""
QUEUE_MIN, QUEUE_SHARE = 0.002, 0.1
"""Seconds, and share of the shortest round trip: delay below either is no queue."""
QUEUE_MEMORY = 32
"""Queueing delays that the usual one is the average of, about."""
WINDOW = 15.0
"""Seconds of half the window that the shortest round trip is of."""
GRACE = 0.5
"""Seconds for which loss that was the path's own is still taken for it when one stretch tells
otherwise: a few losses more or less at long queues, and a stream would be without parity."""
LOSSY_FOR = 10.0
"""Seconds after a loss in which the path is measured often."""
LATE_FOR = 2.0
"""The same after frames that may only be late."""
BLIND = 0.3
"""Seconds between two probes that are too far apart to tell where loss comes from."""
CONGESTED = 2.5
"""So many times the loss at short queues, at long ones, is congestion and nothing else."""
OWN_EVENTS = 6
"""Stretches with a loss at short queues, and no fewer than at long ones: that is no congestion."""
SUSPICION = 0.35
"""Rise of loss, as a share of the parity sent, which suggests that the parity causes it."""
TRIAL_SECONDS, TRIAL_SEGMENTS, TRIAL_LOSSES = 2.0, 500, 20
"""A trial without parity lasts until so much was sent and lost, or so long."""
HOLD_FIRST, HOLD_MAX = 10.0, 300.0
"""Seconds without parity after a trial found that it causes loss: doubles each time."""
UNKNOWN_LOSS = 0.02
"""Loss that a far path is taken to have before anything is known of it: a stream that begins there
would lose its speed with the first packet, and need ten seconds to find it again."""
UNKNOWN_SEGMENTS, UNKNOWN_INTERVALS = 1000, 40
"""Segments, or answered probes, until something is."""
UNKNOWN_EVENTS = 6
"""Answered probes that told of loss, after which it can be told from congestion."""
RESTING = 400.0
"""Segments per second below which no stream is under way."""
LOSSY_AGAIN = 600.0
"""Seconds for which a path that lost something is taken to lose again whenever a stream begins."""
_STEP = 1.125
"""Factor between two losses with a table of their own; bursts have the square."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What one stretch of segments met, from one answered probe to the next."""

    sent: int
    """Segments, parity included."""
    lost: float
    frames: int
    """Frames whose losses are known one by one, for `squares`; 0: none are."""
    squares: float
    """Sum over those frames of the square of their losses."""
    rtt: float
    """Seconds: the later probe's round trip."""
    seconds: float
    """From one probe to the other."""
    late: int = 0
    """Frames that have not come yet, and are not counted as lost."""


@dataclass(slots=True)
class _Assumption:
    """What was seen since a path was taken to lose something."""

    sent: int = 0
    intervals: int = 0
    losses: int = 0
    """Intervals with a loss."""

    def add(self, interval: Interval) -> None:
        self.sent += interval.sent
        self.intervals += 1
        self.losses += interval.lost > 0

    @property
    def holds(self) -> bool:
        """Whether it is too early to know better."""
        few = self.sent < UNKNOWN_SEGMENTS or 0 < self.losses < UNKNOWN_EVENTS
        return few and self.intervals < UNKNOWN_INTERVALS


@dataclass(slots=True)
class _Memory:
    """Sums that are forgotten exponentially."""

    sent: float = 0.0
    lost: float = 0.0
    frames: float = 0.0
    counted: float = 0.0
    """Losses in `frames`."""
    squares: float = 0.0
    events: float = 0.0
    """Intervals with a loss."""

    def fade(self, factor: float) -> None:
        self.sent *= factor
        self.lost *= factor
        self.frames *= factor
        self.counted *= factor
        self.squares *= factor
        self.events *= factor

    def add(self, interval: Interval) -> None:
        self.fade(exp(-interval.sent / MEMORY_SEGMENTS))
        self.sent += interval.sent
        self.lost += interval.lost
        self.events += interval.lost > 0
        if interval.frames:
            self.frames += interval.frames
            self.counted += interval.lost
            self.squares += interval.squares

    @property
    def ratio(self) -> float:
        return min(0.5, self.lost / (self.sent + MEMORY_PRIOR))

    @property
    def bound(self) -> float:
        """The ratio and one standard deviation of its estimate."""
        return min(0.5, (self.lost + sqrt(self.lost)) / (self.sent + MEMORY_PRIOR))

    @property
    def least(self) -> float:
        """The ratio less one standard deviation."""
        return min(0.5, max(0.0, self.lost - sqrt(self.lost)) / (self.sent + MEMORY_PRIOR))

    @property
    def dispersion(self) -> float:
        """Variance over mean of the losses of a frame, 1 (independent) to 32, at least."""
        if self.frames < 20 or self.counted < 5:
            return 1.0
        found = self.squares / self.counted - self.counted / self.frames
        error = sqrt(2 / self.frames)
        return min(32.0, max(1.0, found - 1.5 * error))


class _Extremes:
    """The least and the greatest of the last one to two `span` seconds."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._until = -inf
        self._old = self._new = (inf, -inf)

    def add(self, value: float, now: float) -> tuple[float, float]:
        if now >= self._until:
            gone = now >= self._until + self._span
            self._old = (inf, -inf) if gone else self._new
            self._new = (inf, -inf)
            self._until = now + self._span
        self._new = min(self._new[0], value), max(self._new[1], value)
        return min(self._old[0], self._new[0]), max(self._old[1], self._new[1])


class LossControl:
    """What one path's loss means for its frames. Time is an argument, nothing is drawn."""

    def __init__(self) -> None:
        self.parity: tuple[int, ...] | None = None
        """Parity slices of a frame of k slices, at index k; None: none at all."""
        self.span = MAX_SEGMENTS
        """Slices of data that a frame should have at most."""
        self.congested = False
        """Whether loss comes from what is sent."""
        self._round_trips = _Extremes(WINDOW)
        self._queues = _Extremes(WINDOW / 3)
        self._queue = self._usual = 0.0
        self._delays = 0
        self._all, self._calm, self._queued, self._recent = (_Memory() for _ in range(4))
        self._assumed: _Assumption | None = None
        self._busy = True
        """Whether there was traffic between the last two probes."""
        self._known_lossy_until = -inf
        self._lossy_until = -inf
        self._level: tuple[int, int] | None = None
        """The table in use, in steps of loss and bursts."""
        self._own_until = -inf
        """Until then a stretch that tells of congestion changes nothing."""
        self._base = 0.0
        """Loss that was there before parity."""
        self._trial_from = -inf
        self._trial_until: float | None = None
        self._trial = _Memory()
        self._suspected = 0.0
        self._hold = HOLD_FIRST
        self._held_until = -inf

    @property
    def loss(self) -> float:
        """Share of the segments that was lost lately, 0 to 1."""
        return self._all.ratio if self._all.events else 0.0

    @property
    def likely(self) -> float:
        """The same for a comparison of paths, where there were few segments."""
        prior = MEMORY_PRIOR if self.known else FEW_PRIOR
        return min(0.5, self._all.lost / (self._all.sent + prior))

    @property
    def known(self) -> bool:
        """Whether so much was sent that `loss` says something."""
        return self._all.sent >= MEMORY_PRIOR

    @property
    def _unknown(self) -> bool:
        """Whether it is too early to tell a clean path from another."""
        return self._assumed is not None and self._assumed.holds

    @property
    def share(self) -> float:
        """Parity's share of the segments of long frames; 0 where it is but an assumption."""
        if self.parity is None or self._unknown:
            return 0.0
        return self.parity[40] / (40 + self.parity[40])

    def lossy(self, now: float) -> bool:
        """Whether a loss was seen lately, so that it pays to measure often."""
        return now < self._lossy_until or (self._unknown and self._busy)

    def assume(self) -> None:
        """Nothing is known of a path that has just been proven: expect loss until something is."""
        if self._assumed is None:
            self._expect()

    def _expect(self) -> None:
        self._assumed = _Assumption()
        self.parity = parity_table(UNKNOWN_LOSS, 1.0)

    def take(self, interval: Interval, now: float) -> None:
        """Take what one exchange told, and decide anew."""
        calm = self._is_calm(interval.rtt, now)
        self._busy = interval.sent >= BUSY * interval.seconds
        if self._assumed is not None and self._busy:
            self._assumed.add(interval)
        if interval.lost > 0:
            self._lossy_until = now + LOSSY_FOR
        elif interval.late:
            self._lossy_until = max(self._lossy_until, now + LATE_FOR)
        # A path that rests stays known: its next flow meets the same loss.
        passed = min(1.0, interval.seconds, interval.sent / BUSY)
        for memory in (self._all, self._calm, self._queued):
            memory.fade(exp(-passed / MEMORY_SECONDS))
        self._recent.fade(exp(-5 * passed / MEMORY_SECONDS))
        self._all.add(interval)
        # Where probes are rare, nobody saw whether there was a queue.
        if not interval.lost or interval.seconds <= max(BLIND, 1.5 * interval.rtt):
            (self._calm if calm else self._queued).add(interval)
            if calm:
                self._recent.fade(exp(-4 * interval.sent / MEMORY_SEGMENTS))
                self._recent.add(interval)
        if self._trial_until is not None:
            # What left with parity beside it, or behind the queue that this made, is no trial.
            if now - interval.rtt - interval.seconds >= self._trial_from:
                self._trial.add(interval)
            self._judge(now)
        self._decide(interval.rtt, now)
        rests = interval.sent < RESTING * interval.seconds and self._trial_until is None
        if rests and self.parity is None and self._held_until < now < self._known_lossy_until:
            self._expect()

    def _is_calm(self, rtt: float, now: float) -> bool:
        """Whether the queue was short through the whole interval."""
        least = self._round_trips.add(rtt, now)[0]
        before, self._queue = self._queue, rtt - least
        queue, noise = max(before, self._queue), max(QUEUE_MIN, QUEUE_SHARE * least)
        low, high = self._queues.add(queue, now)
        self._delays = min(QUEUE_MEMORY, self._delays + 1)
        self._usual += (queue - self._usual) / self._delays
        # A queue that is always full has no better half.
        return queue <= noise or (high - low > noise and queue <= self._usual)

    def _own(self) -> float:
        """The loss that is the path's own: an upper bound, 0 when it is clean."""
        calm, queued = self._calm, self._queued
        both = _Memory(calm.sent + queued.sent, calm.lost + queued.lost)
        if calm.events + queued.events < 2 or both.ratio < LOSS_MIN:
            return 0.0
        expected = both.ratio * calm.sent
        if expected >= 2 and calm.lost > expected - 1.3 * sqrt(expected):
            # Short queues lose as much as long ones: what looked like a queue is jitter.
            own = both.bound
        elif calm.events >= 2 and queued.least <= CONGESTED * calm.bound:
            own = calm.bound
        elif calm.events >= OWN_EVENTS and calm.events >= queued.events:
            # One queue that ran over lost more than the path since, but not as often.
            own = calm.bound
        else:
            return 0.0
        # What has just begun shows in a short memory first.
        recent = self._recent
        if recent.events >= 2 and recent.lost > 4:
            sure = (recent.lost - 1.5 * sqrt(recent.lost)) / (recent.sent + MEMORY_PRIOR)
            own = max(own, min(0.5, sure))
        return own

    def _decide(self, rtt: float, now: float) -> None:
        own = self._own()
        if own > 0:
            self._own_until = now + GRACE
        if self._unknown:
            return
        if own == 0 and self.parity is not None and self._held_until < now < self._own_until:
            return
        self.congested = now < self._held_until or (own == 0.0 and self.loss >= LOSS_ON)
        if own == 0.0 or now < self._held_until or self._trial_until is not None:
            self.parity = self._level = None
        elif self.parity is not None or own >= LOSS_ON:
            if self.parity is None:
                self._base = self.loss
            self._protect(own)
            self._known_lossy_until = now + LOSSY_AGAIN
            if self.loss > self._base + SUSPICION * self.share:
                self._suspected = self.loss
                self._trial_from = now + 2 * rtt + 0.05
                self._trial_until = now + TRIAL_SECONDS
                self._trial = _Memory()
                self.parity = self._level = None
        self.span = MAX_SEGMENTS
        if self.parity is None and self.loss >= LOSS_MIN:
            self.span = max(SPAN_MIN, min(MAX_SEGMENTS, int(SPAN_COST / self.loss)))

    def _protect(self, own: float) -> None:
        """Choose the table; it stays while loss and bursts stay about the same."""
        loss = log(own) / log(_STEP)
        bursts = log(self._calm.dispersion) / log(_STEP) / 2
        if self._level is not None:
            kept, kept_bursts = self._level
            if -2 < loss - kept < 1 and -1.5 < bursts - kept_bursts < 1:
                return
        self._level = round(loss), round(bursts)
        self.parity = parity_table(_STEP ** self._level[0], _STEP ** (2 * self._level[1]))

    def _judge(self, now: float) -> None:
        """A trial runs: did loss go away with the parity?"""
        trial = self._trial
        known = trial.sent >= TRIAL_SEGMENTS and trial.lost >= TRIAL_LOSSES
        if self._trial_until is None or (not known and now < self._trial_until):
            return
        self._trial_until = None
        if trial.sent >= TRIAL_SEGMENTS / 2 and trial.lost / trial.sent < self._suspected / 2:
            self._held_until = now + self._hold
            self._hold = min(HOLD_MAX, 2 * self._hold)
            self._calm, self._recent = _Memory(), _Memory()
        else:
            self._base, self._hold = self._suspected, HOLD_FIRST
