"""A path in miniature: frames through a queue that drops, under a sender that probes it.

Time goes in milliseconds. One inner flow (cubic, BBR in rough strokes, or one that does not
listen) fills frames; they cross a bottleneck and what loses at random; answered probes feed a
`Meter` and a `LossControl`, whose parity and span shape the next frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from meshd.node.metering import Mark, Meter, Tally
from meshd.node.redundancy import LossControl

TICK = 0.001
Chance = Callable[[], bool]
"""Whether the next segment is lost, for no reason of ours."""


def independent(rng: Random, loss: float) -> Chance:
    return lambda: rng.random() < loss


def bursts(rng: Random, loss: float, length: float) -> Chance:
    """Gilbert's model: all is lost in the bad state, which lasts `length` segments on average."""
    bad = False
    begin = loss / (length * (1 - loss))

    def lost() -> bool:
        nonlocal bad
        bad = rng.random() >= 1 / length if bad else rng.random() < begin
        return bad

    return lost


class Constant:
    """A flow that does not listen: segments per second."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def sending(self, now: float, rtt: float) -> float:
        return self.rate

    def lost(self, now: float, rtt: float) -> None:
        pass

    def delivered(self, segments: int, now: float) -> None:
        pass


class Cubic:
    """RFC 9438: the window in segments, halved to 0.7 of it at most once a round trip."""

    def __init__(self, most: float = 25_000.0) -> None:
        self.window = 10.0
        self.most = most
        self._before = 0.0
        self._since = 0.0
        self._slow_start = True
        self._blind_until = 0.0

    def sending(self, now: float, rtt: float) -> float:
        if self._slow_start:
            self.window *= 2 ** (TICK / rtt)
        else:
            since = now - self._since
            zenith = (self._before * 0.3 / 0.4) ** (1 / 3)
            reno = 0.7 * self._before + 0.53 * since / rtt
            self.window = max(2.0, reno, 0.4 * (since - zenith) ** 3 + self._before)
        self.window = min(self.window, self.most * rtt)
        return self.window / rtt

    def lost(self, now: float, rtt: float) -> None:
        if now < self._blind_until:
            return
        self._slow_start = False
        self._before, self._since = self.window, now
        self._blind_until = now + rtt

    def delivered(self, segments: int, now: float) -> None:
        pass


class Bbr:
    """BBR's first version in rough strokes: paced by the best rate delivered lately, gains of
    1.25 and 0.75 in turn, deaf to loss."""

    def __init__(self, first: float = 500.0, most: float = 25_000.0) -> None:
        self._most = most
        self._rates: list[float] = [first]
        self._got = 0
        self._round_at = 0.0
        self._rtt = 0.02
        self._startup = True

    def sending(self, now: float, rtt: float) -> float:
        if now - self._round_at >= self._rtt:
            rate = self._got / (now - self._round_at)
            self._startup = self._startup and rate > 0.9 * max(self._rates)
            self._rates = [*self._rates[-9:], min(rate, self._most)]
            self._got, self._round_at = 0, now
        phase = int(now / self._rtt) % 8
        gain = 2.0 if self._startup else 1.25 if phase == 0 else 0.75 if phase == 1 else 1.0
        # Never more than two round trips' worth in flight.
        return min(gain * max(self._rates), 2 * max(self._rates) * self._rtt / rtt)

    def lost(self, now: float, rtt: float) -> None:
        pass

    def delivered(self, segments: int, now: float) -> None:
        self._got += segments


@dataclass
class Line:
    """Round trip in seconds; segments per second and in the queue of a bottleneck, if any; or a
    policer's tokens, which drops without a queue."""

    rtt: float = 0.02
    rate: float = 1e9
    queue: float = 1e9
    policer: float = 0.0
    bucket: float = 100.0
    jitter: float = 0.0


@dataclass
class World:
    """One run: `step` until a time; the series hold a value per 100 ms."""

    rng: Random
    line: Line
    flow: Constant | Cubic | Bbr
    chance: Chance = lambda: False
    others: list[Cubic] = field(default_factory=list)
    """Bare flows beside ours."""
    protect: bool = True
    now: float = 0.0
    control: LossControl = field(default_factory=LossControl)
    meter: Meter = field(default_factory=Meter)
    shares: list[float] = field(default_factory=list)
    passed: int = 0
    """Segments of data that arrived, those that parity brought back included."""
    foreign: int = 0
    frames: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        self._queued = self._left = 0.0
        self._tokens = self.line.bucket
        self._segments = self._arrived = self._expected = 0
        self._lost = self._squares = self._recovered = 0
        self._probe_at, self._nonce = 0.0, 0
        self._answers: list[tuple[float, int, Tally]] = []
        self._news: list[tuple[float, Constant | Cubic | Bbr]] = []
        self._theirs = [0.0 for _ in self.others]
        self._session = object()

    def run(self, until: float) -> World:
        while self.now < until:
            self._tick()
        return self

    def _tick(self) -> None:
        line = self.line
        self.now += TICK
        self._queued = max(0.0, self._queued - line.rate * TICK)
        self._tokens = min(line.bucket, self._tokens + line.policer * TICK)
        rtt = self._rtt()
        while self._news and self._news[0][0] <= self.now:
            self._news.pop(0)[1].lost(self.now, rtt)
        self._left += self.flow.sending(self.now, rtt) * TICK
        while self._left >= 1:
            span = self.control.span if self.protect else 128
            count = max(1, min(int(self._left), 40, span))
            self._left -= count
            self._frame(count)
        for index, other in enumerate(self.others):
            self._theirs[index] += other.sending(self.now, rtt) * TICK
            while self._theirs[index] >= 1:
                self._theirs[index] -= 1
                if self._crosses():
                    self.foreign += 1
                else:
                    self._news.append((self.now + rtt, other))
        self._probe(rtt)
        if round(self.now / TICK) % 100 == 0:
            self.shares.append(self.control.share)

    def _rtt(self) -> float:
        return self.line.rtt + self._queued / self.line.rate + self.line.jitter * self.rng.random()

    def _crosses(self) -> bool:
        line = self.line
        if line.policer:
            if self._tokens < 1:
                return False
            self._tokens -= 1
        if self._queued + 1 > line.queue:
            return False
        self._queued += 1
        return not self.chance()

    def _frame(self, count: int) -> None:
        table = self.control.parity if self.protect else None
        parity = table[count] if table is not None else 0
        lost = sum(not self._crosses() for _ in range(count + parity))
        self.frames += 1
        self._segments += count + parity
        if lost > parity:
            self.failed += 1
            self._news.append((self.now + self._rtt(), self.flow))
            return
        self._arrived += 1
        self._expected += count + parity
        self._lost += lost
        self._squares += lost * lost
        self._recovered += lost > 0
        self.passed += count
        self.flow.delivered(count, self.now)

    def _probe(self, rtt: float) -> None:
        while self._answers and self._answers[0][0] <= self.now:
            _, nonce, tally = self._answers.pop(0)
            sent = self.frames, self._segments
            table = self.control.parity or ()
            interval = self.meter.answered(nonce, tally, self.now, sent, table)
            if interval is not None:
                self.control.take(interval, self.now)
        if self.now < self._probe_at:
            return
        self._probe_at = self.now + (max(0.05, rtt) if self.control.lossy(self.now) else 0.5)
        self._nonce += 1
        mark = Mark(self.line, self._session, self.frames, self._segments, self.now)
        self.meter.sent(self._nonce, mark)
        if not self.chance():
            tally = Tally(self._arrived, self._expected, self._lost, self._squares, self._recovered)
            self._answers.append((self.now + rtt, self._nonce, tally))
