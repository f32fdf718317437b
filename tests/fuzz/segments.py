"""``python -m tests.fuzz.segments [--cases N] [--seed S]``: forged segments of a session.

Whoever sees a session's datagrams knows its receiver index and can forge all that stands outside
the seal: frames never finished, counts that contradict, overlaps, parity that lies.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from meshd.node import parity, solving
from meshd.node.reassembly import MAX_AGE, MAX_BYTES, MAX_FRAMES, MAX_LOST
from meshd.node.wire import DATA, HEADER, HEADER_SIZE
from tests.fuzz.runner import LIMIT_S, TRIES
from tests.node.couples import ALPHA_AT, BETA_INDEX, Side, couple, datagrams_of, packet4, plain

FRESH = 1000
"""Forged counters begin so far above those of good frames, but for every fourth."""
EVERY = 1000
"""Forged segments between two good frames."""
WIDEST = 1196 + HEADER_SIZE
"""Bytes of a segment of 53 as large as a frame with parity can have."""

Batch = tuple[int, bytes]
"""Bytes of each datagram, and the datagrams, the last maybe shorter."""


@dataclass(slots=True)
class Outcome:
    """What became of forged segments."""

    segments: int = 0
    good: int = 0
    """Frames of the peer's that came between, and opened."""
    reasons: Counter[str] = field(default_factory=Counter)
    most_frames: int = 0
    most_bytes: int = 0


def header(index: int, count: int, parities: int, counter: int) -> bytes:
    """Of a segment to beta."""
    return HEADER.pack(DATA, index % 256, count % 256, parities % 256, BETA_INDEX, counter)


def forged(rng: Random, near: int) -> Batch:
    """A batch of segments of one forged frame, whole or not; `near`: the peer's next counter."""
    counter = max(0, near + rng.randrange(-2, 8)) + FRESH * (rng.random() < 0.75)
    count = rng.choice((1, 2, 2, 3, 5, 13, 45, 53, rng.randrange(256)))
    parities = rng.choice((0, 0, 1, 2, 6, 16, rng.randrange(256)))
    size = rng.choice((1, 51, 52, 104, 1196, 1404, 1456, rng.randrange(1, 3000)))
    if rng.random() < 0.02:
        size = rng.randrange(20_000, 65_000)
    elif rng.random() < 0.1:
        return lying(rng, near + FRESH + rng.randrange(FRESH), rng.choice((52, 1196)))
    total = max(1, count + parities)
    amount = rng.choice((1, 1, 2, count, count, total))
    amount = max(1, min(amount, 128, 65_400 // (size + HEADER_SIZE)))
    if rng.random() < 0.5:
        indexes = sorted(rng.sample(range(total), min(amount, total)))
    else:
        indexes = [rng.randrange(total + 2) for _ in range(amount)]
    data = rng.randbytes(size)
    rows = [header(index, count, parities, counter) + data for index in indexes]
    if rng.random() < 0.1:
        # Not the receiver index: then it is nobody's.
        spoiled = bytearray(rows[-1])
        spoiled[rng.choice((0, 1, 2, 3, *range(8, HEADER_SIZE)))] ^= 1 << rng.randrange(8)
        rows[-1] = bytes(spoiled)
    cut = rng.randrange(1, len(rows[-1])) if rng.random() < 0.2 else len(rows[-1])
    rows[-1] = rows[-1][:cut]
    return len(rows[0]) if len(rows) > 1 else cut, b"".join(rows)


def lying(rng: Random, counter: int, size: int) -> Batch:
    """So many segments of a frame, some of them parity, that it seems whole."""
    count, parities = rng.randrange(2, 54), rng.randrange(1, 17)
    few = range(rng.randrange(1, min(count, parities) + 1))
    indexes = [*range(len(few), count), *(count + row for row in few)]
    data = rng.randbytes(size)
    rows = [header(index, count, parities, counter) + data for index in indexes]
    return len(rows[0]), b"".join(rows)


def good(alpha: Side, beta: Side, number: int, parities: int) -> tuple[bytes, list[bytes]]:
    """A packet of alpha's, and the datagrams that carry it."""
    alpha.path.parity = (parities,) * 54 if parities else None
    data = plain(packet4(alpha.address4, beta.address4, number.to_bytes(4, "big") * 1000))
    [frame] = alpha.send(data)
    return data, datagrams_of(frame)


def hold(beta: Side, outcome: Outcome) -> None:
    """Raise AssertionError if too much is held, or not what is counted."""
    held = beta.session.reassembler.statistics()
    assert held.frames <= MAX_FRAMES, held
    assert beta.state.budget.used == held.size <= MAX_BYTES, held
    outcome.most_frames = max(outcome.most_frames, held.frames)
    outcome.most_bytes = max(outcome.most_bytes, held.size)


def run(cases: int, seed: int) -> Outcome:
    """`cases` forged segments at 20,000 a second of virtual time, and good frames between.

    Raises AssertionError where one gets through, too much is held, or a good frame does not open.
    """
    rng, outcome = Random(seed), Outcome()
    alpha, beta = couple()
    now, next_good = 0.0, EVERY
    began = 0.0
    while outcome.segments < cases:
        if now - began > 100.0:  # a session's keys end
            outcome.reasons.update(reasons(beta))
            (alpha, beta), began = couple(), now
        segment, batch = forged(rng, alpha.session.frames_sent)
        rows = [batch[at : at + segment] for at in range(0, len(batch), segment)]
        assert beta.receive(rows, ALPHA_AT, now - began) == []
        assert not beta.inbound.arrivals
        outcome.segments += len(rows)
        now += len(rows) / 20_000
        hold(beta, outcome)
        if outcome.segments >= next_good:
            next_good += EVERY
            data, datagrams = good(alpha, beta, outcome.good, 0)
            assert beta.receive(datagrams, ALPHA_AT, now - began) == [data]
            beta.inbound.arrivals.clear()
            outcome.good += 1
    # Once the forged ones are forgotten, a frame in pieces passes too, though one is lost.
    now += MAX_AGE
    data, datagrams = good(alpha, beta, outcome.good, 2)
    assert beta.receive_each(datagrams[1:], ALPHA_AT, now - began) == [data]
    outcome.good += 1
    beta.session.reassembler.expire(now - began + MAX_AGE)
    assert beta.state.budget.used == 0
    outcome.reasons.update(reasons(beta))
    return outcome


def reasons(beta: Side) -> Counter[str]:
    """What was refused, by reason."""
    partial = Counter(beta.session.reassembler.statistics().dropped)
    return +(Counter(beta.dropped) + Counter({f"reassembly-{k}": n for k, n in partial.items()}))


def slowest(frames: int, seed: int) -> float:
    """CPU seconds of the worst single segment: the one that completes a frame of the most slices
    with lies for as many as parity brings back. The best of some tries for each of `frames`."""
    rng, worst = Random(seed), 0.0
    for counter in range(frames):
        lost = set(rng.sample(range(parity.MAX_SLICES), MAX_LOST))
        rows = sorted(rng.sample(range(parity.MAX_PARITIES), MAX_LOST))
        here = [index for index in range(parity.MAX_SLICES) if index not in lost]
        here += [parity.MAX_SLICES + row for row in rows]
        worst = max(worst, min(_timed(rng, counter, here)))
    return worst


def _timed(rng: Random, counter: int, indexes: Sequence[int]) -> Iterator[float]:
    size = WIDEST - HEADER_SIZE
    shape = parity.MAX_SLICES, parity.MAX_PARITIES
    for _ in range(TRIES):
        _, beta = couple()
        datagrams = [header(index, *shape, counter) + rng.randbytes(size) for index in indexes]
        beta.receive(datagrams[:-1], ALPHA_AT)
        solving._inverted.cache_clear()  # each liar's set is another one
        began = time.thread_time()
        beta.receive(datagrams[-1:], ALPHA_AT)
        yield time.thread_time() - began
        assert beta.dropped == {"decrypt": 1}


def main(argv: Sequence[str]) -> int:
    """0: all forged segments were taken as they should; 1: not so."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.segments", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    outcome = run(options.cases, options.seed)
    for reason, count in sorted(outcome.reasons.items()):
        print(f"{reason:24} {count:10}")
    print(f"{outcome.segments} forged segments, {outcome.good} good frames between them opened")
    print(f"held at most: {outcome.most_frames} frames, {outcome.most_bytes} bytes")
    worst = slowest(20, options.seed)
    print(f"the worst segment took {worst * 1e3:.2f} ms of CPU")
    return int(worst > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
