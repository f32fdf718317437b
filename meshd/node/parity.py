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

from meshd.node.solving import PRIME, SYMBOLS, choose_rows, reduced, solve, wrapped
from meshd.node.wire import Buffer

MAX_SLICES: Final = PRIME
"""Slices of a frame with parity: each has a power of x of its own."""

MAX_PARITIES: Final = 16
"""Parity slices of a frame: solving for more lost ones takes too long."""

NUMPY_LEAST: Final = 6
"""Slices from which numpy is quicker."""

_COPIES: Final = 4
"""Copies of a slice that numpy adds up from: more are more to write, fewer are more to call."""


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
    if not missing:
        return {}
    rows = choose_rows(parities, len(missing))
    if rows is None:
        return None
    size = len(parities[rows[0]])
    nothing = bytes(size)
    known = b"".join([nothing if piece is None else piece for piece in slices])
    syndromes = [
        int.from_bytes(parities[row], "little") ^ int.from_bytes(part, "little")
        for row, part in zip(rows, _sums(known, len(slices), rows), strict=True)
    ]
    step = size // SYMBOLS * 8
    found = solve(missing, rows, syndromes, step)
    if found is None:
        return None
    return {place: reduced(value, step) for place, value in zip(missing, found, strict=True)}


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
        total = wrapped(total, turn) if row else reduce(xor, numbers)
        sums.append(reduced(total, step))
    return sums


def _sums_of_arrays(np: ModuleType, data: Buffer, count: int, rows: Iterable[int]) -> list[bytes]:
    """As `_sums`."""
    size = len(data) // count
    symbol = size // SYMBOLS
    turn = PRIME * symbol
    copies, views = _scratch(count, turn)
    copies[:, :, :size] = np.frombuffer(data, np.uint8).reshape(count, 1, size)
    chosen = tuple(rows)
    number = len(chosen)
    totals = np.empty((number, turn), np.uint8)
    add_up = np.bitwise_xor.reduce
    for row, total in zip(chosen, totals, strict=True):
        first, *others = views.get(row) or views.setdefault(row, _rotated(np, copies, row))
        add_up(first, axis=0, out=total)
        for rotated in others:
            total ^= add_up(rotated, axis=0)
    last = totals[:, size:].reshape(number, 1, symbol)
    sums = (totals[:, :size].reshape(number, SYMBOLS, symbol) ^ last).tobytes()
    return [sums[at : at + size] for at in range(0, number * size, size)]


@lru_cache(maxsize=16)
def _scratch(count: int, turn: int) -> tuple[Any, dict[int, list[Any]]]:
    """A buffer for slices to use again, each `_COPIES` times behind itself, so that any rotation
    of it is one piece; and what `_rotated` made of it, by row. What is never written to stays
    zero: the 53rd symbols."""
    assert _numpy is not None
    return _numpy.zeros((count, _COPIES, turn), _numpy.uint8), {}


def _rotated(np: ModuleType, copies: Any, row: int) -> list[Any]:
    """Views of all slices, the one at each place rotated as `row` wants it: as few as there can be,
    since those of one row are equally far apart until the copies have been gone through."""
    count, repeats, turn = copies.shape
    symbol = turn // PRIME
    whole = repeats * turn
    views, first = [], 0
    while first < count:
        start = -first * row % PRIME + (repeats - 2) * PRIME
        run = min(count - first, start // row + 1 if row else count)
        strides = (whole - row * symbol, 1)
        offset = first * whole + start * symbol
        views.append(np.ndarray((run, turn), np.uint8, copies, offset, strides))
        first += run
    return views
