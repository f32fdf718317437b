"""As much of MessagePack as serf's RPC needs: no floats, no extensions."""

from __future__ import annotations

from typing import Any, Final

Value = None | bool | int | str | bytes | list[Any] | dict[Any, Any]

_STRINGS: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_INTEGERS: Final = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_ARRAYS: Final = {0xDC: 2, 0xDD: 4}
_MAPS: Final = {0xDE: 2, 0xDF: 4}


class IncompleteError(Exception):
    """The bytes end within a value: wait for more."""


def encode(value: Value) -> bytes:
    """One value. Raises ValueError for what serf is never sent."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xcf" + value.to_bytes(8, "big")
    if isinstance(value, str | bytes):
        data = value.encode() if isinstance(value, str) else value
        return b"\xda" + len(data).to_bytes(2, "big") + data  # raw16, as the old format has it
    if isinstance(value, list):
        return b"\xdc" + len(value).to_bytes(2, "big") + b"".join(map(encode, value))
    pairs = b"".join(encode(key) + encode(item) for key, item in value.items())
    return b"\xde" + len(value).to_bytes(2, "big") + pairs


def decode(data: bytes, at: int = 0) -> tuple[Value, int]:
    """The value at `at`, and where it ends; every string comes as text.

    Raises IncompleteError, and ValueError for a type that serf does not send.
    """
    first, at = _take(data, at, 1)
    kind = first[0]
    if kind < 0x80:
        return kind, at
    if kind >= 0xE0:
        return kind - 0x100, at
    if kind in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[kind], at
    if kind in _INTEGERS:
        raw, at = _take(data, at, _INTEGERS[kind])
        return int.from_bytes(raw, "big", signed=kind >= 0xD0), at
    if kind in _STRINGS or 0xA0 <= kind < 0xC0:
        size, at = _size(data, at, kind & 0x1F, _STRINGS.get(kind, 0))
        raw, at = _take(data, at, size)
        return raw.decode(errors="replace"), at
    if kind in _ARRAYS or 0x90 <= kind < 0xA0:
        size, at = _size(data, at, kind & 0x0F, _ARRAYS.get(kind, 0))
        items, at = _values(data, at, size)
        return items, at
    if kind in _MAPS or 0x80 <= kind < 0x90:
        size, at = _size(data, at, kind & 0x0F, _MAPS.get(kind, 0))
        items, at = _values(data, at, 2 * size)
        return dict(zip(items[::2], items[1::2], strict=True)), at
    raise ValueError(f"serf sends no value of type {kind:#x}")


def _values(data: bytes, at: int, count: int) -> tuple[list[Value], int]:
    found: list[Value] = []
    for _ in range(count):
        value, at = decode(data, at)
        found.append(value)
    return found, at


def _size(data: bytes, at: int, small: int, width: int) -> tuple[int, int]:
    if not width:
        return small, at
    raw, at = _take(data, at, width)
    return int.from_bytes(raw, "big"), at


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise IncompleteError
    return data[at : at + size], at + size
