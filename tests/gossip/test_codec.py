"""Strict CBOR: what is refused, and why it must be."""

from __future__ import annotations

import pytest

from gossip.codec import MAX_DEPTH, decode, encode
from gossip.errors import DecodeError, GossipError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (-1, "20"),
        (2**64 - 1, "1bffffffffffffffff"),
        (-(2**64), "3bffffffffffffffff"),
        (b"\x01\x02", "420102"),
        ("ü", "62c3bc"),
        ([1, [2, True, None]], "82018302f5f6"),
        ({"b": 1, "aa": 2, 10: 3}, "a30a0361620162616102"),
    ],
)
def test_values_have_the_bytes_of_the_rfc(value: object, expected: str) -> None:
    assert encode(value).hex() == expected
    assert decode(bytes.fromhex(expected)) == value


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("", "nothing at all"),
        ("0000", "a second value behind the first"),
        ("1800", "an integer in more bytes than it needs"),
        ("5f4101ff", "an indefinite byte string"),
        ("9f01ff", "an indefinite array"),
        ("f97e00", "a float"),
        ("f7", "undefined"),
        ("f8ff", "a simple value"),
        ("c001", "a tag for a date"),
        ("d823622e2a", "a tag that would compile a regular expression"),
        ("d81c81d81d00", "tags that would build a cyclic list"),
        ("c249010000000000000000", "a big integer"),
        ("a2616101616102", "a key twice"),
        ("a2616201616101", "keys out of order"),
        ("a1f501", "a boolean key"),
        ("a1800100", "an array as key"),
        ("62c328", "text that is not UTF-8"),
        ("42ff", "a string that ends early"),
        ("5bffffffffffffffff", "a string longer than memory"),
        ("9bffffffffffffffff", "an array longer than memory"),
        ("9b00000000ffffffff00", "an array with fewer items than it says"),
        ("bb7fffffffffffffff", "a map longer than memory"),
        ("1b00", "an argument that ends early"),
    ],
)
def test_anything_else_is_refused(data: str, what: str) -> None:
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(data))


def test_depth_is_bounded_both_ways() -> None:
    value: object = 0
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert decode(encode(value)) == value
    with pytest.raises(DecodeError):
        decode(b"\x81" * 5000 + b"\x00")
    with pytest.raises(GossipError):
        encode([[value, [value]], [[[value]]]])


def test_size_is_bounded() -> None:
    data = encode(b"x" * 100)
    assert decode(data, max_size=len(data)) == b"x" * 100
    with pytest.raises(DecodeError) as caught:
        decode(data, max_size=len(data) - 1)
    assert caught.value.reason == "oversized"


@pytest.mark.parametrize("value", [1.5, {1, 2}, {(1,): 2}, 2**64, object(), {True: 1}])
def test_other_values_are_not_encoded(value: object) -> None:
    with pytest.raises(GossipError) as caught:
        encode(value)
    assert caught.value.reason == "unencodable"


def test_more_values_than_the_caller_expects_are_refused_before_they_are_made() -> None:
    assert decode(encode([0] * 63), max_items=64) == [0] * 63
    with pytest.raises(DecodeError, match="more than 64 values"):
        decode(encode([0] * 64), max_items=64)
