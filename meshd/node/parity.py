"""Parity slices: they bring back lost slices of a frame without asking for them again.

The array code of Blaum and Roth ("New array codes for multiple phased burst correction", IEEE
Transactions on Information Theory 39(1), 1993) for the prime 53. A slice is a polynomial of 52
symbols, the first the lowest, over GF(2)[x] modulo M(x) = 1 + x + ... + x^52, which is a field
because 2 generates the integers modulo 53. Parity j of the slices d[0], ..., d[k - 1] is

    sum over i of x^(i j) d[i]

Powers of x only rotate the 53 places of x^53 - 1, a multiple of M(x), so all of it is shifts and
XOR: of long integers, or of numpy's arrays where it is installed. Both are faster than
Reed-Solomon by table in C (docs/performance.md). As many parities as slices are lost bring them
back, whichever they are.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, reduce
from operator import xor
from types import ModuleType
from typing import Any, Final

from meshd.node.wire import Buffer

PRIME: Final = 53
SYMBOLS: Final = PRIME - 1
"""Parts of a slice: its size is a multiple of this."""
MAX_SLICES: Final = PRIME
"""Slices of a frame with parity: each has a power of x of its own."""

MAX_PARITIES: Final = 16
"""Parity slices of a frame: solving for more lost ones takes too long."""

NUMPY_LEAST: Final = 6
"""Slices from which numpy is quicker."""

_SPREAD: Final = 6
"""Bits from one term of a coefficient to the next: 53 terms fit where they meet in a product."""
_ROUND: Final = PRIME * _SPREAD
_WHOLE: Final = sum(1 << place * _SPREAD for place in range(PRIME))
"""M(x), as a coefficient."""


_numpy: ModuleType | None = None


def load() -> bool:
    """Use numpy from now on, for large frames; False if it is not installed."""
    global _numpy
    try:
        _numpy = importlib.import_module("numpy")
    except ImportError:
        return False
    return True


def encode(sealed: Buffer, count: int, parities: int) -> list[bytes]:
    """The first `parities` parity slices of `count` equal slices that lie one behind the other.

    `count` is at most `MAX_SLICES`, and a slice's size a multiple of `SYMBOLS`.
    """
    return _sums(sealed, count, range(parities))


def recover(
    slices: Sequence[Buffer | None], parities: Mapping[int, Buffer]
) -> dict[int, bytes] | None:
    """The lost slices, those that are None, by place; `parities` are those that came, by number.

    None when there are too few parities (one set in many thousands will not do either). What
    comes back is right if all that came is: only the frame's tag can tell.
    """
    missing = tuple(place for place, piece in enumerate(slices) if piece is None)
    rows = tuple(sorted(parities)[: len(missing)])
    if len(rows) < len(missing):
        return None
    solution = _solution(missing, rows)
    if solution is None:
        return None
    size = len(parities[rows[0]])
    nothing = bytes(size)
    known = b"".join([nothing if piece is None else piece for piece in slices])
    syndromes = [
        int.from_bytes(parities[row], "little") ^ int.from_bytes(part, "little")
        for row, part in zip(rows, _sums(known, len(slices), rows), strict=True)
    ]
    step = size // SYMBOLS * 8
    found = {}
    for place, terms in zip(missing, solution, strict=True):
        total = 0
        for which in terms:  # Horner's scheme, so that each power costs one shift
            part = 0
            for at in which:
                part ^= syndromes[at]
            total = total << step ^ part
        found[place] = _reduced(_wrapped(total, PRIME * step), step)
    return found


def _sums(data: Buffer, count: int, rows: Iterable[int]) -> list[bytes]:
    """Per row, the sum of x^(place row) times the slice at each place."""
    if _numpy is not None and count >= NUMPY_LEAST:
        return _sums_of_arrays(_numpy, data, count, rows)
    size = len(data) // count
    step = size // SYMBOLS * 8
    turn = PRIME * step
    view = memoryview(data)
    numbers = [
        int.from_bytes(view[at : at + size], "little") for at in range(0, count * size, size)
    ]
    sums = []
    for row in rows:
        by, total, shift = row * step, 0, 0
        for number in numbers if row else ():
            total ^= number << shift
            shift += by
            if shift >= turn:
                shift -= turn
        total = _wrapped(total, turn) if row else reduce(xor, numbers)
        sums.append(_reduced(total, step))
    return sums


def _sums_of_arrays(np: ModuleType, data: Buffer, count: int, rows: Iterable[int]) -> list[bytes]:
    """As `_sums`. Each slice stands there twice, so that any rotation of it is one piece; those
    of one row are equally far apart until they have gone round."""
    size = len(data) // count
    symbol = size // SYMBOLS
    turn = PRIME * symbol
    slices = np.frombuffer(data, np.uint8).reshape(count, size)
    twice = _scratch(count, turn)
    twice[:, :size] = twice[:, turn : turn + size] = slices
    add_up = np.bitwise_xor.reduce
    sums = []
    for row in rows:
        first, total = 0, np.zeros(turn, np.uint8)
        while first < count:
            back = -first * row % PRIME
            run = min(count - first, back // row + 1 if row else count)
            start = first * 2 * turn + back * symbol
            strides = (2 * turn - row * symbol, 1)
            part = add_up(np.ndarray((run, turn), np.uint8, twice, start, strides), axis=0)
            total ^= part
            first += run
        sums.append((total[:size].reshape(SYMBOLS, symbol) ^ total[size:]).tobytes())
    return sums


@lru_cache(maxsize=16)
def _scratch(count: int, turn: int) -> Any:
    """A buffer to use again: what is never written to in it stays zero."""
    assert _numpy is not None
    return _numpy.zeros((count, 2 * turn), _numpy.uint8)


def _wrapped(number: int, turn: int) -> int:
    """Modulo x^53 - 1: what stands above the 53rd symbol begins again below."""
    return (number & (1 << turn) - 1) ^ (number >> turn)


def _reduced(number: int, step: int) -> bytes:
    """Modulo M(x): the 53rd symbol is added to all, itself among them."""
    top = number >> SYMBOLS * step
    return (number ^ top * _ones(step)).to_bytes(SYMBOLS * step // 8, "little")


@lru_cache(maxsize=64)
def _ones(step: int) -> int:
    """M(x): a one in each symbol."""
    return sum(1 << place * step for place in range(PRIME))


@lru_cache(maxsize=512)  # those of many lost slices have 40 KB each
def _solution(
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
