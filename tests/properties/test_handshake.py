"""Nothing but what the peer made is accepted, and nothing but RemoteError is raised.

A liar who knows the receiver's static key, as every member does, can make mac1 right for any
bytes; so each change is tried with the mac1 that was there and with the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.node.cookies import MACS_SIZE, CookieJar
from meshd.node.errors import RemoteError
from meshd.node.handshake import Purpose
from meshd.node.noise import AES256GCM, CHACHA20POLY1305, CipherSuite
from meshd.node.payloads import PAYLOAD_SIZE, EnrolPayload, MemberPayload
from tests.node.handshakes import (
    CALLED_PUBLIC,
    CALLER_PUBLIC,
    ENROL,
    MEMBER,
    initiator,
    resealed,
    respond,
    responder,
)

SOURCE = ("192.0.2.1", 4000)
INDEXES = {"initiation": range(4, 8), "response": range(4, 8)}
"""The sender's index is outside Noise's transcript, as WireGuard's is: a liar can set it, and gets
a session that nobody's frames reach."""

HEAD_AND_KEYS = 160
"""Bytes that hold a message's head, its keys, and the start of the payload that is sealed."""

CALLER_SIDE = initiator()
INITIATION = CALLER_SIDE.message(MEMBER)
ENROLMENT = initiator(CHACHA20POLY1305, Purpose.ENROL).message(ENROL)
CALLED_SIDE = responder()
RESPONSE, _ = respond(INITIATION)
JAR = CookieJar(lambda size: b"r" * size, CALLED_PUBLIC, 0.0)
COOKIE = JAR.reply(INITIATION, SOURCE, 0.0)
WITH_COOKIE = CALLER_SIDE.message(MEMBER, CALLER_SIDE.read_cookie(COOKIE))

Reader = Callable[[bytes], object]
READERS: dict[str, tuple[bytes, Reader, bytes]] = {
    "initiation": (INITIATION, CALLED_SIDE.read, CALLED_PUBLIC),
    "response": (RESPONSE, CALLER_SIDE.read_response, CALLER_PUBLIC),
    "cookie": (COOKIE, CALLER_SIDE.read_cookie, b""),
}
kinds = pytest.mark.parametrize("kind", READERS)


def flips(message: bytes, end: int) -> Iterator[tuple[int, bytes]]:
    """Every message that differs in one bit before `end`, with that bit's byte offset."""
    for bit in range(8 * end):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << bit % 8
        yield bit // 8, bytes(changed)


def accepted(reader: Reader, datagram: bytes) -> bool:
    """Whether `reader` takes it; whatever it raises but RemoteError fails the test."""
    try:
        reader(datagram)
    except RemoteError:
        return False
    return True


@kinds
def test_the_message_itself_is_accepted(kind: str) -> None:
    message, reader, _ = READERS[kind]
    assert accepted(reader, message)


@kinds
def test_every_flipped_bit_is_refused(kind: str) -> None:
    message, reader, _ = READERS[kind]
    # mac2 of an initiation is the cookie jar's to judge: see below.
    end = len(message) - (16 if kind == "initiation" else 0)
    assert [at for at, changed in flips(message, end) if accepted(reader, changed)] == []


@pytest.mark.parametrize("kind", ["initiation", "response"])
def test_every_flipped_bit_is_refused_though_mac1_be_right(kind: str) -> None:
    message, reader, receiver = READERS[kind]
    spoilt = [*flips(message, HEAD_AND_KEYS)]
    for at in range(HEAD_AND_KEYS, len(message) - MACS_SIZE):  # under one AEAD: a bit of each byte
        spoilt.append((at, message[:at] + bytes([message[at] ^ 1 << at % 8]) + message[at + 1 :]))
    wrong = [
        at
        for at, changed in spoilt
        if at not in INDEXES[kind] and accepted(reader, resealed(changed, receiver))
    ]
    assert wrong == []


@pytest.mark.parametrize("suite", [AES256GCM, CHACHA20POLY1305], ids=lambda s: s.name)
def test_every_flipped_bit_of_an_enrolment_is_refused(suite: CipherSuite) -> None:
    message = initiator(suite, Purpose.ENROL).message(ENROL)
    reader = responder(suite).read
    assert accepted(reader, message)
    for at, changed in flips(message[:HEAD_AND_KEYS], HEAD_AND_KEYS):
        whole = resealed(changed + message[HEAD_AND_KEYS:], CALLED_PUBLIC)
        assert at in INDEXES["initiation"] or not accepted(reader, whole)


def test_every_flipped_bit_fails_the_cookies_test() -> None:
    assert JAR.check(WITH_COOKIE, SOURCE, 0.0)
    passed = [at for at, changed in flips(WITH_COOKIE, 1200) if JAR.check(changed, SOURCE, 0.0)]
    assert passed == []


def test_mac2_changes_nothing_that_is_read() -> None:
    assert CALLED_SIDE.read(INITIATION[:-16] + b"\xff" * 16) == CALLED_SIDE.read(INITIATION)


@kinds
def test_every_truncation_and_extension_is_refused(kind: str) -> None:
    message, reader, receiver = READERS[kind]
    for size in range(len(message)):
        assert not accepted(reader, message[:size])
        if receiver and size > MACS_SIZE:
            assert not accepted(reader, resealed(message[:size], receiver))
    for extra in (b"\0", b"\0" * 16, message[-1:], message):
        assert not accepted(reader, message + extra)
        if receiver:
            assert not accepted(reader, resealed(message + extra, receiver))


@given(kind=st.sampled_from(sorted(READERS)), data=st.binary(max_size=1300))
def test_noise_is_refused(kind: str, data: bytes) -> None:
    message, reader, receiver = READERS[kind]
    assert not accepted(reader, data)
    whole = message[:8] + data.ljust(len(message), b"\0")[8 : len(message)]
    assert not accepted(reader, whole)
    if receiver:
        assert not accepted(reader, resealed(whole, receiver))


@given(
    kind=st.sampled_from(["initiation", "response"]),
    start=st.integers(8, 1168),
    patch=st.binary(min_size=1, max_size=64),
)
def test_a_patch_is_refused_though_mac1_be_right(kind: str, start: int, patch: bytes) -> None:
    message, reader, receiver = READERS[kind]
    start = max(start, 12 if kind == "response" else 8)
    patched = (message[:start] + patch + message[start + len(patch) :])[: len(message)]
    whole = resealed(patched, receiver)
    assert accepted(reader, whole) == (patched[:-MACS_SIZE] == message[:-MACS_SIZE])


@given(other=st.sampled_from([INITIATION, ENROLMENT, RESPONSE]), cut=st.integers(1, 1199))
def test_two_messages_do_not_make_a_third(other: bytes, cut: int) -> None:
    spliced = INITIATION[:cut] + other[cut:]
    if spliced[:-16] != INITIATION[:-16]:
        assert not accepted(CALLED_SIDE.read, spliced)


@given(
    st.builds(
        lambda head, form, rest: (head + bytes([form]) + rest)[:PAYLOAD_SIZE],
        st.binary(min_size=76, max_size=76),
        st.sampled_from([0, 0, 1, 2]),
        st.one_of(st.binary(max_size=80), st.integers(0, 5).map(lambda n: bytes([n, 0, 1, 7]))),
    )
)
def test_a_members_payload_has_one_encoding_or_is_refused(data: bytes) -> None:
    try:
        payload = MemberPayload.decode(data)
    except RemoteError:
        return
    assert payload.encode() == data[: len(payload.encode())]
    assert not any(data[len(payload.encode()) :])


@given(st.binary(max_size=60))
def test_an_enrolments_payload_has_one_encoding_or_is_refused(data: bytes) -> None:
    try:
        payload = EnrolPayload.decode(data)
    except RemoteError:
        return
    assert payload.encode() == data[:28]
    assert not any(data[28:])
