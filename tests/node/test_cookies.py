from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

import pytest

from meshd.node.cookies import (
    COOKIE_LIFETIME,
    COOKIE_REPLY_SIZE,
    MAC_SIZE,
    MACS_SIZE,
    NO_MAC,
    CookieJar,
    append_macs,
    check_mac1,
    mac1_key,
    open_cookie_reply,
)
from meshd.node.errors import RemoteError

STATIC = b"S" * 32
SOURCE = ("192.0.2.7", 51820)
INDEX = 0x0A0B0C0D
KEY = mac1_key(STATIC)
INITIATION = append_macs(KEY, b"\x01\x01\x00\x00" + INDEX.to_bytes(4, "big") + bytes(1160), None)
MAC1 = INITIATION[-MACS_SIZE:-MAC_SIZE]


def counting() -> Callable[[int], bytes]:
    """Random bytes that never repeat and are the same in every run."""
    calls = 0

    def draw(size: int) -> bytes:
        nonlocal calls
        calls += 1
        return hashlib.blake2s(calls.to_bytes(4, "big")).digest()[:size]

    return draw


def jar(now: float = 0.0) -> CookieJar:
    return CookieJar(counting(), STATIC, now)


def answered(cookies: CookieJar, now: float) -> bytes:
    """The initiation again, with the cookie that `cookies` gives out at `now`."""
    reply = cookies.reply(INITIATION, SOURCE, now)
    return append_macs(KEY, INITIATION[:-MACS_SIZE], open_cookie_reply(reply, STATIC, MAC1, INDEX))


def test_macs_are_keyed_blake2s_over_all_that_precedes_them() -> None:
    body = INITIATION[:-MACS_SIZE]
    key = hashlib.blake2s(b"aegisray mac1" + STATIC).digest()
    assert hashlib.blake2s(body, key=key, digest_size=16).digest() == MAC1
    assert INITIATION[-MAC_SIZE:] == NO_MAC
    message = append_macs(KEY, body, b"c" * 16)
    covered = hashlib.blake2s(body + MAC1, key=b"c" * 16, digest_size=16).digest()
    assert message == body + MAC1 + covered


def test_mac1_is_right_for_one_key_and_one_message() -> None:
    assert check_mac1(KEY, INITIATION)
    assert not check_mac1(mac1_key(b"T" * 32), INITIATION)
    assert not check_mac1(KEY, INITIATION[1:])
    assert not check_mac1(KEY, b"\x00" * 31)


def test_a_reply_has_64_bytes_and_names_whom_it_answers() -> None:
    reply = jar().reply(INITIATION, SOURCE, 0.0)
    assert len(reply) == COOKIE_REPLY_SIZE == 64 < len(INITIATION)
    assert struct.unpack_from(">BBHI", reply) == (3, 1, 0, INDEX)


def test_a_cookie_is_good_from_its_source_only() -> None:
    cookies = jar()
    message = answered(cookies, 1.0)
    assert cookies.check(message, SOURCE, 2.0)
    assert not cookies.check(message, (SOURCE[0], 1), 2.0)
    assert not cookies.check(message, ("192.0.2.8", SOURCE[1]), 2.0)
    assert not cookies.check(INITIATION, SOURCE, 2.0)
    assert not cookies.check(bytes(31), SOURCE, 2.0)
    assert not jar().check(answered(CookieJar(lambda n: b"x" * n, STATIC, 0), 0), SOURCE, 0)


def test_a_cookie_is_good_for_one_message_only() -> None:
    cookies = jar()
    message = answered(cookies, 1.0)
    assert not cookies.check(b"\x02" + message[1:], SOURCE, 1.0)


@pytest.mark.parametrize("given", [0.0, 60.0, 119.0])
def test_a_cookie_lives_for_its_lifetime_and_at_most_twice_that(given: float) -> None:
    cookies = jar()
    message = answered(cookies, given)
    assert cookies.check(message, SOURCE, given + COOKIE_LIFETIME)
    assert not cookies.check(message, SOURCE, given + 2 * COOKIE_LIFETIME)


def test_a_jar_left_alone_for_long_remembers_nothing() -> None:
    cookies = jar()
    message = answered(cookies, 0.0)
    assert not cookies.check(message, SOURCE, 1e6)


def test_replies_never_use_a_nonce_twice() -> None:
    cookies = jar()
    replies = [cookies.reply(INITIATION, SOURCE, 0.0) for _ in range(20)]
    assert len({reply[8:32] for reply in replies}) == 20
    opened = {open_cookie_reply(reply, STATIC, MAC1, INDEX) for reply in replies}
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "cookie-length"),
        (bytes(63), "cookie-length"),
        (bytes(65), "cookie-length"),
        (bytes(64), "cookie-header"),
        (b"\x03\x01\x00\x00" + (INDEX + 1).to_bytes(4, "big") + bytes(56), "cookie-header"),
        (b"\x03\x01\x00\x00" + INDEX.to_bytes(4, "big") + bytes(56), "cookie-decrypt"),
    ],
)
def test_a_bad_reply_is_refused_for_its_reason(datagram: bytes, reason: str) -> None:
    with pytest.raises(RemoteError) as caught:
        open_cookie_reply(datagram, STATIC, MAC1, INDEX)
    assert caught.value.reason == reason


def test_a_reply_to_another_initiation_is_refused() -> None:
    reply = jar().reply(INITIATION, SOURCE, 0.0)
    for static, mac1 in ((b"T" * 32, MAC1), (STATIC, bytes(16))):
        with pytest.raises(RemoteError, match="cookie-decrypt"):
            open_cookie_reply(reply, static, mac1, INDEX)
