"""The Noise machine against the published vectors, and its manners.

The vectors are cacophony's, as the snow library publishes them (tests/vectors/cacophony.txt).
"""

from __future__ import annotations

from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from meshd.node.errors import LocalError, RemoteError
from meshd.node.noise import (
    AES256GCM,
    CHACHA20POLY1305,
    CipherSuite,
    HandshakeState,
    suite_by_name,
)
from tests.node.lowkeys import LOW_ORDER_KEYS, LowOrderKey

PROLOGUE = bytes.fromhex("4a6f686e2047616c74")
INITIATOR_STATIC = bytes.fromhex("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1")
INITIATOR_EPHEMERAL = bytes.fromhex(
    "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a"
)
RESPONDER_PUBLIC = bytes.fromhex("31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62")
RESPONDER_STATIC = bytes.fromhex("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893")
RESPONDER_EPHEMERAL = bytes.fromhex(
    "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b"
)
PSK = bytes.fromhex("54686973206973206d7920417573747269616e20706572737065637469766521")
PAYLOADS = [
    bytes.fromhex("4c756477696720766f6e204d69736573"),
    bytes.fromhex("4d757272617920526f746862617264"),
    bytes.fromhex("462e20412e20486179656b"),
    bytes.fromhex("4361726c204d656e676572"),
    bytes.fromhex("4a65616e2d426170746973746520536179"),
    bytes.fromhex("457567656e2042f6686d20766f6e2042617765726b"),
]

AESGCM_HASH = "60f2139120264f109f2bd525a8d94877d7896d64394c34a7abedbc114154a6d5"
AESGCM_MESSAGES = [
    "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944f70d65fedfd7ad29"
    "4f4c8f5c1324c7c90e54cd8af05652112a27b261e11ce99d9d517c4a1e0753038edb26066b4087b4"
    "c230aafa22b0552550b723eb69374a674d306a84e1852e30af2e2dbefeb4fd2f",
    "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088434190dae84b688764"
    "1a5f81e03d83f7be91fa1134c18dde966e18fc404b97a8",
    "061b631b380a639a0801920ddf205e2dbf6606c3328683c6af50fc",
    "c4b5ecd181f80279f2cc41217d490ed56459e3e3fb5e758e522d0d",
    "43897c593df3b427776e11c3632bb935fd7e31e50a4069c8b559188a04af961e12",
    "b7f9229e7ba4b89161baca67cef00381ce7b613bdcb8dcf233573476f6164dde9a8b1b9200",
]
CHACHAPOLY_HASH = "f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5"
CHACHAPOLY_MESSAGES = [
    "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8"
    "e2ad57527207feb56253c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab50009"
    "80c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e13f",
    "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b"
    "8f007572dab0322217755c0632f365717edbf34d33e87a",
    "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7",
    "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef",
    "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d",
    "dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292",
]

VECTORS = [
    pytest.param(AES256GCM, AESGCM_HASH, AESGCM_MESSAGES, id="aesgcm"),
    pytest.param(CHACHA20POLY1305, CHACHAPOLY_HASH, CHACHAPOLY_MESSAGES, id="chachapoly"),
]
suites = pytest.mark.parametrize("suite", [AES256GCM, CHACHA20POLY1305], ids=lambda s: s.name)


def private(data: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(data)


def pair(suite: CipherSuite) -> tuple[HandshakeState, HandshakeState]:
    """The vectors' two sides, before the first message."""
    initiator = HandshakeState(
        suite,
        initiator=True,
        prologue=PROLOGUE,
        static=private(INITIATOR_STATIC),
        remote_static=RESPONDER_PUBLIC,
    )
    responder = HandshakeState(
        suite, initiator=False, prologue=PROLOGUE, static=private(RESPONDER_STATIC)
    )
    initiator.set_psk(PSK)
    responder.set_psk(PSK)
    return initiator, responder


@pytest.mark.parametrize(("suite", "transcript", "ciphertexts"), VECTORS)
def test_the_published_vectors_pass_byte_for_byte(
    suite: CipherSuite, transcript: str, ciphertexts: list[str]
) -> None:
    initiator, responder = pair(suite)
    expected = [bytes.fromhex(text) for text in ciphertexts]

    assert initiator.write_message(PAYLOADS[0], private(INITIATOR_EPHEMERAL)) == expected[0]
    assert responder.read_message(expected[0]) == PAYLOADS[0]
    assert responder.remote_static == private(INITIATOR_STATIC).public_key().public_bytes_raw()
    assert responder.write_message(PAYLOADS[1], private(RESPONDER_EPHEMERAL)) == expected[1]
    assert initiator.read_message(expected[1]) == PAYLOADS[1]
    assert initiator.handshake_hash.hex() == responder.handshake_hash.hex() == transcript

    assert initiator.split() == responder.split()
    to_responder, to_initiator = (suite.aead(key) for key in initiator.split())
    for number, payload in enumerate(PAYLOADS[2:]):
        cipher = to_initiator if number % 2 else to_responder
        nonce = suite.nonce(number // 2)
        assert cipher.encrypt(nonce, payload, None) == expected[2 + number]
        assert cipher.decrypt(nonce, expected[2 + number], None) == payload


def test_a_suite_goes_by_the_name_in_the_mesh_file() -> None:
    assert suite_by_name("aes256gcm") is AES256GCM
    assert suite_by_name("chacha20poly1305") is CHACHA20POLY1305
    with pytest.raises(LocalError, match="aes256gcm or chacha20poly1305"):
        suite_by_name("rot13")


def test_nonces_have_the_byte_order_that_noise_gives_each_cipher() -> None:
    assert AES256GCM.nonce(1) == bytes(11) + b"\x01"
    assert CHACHA20POLY1305.nonce(1) == bytes(4) + b"\x01" + bytes(7)


@suites
@pytest.mark.parametrize("low", LOW_ORDER_KEYS, ids=lambda key: key.hex()[:8])
def test_low_order_keys_are_refused_wherever_they_enter(suite: CipherSuite, low: bytes) -> None:
    _, responder = pair(suite)
    with pytest.raises(RemoteError, match="handshake-key"):
        responder.read_message(low + bytes(80))

    mallory = HandshakeState(
        suite,
        initiator=True,
        prologue=PROLOGUE,
        static=cast(X25519PrivateKey, LowOrderKey(low)),
        remote_static=RESPONDER_PUBLIC,
    )
    first = mallory.write_message(b"", private(INITIATOR_EPHEMERAL))
    _, responder = pair(suite)
    with pytest.raises(RemoteError, match="handshake-key"):
        responder.read_message(first)

    initiator, _ = pair(suite)
    initiator.write_message(b"", private(INITIATOR_EPHEMERAL))
    with pytest.raises(RemoteError, match="handshake-key"):
        initiator.read_message(low + bytes(16))

    initiator = HandshakeState(
        suite, initiator=True, prologue=b"", static=private(INITIATOR_STATIC), remote_static=low
    )
    with pytest.raises(RemoteError, match="handshake-key"):
        initiator.write_message(b"", private(INITIATOR_EPHEMERAL))


@suites
@pytest.mark.parametrize("what", ["prologue", "psk", "responder"])
def test_both_sides_must_mean_the_same(suite: CipherSuite, what: str) -> None:
    initiator, _ = pair(suite)
    responder = HandshakeState(
        suite,
        initiator=False,
        prologue=b"another" if what == "prologue" else PROLOGUE,
        static=private(bytes(range(32)) if what == "responder" else RESPONDER_STATIC),
    )
    responder.set_psk(bytes(32) if what == "psk" else PSK)
    first = initiator.write_message(b"hello", private(INITIATOR_EPHEMERAL))
    if what != "psk":
        with pytest.raises(RemoteError, match="handshake-decrypt"):
            responder.read_message(first)
        return
    responder.read_message(first)
    second = responder.write_message(b"hello", private(RESPONDER_EPHEMERAL))
    with pytest.raises(RemoteError, match="handshake-decrypt"):
        initiator.read_message(second)


def test_the_two_suites_do_not_understand_each_other() -> None:
    initiator, _ = pair(AES256GCM)
    _, responder = pair(CHACHA20POLY1305)
    with pytest.raises(RemoteError, match="handshake-decrypt"):
        responder.read_message(initiator.write_message(b"", private(INITIATOR_EPHEMERAL)))


@pytest.mark.parametrize("size", [0, 31, 32, 79, 80, 95])
def test_a_message_too_short_for_its_parts_is_refused(size: int) -> None:
    initiator, responder = pair(AES256GCM)
    first = initiator.write_message(b"", private(INITIATOR_EPHEMERAL))
    with pytest.raises(RemoteError, match=r"handshake-(length|decrypt)"):
        responder.read_message(first[:size])


def test_a_copy_survives_what_the_original_choked_on() -> None:
    initiator, responder = pair(AES256GCM)
    good = initiator.write_message(b"good", private(INITIATOR_EPHEMERAL))
    with pytest.raises(RemoteError):
        responder.copy().read_message(good[:-1] + bytes([good[-1] ^ 1]))
    assert responder.read_message(good) == b"good"


def test_the_order_of_messages_is_not_the_callers_to_choose() -> None:
    initiator, responder = pair(AES256GCM)
    with pytest.raises(ValueError, match="turn"):
        responder.write_message(b"", private(RESPONDER_EPHEMERAL))
    with pytest.raises(ValueError, match="turn"):
        initiator.read_message(bytes(96))
    with pytest.raises(ValueError, match="ephemeral"):
        initiator.write_message(b"")
    with pytest.raises(ValueError, match="not finished"):
        initiator.split()
    first = initiator.write_message(b"", private(INITIATOR_EPHEMERAL))
    responder.read_message(first)
    initiator.read_message(responder.write_message(b"", private(RESPONDER_EPHEMERAL)))
    with pytest.raises(ValueError, match="turn"):
        initiator.write_message(b"", private(INITIATOR_EPHEMERAL))


def test_keys_of_a_wrong_size_are_the_callers_mistake() -> None:
    initiator, _ = pair(AES256GCM)
    with pytest.raises(ValueError, match="32 bytes"):
        initiator.set_psk(bytes(31))
    with pytest.raises(ValueError, match="32-byte"):
        HandshakeState(AES256GCM, initiator=True, prologue=b"", static=private(INITIATOR_STATIC))
    unkeyed = HandshakeState(
        AES256GCM, initiator=False, prologue=PROLOGUE, static=private(RESPONDER_STATIC)
    )
    unkeyed.read_message(initiator.write_message(b"", private(INITIATOR_EPHEMERAL)))
    with pytest.raises(ValueError, match="pre-shared"):
        unkeyed.write_message(b"", private(RESPONDER_EPHEMERAL))
