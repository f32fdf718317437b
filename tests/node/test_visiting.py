"""Who comes in by a stream, and who gets the website."""

from __future__ import annotations

import base64
import struct
from hashlib import blake2s
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.node.gate import Admit, Gate, Refuse
from meshd.node.visiting import (
    MAX_FIRST,
    MAX_REMEMBERED,
    TOLERANCE,
    Joiner,
    Visitors,
    greet,
    joiner_key,
    member_key,
)
from meshd.node.wire import Endpoint

SECRET, LOCATOR, MESH = b"s" * 32, b"l" * 16, b"m" * 32
HERE: Endpoint = ("tls:192.0.2.1", 443)
THERE: Endpoint = ("tls:198.51.100.7", 40_001)
CERTIFICATE = bytes(range(32))
UNIX = 1_800_000_000.0


class Site:
    """A gate with a clock that can be set."""

    def __init__(self, secret: bytes = SECRET, invitations: tuple[bytes, ...] = ()) -> None:
        self.ahead = 0.0
        self.came: list[tuple[Endpoint, bool, float]] = []
        rng = Random(1)
        self.visitors = Visitors(
            secret,
            MESH,
            lambda locator: locator in invitations,
            lambda now: UNIX + now + self.ahead,
            rng.randbytes,
        )
        self.visitors.admitted = lambda *told: self.came.append(told)
        self.gate: Gate = self.visitors

    def greeting(self, endpoint: Endpoint = HERE, now: float = 0.0) -> bytes:
        data = self.gate.greet(endpoint, CERTIFICATE, now)
        assert data is not None
        return data

    def admits(self, first: bytes, certificate: bytes = CERTIFICATE, now: float = 0.0) -> bool:
        verdict = self.gate.admit(first, THERE, certificate, now)
        assert isinstance(verdict, (Admit, Refuse))
        return isinstance(verdict, Admit)


def test_a_member_comes_in_and_its_datagrams_stand_behind_the_request() -> None:
    site, member = Site(), Site()
    greeting = member.greeting()
    assert site.gate.admit(greeting + b"row", THERE, CERTIFICATE, 0.0) == Admit(len(greeting))
    assert site.came == [(THERE, True, 0.0)]


def test_a_first_flight_is_a_request_that_any_web_server_understands() -> None:
    head, _, rest = Site().greeting().partition(b"\r\n\r\n")
    assert rest == b""
    first, *lines = head.decode("ascii").split("\r\n")
    assert first.startswith("GET /")
    assert first.endswith(" HTTP/1.1")
    fields = dict(line.split(": ", 1) for line in lines)
    assert fields["Host"] == "192.0.2.1"
    assert {"User-Agent", "Accept", "Cookie"} <= set(fields)


def test_the_host_is_told_as_a_browser_would() -> None:
    assert b"Host: 192.0.2.1:8443\r\n" in Site().greeting(("tls:192.0.2.1", 8443))
    assert b"Host: [2001:db8::1]\r\n" in Site().greeting(("tls:2001:db8::1", 443))
    named = greet(SECRET, HERE, CERTIFICATE, UNIX, Random(1).randbytes, "www.example.org")
    assert b"Host: www.example.org\r\n" in named


def test_first_flights_have_many_lengths_within_what_is_looked_at() -> None:
    site = Site()
    sizes = [len(site.greeting()) for _ in range(100)]
    assert len(set(sizes)) > 50
    assert min(sizes) > 300
    assert max(sizes) < MAX_FIRST


def test_another_mesh_is_refused() -> None:
    assert not Site().admits(Site(b"t" * 32).greeting())


def test_a_token_is_worth_nothing_under_another_certificate() -> None:
    assert not Site().admits(Site().greeting(), certificate=bytes(32))


def test_a_token_counts_once() -> None:
    site, greeting = Site(), Site().greeting()
    assert site.admits(greeting)
    assert not site.admits(greeting)
    assert len(site.came) == 1


@pytest.mark.parametrize("off", [-TOLERANCE - 1, TOLERANCE + 1, -3600.0, 3600.0])
def test_a_token_of_another_time_is_refused(off: float) -> None:
    site, member = Site(), Site()
    member.ahead = off
    assert not site.admits(member.greeting())


@pytest.mark.parametrize("off", [1 - TOLERANCE, TOLERANCE - 1])
def test_clocks_may_differ_a_little(off: float) -> None:
    site, member = Site(), Site()
    member.ahead = off
    assert site.admits(member.greeting())


def test_who_holds_an_invitation_comes_in_but_is_no_member() -> None:
    site = Site(invitations=(b"k" * 16, LOCATOR))
    joiner = Joiner(MESH, LOCATOR, lambda now: UNIX + now, Random(2).randbytes)
    greeting = joiner.greet(HERE, CERTIFICATE, 0.0)
    assert greeting is not None
    assert site.admits(greeting)
    assert site.came == [(THERE, False, 0.0)]
    assert not Site().admits(joiner.greet(HERE, CERTIFICATE, 0.0) or b"")


def test_an_invitation_to_another_mesh_opens_nothing() -> None:
    stranger = Joiner(b"n" * 32, LOCATOR, lambda now: UNIX + now, Random(2).randbytes)
    assert not Site(invitations=(LOCATOR,)).admits(stranger.greet(HERE, CERTIFICATE, 0.0) or b"")


def test_the_same_invitation_never_looks_the_same() -> None:
    joiner = Joiner(MESH, LOCATOR, lambda now: UNIX, Random(2).randbytes)
    tokens = set()
    for _ in range(50):
        greeting = joiner.greet(HERE, CERTIFICATE, 0.0) or b""
        tokens.add(greeting.partition(b"sid=")[2][:16])
    assert len(tokens) == 50
    assert LOCATOR not in {base64.urlsafe_b64decode(token + b"A" * 8)[:16] for token in tokens}


def test_whoever_comes_invitations_are_looked_at_once() -> None:
    asked: list[bytes] = []

    def invited(locator: bytes) -> bool:
        asked.append(locator)
        return False

    gate = Visitors(SECRET, MESH, invited, lambda now: UNIX + now, Random(1).randbytes)
    for first in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 40, Site().greeting(), b"x"):
        gate.admit(first, THERE, CERTIFICATE, 0.0)
    assert [len(locator) for locator in asked] == [16] * 4


def test_tokens_made_by_the_documented_formula_are_right() -> None:
    tail = struct.pack(">Q8s", int(UNIX * 1000), b"r" * 8)
    pad = blake2s(tail, key=MESH, digest_size=16).digest()
    place = bytes(a ^ b for a, b in zip(LOCATOR, pad, strict=True))
    for beginning, key in ((b"b" * 16, member_key(SECRET)), (place, joiner_key(LOCATOR))):
        head = beginning + tail
        mac = blake2s(head + CERTIFICATE, key=key, digest_size=16).digest()
        token = base64.urlsafe_b64encode(head + mac)
        first = b"GET / HTTP/1.1\r\nCookie: sid=" + token + b"\r\n\r\n"
        assert Site(invitations=(LOCATOR,)).admits(first)
        assert not Site(b"t" * 32).admits(first)


def test_a_joiner_lets_nobody_in() -> None:
    joiner = Joiner(MESH, LOCATOR, lambda now: UNIX + now, Random(2).randbytes)
    assert joiner.admit(Site().greeting(), THERE, CERTIFICATE, 0.0) == Refuse()


@given(st.integers(0, 2000), st.integers(1, 255))
def test_a_changed_token_is_refused(position: int, change: int) -> None:
    greeting = bytearray(Site().greeting())
    token = greeting.index(b"sid=") + 4
    at = token + position % 64
    greeting[at] ^= change
    assert not Site().admits(bytes(greeting))


@given(st.binary(max_size=600))
def test_strangers_are_refused_whatever_they_say(data: bytes) -> None:
    site = Site(invitations=(LOCATOR,))
    assert not site.admits(data or b"\0")


@given(st.integers(1, 1500))
def test_what_is_cut_off_is_refused(size: int) -> None:
    greeting = Site().greeting()
    assert not Site().admits(greeting[: min(size, len(greeting) - 1)])


def test_only_right_tokens_are_remembered_and_a_bounded_number() -> None:
    site = Site()
    bad = Site(b"t" * 32).greeting()
    for _ in range(10):
        site.admits(bad)
    assert not site.visitors._used
    member = Site()
    first = member.greeting()
    site.admits(first)
    for _ in range(MAX_REMEMBERED + 10):
        assert site.admits(member.greeting())
    assert len(site.visitors._used) == MAX_REMEMBERED


def test_tokens_whose_time_has_passed_are_forgotten_first() -> None:
    site, member = Site(), Site()
    for _ in range(MAX_REMEMBERED):
        site.admits(member.greeting())
    later = 2 * TOLERANCE + 1
    member.ahead = later
    assert site.admits(member.greeting(), now=later)
    assert len(site.visitors._used) == 1


def test_keys_differ_by_purpose() -> None:
    assert member_key(b"x" * 16) != joiner_key(b"x" * 16)
