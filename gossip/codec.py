"""Strict, canonical CBOR (RFC 8949 on cbor2): one value has one encoding, and nothing else decodes.

Only integers of 64 bits, byte strings, text, booleans, null, arrays, and maps whose keys are text
or integers. No tags, no floats, no indefinite lengths, no duplicate keys, no trailing bytes, at
most `MAX_DEPTH` levels; map keys in the order of RFC 7049 section 3.9 (shorter first, then by
bytes). cbor2 with every strict option on still builds objects from tags and ignores trailing
bytes, hence the scan before it and the comparison after it.
"""

from __future__ import annotations

from typing import Any, Final

import cbor2

from gossip.errors import DecodeError, GossipError

MAX_DEPTH: Final = 16
_MAX_INTEGER: Final = 2**64 - 1

_REFUSED: Final = 255
_STRING_MAJORS: Final = (2, 3)
_CONTAINER_MAJORS: Final = (4, 5)


def encode(value: object) -> bytes:
    """The canonical bytes of `value`. Raises `GossipError("unencodable")` on any other type."""
    _check(value, 0)
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, max_size: int = 8192, max_items: int | None = None) -> Any:
    """The value that `data` canonically encodes. Raises `DecodeError`, and nothing else.

    `max_items` bounds the time that it takes: without it, all of `max_size` may be small values.
    """
    if len(data) > max_size:
        raise DecodeError(f"{len(data)} bytes, at most {max_size}", "oversized")
    _scan(data, max_size if max_items is None else max_items)
    try:
        value = cbor2.loads(
            data, max_depth=MAX_DEPTH, allow_indefinite=False, allow_duplicate_keys=False
        )
        canonical = encode(value)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DecodeError("not the CBOR that is spoken here") from error
    if canonical != data:
        raise DecodeError("not canonical, or followed by more bytes")
    return value


def _check(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise GossipError("unencodable", f"nested deeper than {MAX_DEPTH}")
    kind = type(value)
    if kind is int:
        if not -_MAX_INTEGER - 1 <= value <= _MAX_INTEGER:  # type: ignore[operator]
            raise GossipError("unencodable", "an integer of more than 64 bits")
    elif kind is list or kind is tuple:
        for item in value:  # type: ignore[attr-defined]
            _check(item, depth + 1)
    elif kind is dict:
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) not in (str, int):
                raise GossipError("unencodable", "a map key that is no text and no integer")
            _check(key, depth + 1)
            _check(item, depth + 1)
    elif kind not in (bytes, str, bool, type(None)):
        raise GossipError("unencodable", f"a value of type {kind.__name__}")


def _argument_sizes() -> bytes:
    """For each first byte of an item: the bytes of its argument, or `_REFUSED`."""
    table = bytearray([_REFUSED] * 256)
    for major in range(6):  # 6 is tags; of 7 only false, true and null are let in
        for info in range(24):
            table[major << 5 | info] = 0
        for index, size in enumerate((1, 2, 4, 8)):
            table[major << 5 | 24 + index] = size
    for simple in (20, 21, 22):
        table[7 << 5 | simple] = 0
    return bytes(table)


_ARGUMENT_SIZE: Final = _argument_sizes()


def _scan(data: bytes, max_items: int) -> None:
    """Refuse what cbor2 would act upon: tags, floats, and lengths beyond the end."""
    position, end = 0, len(data)
    sizes = _ARGUMENT_SIZE
    items = 0
    while position < end:
        items += 1
        if items > max_items:
            raise DecodeError(f"more than {max_items} values", "oversized")
        head = data[position]
        position += 1
        size = sizes[head]
        if size == 0:
            argument = head & 31
        elif size == _REFUSED:
            raise DecodeError("a kind of value that is not spoken here")
        else:
            argument = int.from_bytes(data[position : position + size], "big")
            position += size
        major = head >> 5
        if major in _STRING_MAJORS:
            position += argument
        elif major in _CONTAINER_MAJORS and argument > end - position:
            raise DecodeError("more items than bytes")
    if position != end:
        raise DecodeError("shorter than it says")
