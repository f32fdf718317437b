from __future__ import annotations

import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from meshd.node.cookies import NO_MAC, CookieJar
from meshd.node.errors import RemoteError
from meshd.node.handshake import (
    HANDSHAKE_SIZE,
    Initiator,
    MemberPayload,
    Purpose,
    Responder,
    prologue,
)
from meshd.node.noise import AES256GCM, CHACHA20POLY1305, CipherSuite
from meshd.node.payloads import Payload
from tests.node.handshakes import (
    ANSWER,
    CALLED,
    CALLED_INDEX,
    CALLED_PUBLIC,
    CALLER,
    CALLER_INDEX,
    CALLER_PUBLIC,
    ENROL,
    MEMBER,
    MESH,
    PSK,
    initiator,
    resealed,
    respond,
    responder,
)
from tests.node.lowkeys import LOW_ORDER_KEYS

suites = pytest.mark.parametrize("suite", [AES256GCM, CHACHA20POLY1305], ids=lambda s: s.name)


@suites
@pytest.mark.parametrize(
    ("purpose", "payload"), [(Purpose.MEMBER, MEMBER), (Purpose.ENROL, ENROL)], ids=str
)
def test_both_sides_end_with_the_same_keys_and_each_others_words(
    suite: CipherSuite, purpose: Purpose, payload: Payload
) -> None:
    caller, called = initiator(suite, purpose), responder(suite)
    message = caller.message(payload)
    assert called.check_mac1(message)
    initiation = called.read(message)
    assert initiation.payload == payload
    assert initiation.purpose is purpose
    assert initiation.sender_index == CALLER_INDEX
    assert initiation.remote_static == CALLER_PUBLIC

    response, theirs = called.respond(initiation, PSK, b"f" * 32, CALLED_INDEX, ANSWER)
    answer, ours = caller.read_response(response)
    assert answer == ANSWER
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
    assert ours.send != ours.receive
    assert ours.handshake_hash == theirs.handshake_hash
    assert (ours.local_index, ours.remote_index) == (CALLER_INDEX, CALLED_INDEX)
    assert (theirs.local_index, theirs.remote_index) == (CALLED_INDEX, CALLER_INDEX)
    assert ours.is_initiator
    assert not theirs.is_initiator


def test_the_bytes_are_where_the_protocol_says() -> None:
    message = initiator().message(MEMBER)
    assert len(message) == HANDSHAKE_SIZE == 1200
    assert struct.unpack_from(">BBBBI", message) == (1, 1, 0, 0, CALLER_INDEX)
    ephemeral = X25519PrivateKey.from_private_bytes(b"e" * 32).public_key().public_bytes_raw()
    assert message[8:40] == ephemeral
    assert message[-16:] == NO_MAC
    assert initiator(purpose=Purpose.ENROL).message(ENROL)[2] == 1

    response, _ = respond(message)
    assert len(response) == 1200
    assert struct.unpack_from(">BBHII", response) == (2, 1, 0, CALLED_INDEX, CALLER_INDEX)
    assert response[-16:] == NO_MAC
    assert prologue(MESH, Purpose.ENROL) == b"aegisray/1\x01" + MESH


def test_a_second_message_differs_in_mac2_only() -> None:
    caller = initiator()
    first = caller.message(MEMBER)
    again = caller.message(MEMBER, cookie=b"c" * 16)
    assert first[:-16] == again[:-16]
    assert again[-16:] != NO_MAC
    assert caller.message(MEMBER) == first


def test_one_ephemeral_key_never_seals_two_payloads() -> None:
    caller = initiator()
    caller.message(MEMBER)
    with pytest.raises(ValueError, match="new Initiator"):
        caller.message(ENROL)


def test_a_cookie_asked_for_is_given_and_accepted() -> None:
    jar = CookieJar(lambda size: b"r" * size, CALLED_PUBLIC, 0.0)
    source = ("192.0.2.1", 4000)
    caller = initiator()
    first = caller.message(MEMBER)
    assert not jar.check(first, source, 1.0)
    cookie = caller.read_cookie(jar.reply(first, source, 1.0))
    again = caller.message(MEMBER, cookie)
    assert jar.check(again, source, 2.0)
    assert not jar.check(again, ("192.0.2.1", 4001), 2.0)
    assert responder().read(again).payload == MEMBER


@suites
def test_a_strangers_psk_makes_no_session(suite: CipherSuite) -> None:
    caller = initiator(suite, psk=b"q" * 32)
    response, _ = respond(caller.message(MEMBER), suite)
    with pytest.raises(RemoteError, match="handshake-decrypt"):
        caller.read_response(response)


def test_another_mesh_or_purpose_is_not_understood() -> None:
    message = initiator().message(MEMBER)
    with pytest.raises(RemoteError, match="handshake-decrypt"):
        Responder(AES256GCM, b"n" * 16, CALLED).read(message)
    enrolment = resealed(message[:2] + b"\x01" + message[3:], CALLED_PUBLIC)
    with pytest.raises(RemoteError, match="handshake-decrypt"):
        responder().read(enrolment)


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, 2, "handshake-kind"),
        (1, 2, "handshake-version"),
        (2, 2, "handshake-kind"),
        (3, 1, "handshake-kind"),
        (9, 0, "handshake-decrypt"),
        (50, 0, "handshake-decrypt"),
        (100, 0, "handshake-decrypt"),
        (1170, 0, "handshake-mac1"),
    ],
)
def test_an_initiation_is_refused_for_its_reason(offset: int, value: int, reason: str) -> None:
    message = bytearray(initiator().message(MEMBER))
    message[offset] = value
    datagram = bytes(message) if offset > 1168 else resealed(bytes(message), CALLED_PUBLIC)
    with pytest.raises(RemoteError) as caught:
        responder().read(datagram)
    assert caught.value.reason == reason


def test_a_version_mismatch_is_told_in_plain_words() -> None:
    message = bytearray(initiator().message(MEMBER))
    message[1] = 7
    with pytest.raises(RemoteError, match="the peer speaks version 7, this node 1"):
        responder().read(bytes(message))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, 1, "handshake-kind"),
        (1, 2, "handshake-version"),
        (2, 1, "handshake-kind"),
        (3, 1, "handshake-kind"),
        (8, 0, "handshake-index"),
        (13, 0, "handshake-decrypt"),
        (60, 0, "handshake-decrypt"),
        (1170, 0, "handshake-mac1"),
        (1190, 1, "handshake-mac2"),
    ],
)
def test_a_response_is_refused_for_its_reason_and_the_right_one_still_read(
    offset: int, value: int, reason: str
) -> None:
    caller = initiator()
    good, _ = respond(caller.message(MEMBER))
    bad = bytearray(good)
    bad[offset] = value
    datagram = bytes(bad) if offset > 1168 else resealed(bytes(bad), CALLER_PUBLIC)
    with pytest.raises(RemoteError) as caught:
        caller.read_response(datagram)
    assert caught.value.reason == reason
    assert caller.read_response(good)[0] == ANSWER


def test_a_response_may_be_shorter_than_ours() -> None:
    caller = initiator()
    good, _ = respond(caller.message(MEMBER))
    short = resealed(good[:200], CALLER_PUBLIC)
    with pytest.raises(RemoteError, match="handshake-decrypt"):
        caller.read_response(short)
    for size in (0, 1, 91, 1201):
        with pytest.raises(RemoteError, match="handshake-length"):
            caller.read_response(good.ljust(1201, b"\0")[:size])


@pytest.mark.parametrize("low", LOW_ORDER_KEYS, ids=lambda key: key.hex()[:8])
def test_low_order_keys_are_refused(low: bytes) -> None:
    caller = initiator()
    message = caller.message(MEMBER)
    with pytest.raises(RemoteError, match="handshake-key"):
        responder().read(resealed(message[:8] + low + message[40:], CALLED_PUBLIC))
    response, _ = respond(message)
    with pytest.raises(RemoteError, match="handshake-key"):
        caller.read_response(resealed(response[:12] + low + response[44:], CALLER_PUBLIC))
    lured = Initiator(AES256GCM, MESH, Purpose.MEMBER, CALLER, low, PSK, b"e" * 32, 1)
    with pytest.raises(RemoteError, match="handshake-key"):
        lured.message(MEMBER)


def test_a_replayed_initiation_shows_by_its_counter() -> None:
    message = initiator().message(MEMBER)
    called = responder()
    first, again = called.read(message), called.read(message)
    assert first.payload.counter == again.payload.counter == MEMBER.counter
    assert first.remote_static == again.remote_static


def test_two_responses_to_one_initiation_share_no_keys() -> None:
    called = responder()
    initiation = called.read(initiator().message(MEMBER))
    _, one = called.respond(initiation, PSK, b"f" * 32, 1, ANSWER)
    _, two = called.respond(initiation, PSK, b"g" * 32, 2, ANSWER)
    assert len({one.send, one.receive, two.send, two.receive}) == 4


def test_a_response_has_no_counter() -> None:
    called = responder()
    initiation = called.read(initiator().message(MEMBER))
    with pytest.raises(ValueError, match="counter"):
        called.respond(initiation, PSK, b"f" * 32, 1, MEMBER)


def test_a_response_with_a_counter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = initiator()
    encoded = MEMBER.encode()
    monkeypatch.setattr(MemberPayload, "encode", lambda _self: encoded)
    response, _ = respond(caller.message(MEMBER))
    with pytest.raises(RemoteError, match="handshake-payload"):
        caller.read_response(response)


def test_what_does_not_fit_is_the_callers_mistake() -> None:
    large = MemberPayload(1, 0, bytes(64), (bytes(985),))
    initiator().message(MemberPayload(1, 0, bytes(64), (bytes(984),)))
    with pytest.raises(ValueError, match="does not fit"):
        initiator().message(large)
    with pytest.raises(ValueError, match="32 bytes"):
        initiator(psk=bytes(31))


def test_only_a_right_mac1_passes_the_cheap_test() -> None:
    message = initiator().message(MEMBER)
    called = responder()
    assert called.check_mac1(message)
    assert not called.check_mac1(message[:-1])
    assert not called.check_mac1(message + b"\0")
    assert not called.check_mac1(b"")
    assert not called.check_mac1(message[:1168] + bytes(32))
    assert not Responder(AES256GCM, MESH, CALLER).check_mac1(message)


def test_no_secret_is_in_a_repr() -> None:
    caller, called = initiator(), responder()
    initiation = called.read(caller.message(MEMBER))
    _, keys = called.respond(initiation, PSK, b"f" * 32, CALLED_INDEX, ANSWER)
    shown = repr(keys) + repr(caller) + repr(called) + repr(initiation)
    for secret in (keys.send, keys.receive, PSK):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
