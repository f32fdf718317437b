"""What parity knows of lost slices, as equations, and how they are solved.

All values are polynomials modulo x^53 - 1 as integers, 53 symbols of `step` bits, the first the
lowest; of each only what it is modulo M(x) counts (see `parity`). Row j of the equations is

    sum over the lost places p of x^(p j) d[p] = syndrome[j]

Where the rows are equally far apart this is Vandermonde's system, which Bjorck and Pereyra solve
in place ("Solution of Vandermonde systems of equations", Mathematics of Computation 24, 1970) with
rotations and divisions by x^a + x^b, which take as long as adding up 53 symbols. Where they are
not, because parities were lost too, the matrix is inverted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, reduce
from itertools import pairwise
from operator import xor
from typing import Final

PRIME: Final = 53
SYMBOLS: Final = PRIME - 1
"""Parts of a slice: its size is a multiple of this."""

_SPREAD: Final = 6
"""Bits from one term of a coefficient to the next: 53 terms fit where they meet in a product."""
_ROUND: Final = PRIME * _SPREAD
_WHOLE: Final = sum(1 << place * _SPREAD for place in range(PRIME))
"""M(x), as a coefficient."""


def choose_rows(rows: Iterable[int], count: int) -> tuple[int, ...] | None:
    """Which `count` of these rows to solve with, equally far apart if possible; None: too few."""
    there = sorted(rows)
    if len(there) < count:
        return None
    for apart in range(1, (there[-1] - there[0]) // max(1, count - 1) + 1):
        for first in there:
            wanted = range(first, first + count * apart, apart)
            if all(row in there for row in wanted):
                return tuple(wanted)
    return tuple(there[:count])


def solve(
    places: tuple[int, ...], rows: tuple[int, ...], syndromes: list[int], step: int
) -> list[int] | None:
    """What is missing at `places`; None where the equations do not tell. `syndromes`, as many as
    places, are used up."""
    apart = {after - before for before, after in pairwise(rows)}
    if len(apart) > 1:
        return _solve_any(places, rows, syndromes, step)
    by = apart.pop() if apart else 1
    found = _solve_vandermonde([place * by % PRIME for place in places], syndromes, step)
    # The first row's power belongs to the unknowns until here.
    return [
        rotated(value, -rows[0] * place, step) for place, value in zip(places, found, strict=True)
    ]


def _solve_vandermonde(powers: Sequence[int], values: list[int], step: int) -> list[int]:
    """Algorithm 4.6.2 of Golub and Van Loan, "Matrix Computations": the unknown at each place has
    x^power, its square, its cube and so on before it in the rows."""
    last = len(powers) - 1
    for done in range(last):
        for at in range(last, done, -1):
            values[at] ^= rotated(values[at - 1], powers[done], step)
    for done in range(last - 1, -1, -1):
        for at in range(done + 1, last + 1):
            values[at] = _divided(values[at], powers[at - done - 1], powers[at], step)
        for at in range(done, last):
            values[at] ^= values[at + 1]
    return values


def _divided(value: int, low: int, high: int, step: int) -> int:
    """`value` / (x^low + x^high): the difference of two symbols that are high - low places apart
    is known for all, so that they follow from one, whichever that is."""
    size = step // 8
    data = value.to_bytes(PRIME * size, "little")
    symbols = [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]
    # Differences add up to nothing; M(x), which counts for nothing, makes these do so.
    odd = reduce(xor, symbols)
    found, running = [b""] * PRIME, 0
    found[-low % PRIME] = bytes(size)
    for place in _round(high - low):
        running ^= symbols[place] ^ odd
        found[(place - low) % PRIME] = running.to_bytes(size, "little")
    return int.from_bytes(b"".join(found), "little")


@lru_cache(maxsize=2 * PRIME)
def _round(by: int) -> tuple[int, ...]:
    """All places but the first, `by` after `by`."""
    return tuple(by * turn % PRIME for turn in range(1, PRIME))


def _solve_any(
    places: tuple[int, ...], rows: tuple[int, ...], syndromes: Sequence[int], step: int
) -> list[int] | None:
    solution = _inverted(places, rows)
    if solution is None:
        return None
    found = []
    for terms in solution:
        total = 0
        for which in terms:  # Horner's scheme, so that each power costs one shift
            part = 0
            for at in which:
                part ^= syndromes[at]
            total = total << step ^ part
        found.append(wrapped(total, PRIME * step))
    return found


def rotated(value: int, places: int, step: int) -> int:
    """`value` times x^places."""
    places %= PRIME
    return wrapped(value << places * step, PRIME * step) if places else value


def wrapped(number: int, turn: int) -> int:
    """Modulo x^53 - 1: what stands above the 53rd symbol, `turn` bits, begins again below."""
    return (number & (1 << turn) - 1) ^ (number >> turn)


def reduced(number: int, step: int) -> bytes:
    """Modulo M(x): the 53rd symbol is added to all, itself among them."""
    top = number >> SYMBOLS * step
    return (number ^ top * _ones(step)).to_bytes(SYMBOLS * step // 8, "little")


@lru_cache(maxsize=64)
def _ones(step: int) -> int:
    """M(x): a one in each symbol."""
    return sum(1 << place * step for place in range(PRIME))


@lru_cache(maxsize=128)  # those of many lost slices have 40 KB each
def _inverted(
    missing: tuple[int, ...], rows: tuple[int, ...]
) -> tuple[tuple[tuple[int, ...], ...], ...] | None:
    """How each missing slice is made of the rows' syndromes: from the highest power of x to the
    lowest, which of them are multiplied by it.

    The inverse of the matrix x^(place row), by Gauss and Jordan; None when there is none.
    """
    count = len(missing)
    matrix = [
        [1 << place * row % PRIME * _SPREAD for place in missing]
        + [int(row == column) for column in rows]
        for row in rows
    ]
    for column in range(count):
        pivot = next((at for at in range(column, count) if matrix[at][column]), None)
        if pivot is None:
            return None
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        factor = _inverse(matrix[column][column])
        # What stands before the column is done with, and much of the rest is 0.
        above = [
            (at, _product(factor, value))
            for at, value in enumerate(matrix[column])
            if at >= column and value
        ]
        for at, value in above:
            matrix[column][at] = value
        for row in matrix:
            factor = row[column]
            if factor and row is not matrix[column]:
                for at, value in above:
                    row[at] ^= _product(factor, value)
    return tuple(_by_power(row[count:]) for row in matrix)


def _by_power(coefficients: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Which of the coefficients have a power of x, from the highest one to the lowest; a
    coefficient may be its sum with M(x), its equal, if that has fewer."""
    found: list[list[int]] = [[] for _ in range(PRIME)]
    for at, value in enumerate(coefficients):
        if value.bit_count() > PRIME // 2:
            value ^= _WHOLE
        # A term has 6 bits, two octal digits, of which the second is 0 or 1.
        for place, digit in enumerate(f"{value:0{2 * PRIME}o}"[1::2]):
            if digit == "1":
                found[place].append(at)
    return tuple(map(tuple, found))


def _product(left: int, right: int) -> int:
    """The product of two coefficients modulo M(x): that of integers, where terms that meet add up
    beside each other; those that are odd remain."""
    total = left * right
    total = (total ^ total >> _ROUND) & _WHOLE
    return total ^ _WHOLE if total >> SYMBOLS * _SPREAD else total


def _inverse(value: int) -> int:
    """1 / `value` modulo M(x): to the power of 2^52 - 2 (Fermat); `value` is not 0."""
    result, power = 1, value
    for _ in range(SYMBOLS - 1):
        power = _product(power, power)
        result = _product(result, power)
    return result
