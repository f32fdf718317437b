"""How much parity hides a given loss.

parity of k       the least r with P(X > r) <= epsilon, X lost of k + r: binomial with loss p, or
                  negative binomial with mean (k + r) p and variance D times that
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, log

from meshd.node.parity import MAX_PARITIES, MAX_SLICES
from meshd.node.wire import MAX_SEGMENTS

EPSILON, EPSILON_SINGLE = 2e-5, 1e-3
"""Chance that a frame is lost in spite of its parity; a frame of one slice gets less."""
PARITY_SPARE, SPARE_BURSTS = 2, 4.0
"""Parity slices that a frame may have beyond half of its own number, times the dispersion up to the
second: small frames need them, and the more the longer the bursts are that they lie in. A stream
that once is slow has small frames only, and would stay slow."""


def most_parity(count: int, dispersion: float) -> int:
    """Parity slices that a frame of `count` slices gets at most; one of a single slice is most
    often worth less than its copies."""
    spare = PARITY_SPARE * (min(SPARE_BURSTS, dispersion) if count > 1 else 1)
    return min(MAX_PARITIES, count // 2 + round(spare))


@lru_cache(maxsize=256)
def parity_table(loss: float, dispersion: float) -> tuple[int, ...]:
    """Parity slices for frames of 0 to `MAX_SEGMENTS` slices, where a share of `loss` is lost and
    the losses of a frame have `dispersion` times the variance of independent ones."""
    table, parity = [0], 0
    for count in range(1, MAX_SLICES + 1):
        epsilon = EPSILON if count > 1 else EPSILON_SINGLE
        most = most_parity(count, dispersion)
        while parity < most and _tail(count + parity, parity, loss, dispersion) > epsilon:
            parity += 1
        table.append(parity)
    return (*table, *[0] * (MAX_SEGMENTS - MAX_SLICES))


def _tail(slices: int, parity: int, loss: float, dispersion: float) -> float:
    """P(X > parity) for X lost of `slices`."""
    # A frame of few slices lies within a burst, or out of it: its own variance has a bound.
    spread = 1 + (dispersion - 1) * min(1.0, (slices - 1) / 10)
    mean = slices * loss
    if spread < 1.05:
        chance = (1 - loss) ** slices
        total = chance
        for lost in range(parity):
            chance *= (slices - lost) / (lost + 1) * loss / (1 - loss)
            total += chance
        return 1 - total
    shape = mean / (spread - 1)
    chance = exp(-shape * log(spread))
    total = chance
    for lost in range(parity):
        chance *= (lost + shape) / (lost + 1) * (1 - 1 / spread)
        total += chance
    return 1 - total
