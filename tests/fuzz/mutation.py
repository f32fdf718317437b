"""Bad input out of good: what a broken sender, a broken path or a liar might make of a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

MAX_HUGE = 65_535
"""Bytes of the largest input: no datagram is longer."""

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
TOKENS = (
    b"\x81" * 64,  # CBOR: arrays in arrays
    b"\xa1\x00" * 32,  # maps in maps
    b"\x9b" + b"\xff" * 8,  # an array of 2**64 - 1 items
    b"\x5b" + b"\x7f" + b"\xff" * 7,  # a string of 2**63 - 1 bytes
    b"\x9f\xff",  # of no stated length
    b"\xc2\x49" + b"\xff" * 9,  # a bignum
    b"\xfb\x7f\xf8" + bytes(6),  # not a number
    b"\x30\x84\xff\xff\xff\xff",  # DER: a sequence of 4 GB
    b"\x30\x80",  # of no stated length
    b"\x7c\x00\x7c\x01\xfc\x00",  # half floats: infinity, not a number
    b"\xed\xa0\x80",  # a lone surrogate in UTF-8
)

Mutation = Callable[[Random, bytearray, Sequence[bytes]], None]


def flip_bits(rng: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """A few bits."""
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def truncate(rng: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """Cut the end off."""
    del data[rng.randrange(len(data) + 1) :]


def extend(rng: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """Put more behind it."""
    data += rng.choice((rng.randbytes(rng.randint(1, 40)), bytes(rng.randint(1, 40))))


def splice(rng: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """Go on as another sample does."""
    other = rng.choice(samples)
    at = rng.randrange(len(data) + 1)
    start = at if rng.random() < 0.5 else rng.randrange(len(other) + 1)
    data[at:] = other[start:]


def set_number(rng: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """Put a number that a length or a count should not be, or is almost, somewhere."""
    width = rng.choice((1, 1, 2, 2, 4, 8))
    number = rng.choice((*NUMBERS, len(data), len(data) - 1, len(data) + 1)) % (1 << 8 * width)
    at = rng.randrange(len(data) + 1)
    data[at : at + width] = number.to_bytes(width, rng.choice(("big", "little")))


def set_byte(rng: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """Any byte, the first few most often: types, versions and counts stand there."""
    if data:
        at = rng.randrange(min(len(data), 12)) if rng.random() < 0.5 else rng.randrange(len(data))
        data[at] = rng.randrange(256)


def put_token(rng: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """Something that decoders are known to fall over."""
    token = rng.choice(TOKENS)
    at = rng.randrange(len(data) + 1)
    data[at : at + rng.choice((0, len(token)))] = token


def repeat(rng: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """A piece of it, again and again."""
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.randint(1, 64)]
    huge = rng.random() < 0.01
    times = MAX_HUGE // max(1, len(piece)) if huge else rng.randint(1, 16)
    data[start:start] = piece * times


def remove(rng: Random, data: bytearray, samples: Sequence[bytes]) -> None:
    """A piece of it."""
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.randint(1, 32)]


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    truncate,
    extend,
    splice,
    set_number,
    set_byte,
    put_token,
    repeat,
    remove,
)


def bad_input(rng: Random, samples: Sequence[bytes]) -> bytes:
    """One case: a sample changed in one to four ways, or, now and then, plain noise."""
    if rng.random() < 0.05:
        return rng.randbytes(int(rng.random() ** 2 * 600))
    data = bytearray(rng.choice(samples))
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice(MUTATIONS)(rng, data, samples)
    return bytes(data[:MAX_HUGE])
