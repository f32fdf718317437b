from __future__ import annotations

import pytest

from meshd.node.errors import RemoteError
from meshd.node.handshake import TransportKeys
from meshd.node.noise import AES256GCM, CHACHA20POLY1305, CipherSuite
from meshd.node.reassembly import ByteBudget, Shape
from meshd.node.replay import WINDOW
from meshd.node.session import (
    REJECT_AFTER,
    REJECT_AFTER_FRAMES,
    REKEY_AFTER,
    REKEY_AFTER_FRAMES,
    Session,
)
from meshd.node.wire import DATA, HEADER, HEADER_SIZE, TAG_SIZE
from tests.node.couples import ALPHA_INDEX, BETA_AT, BETA_INDEX, datagrams_of

SUITES = [AES256GCM, CHACHA20POLY1305]


def pair(suite: CipherSuite = AES256GCM, now: float = 0.0) -> tuple[Session, Session]:
    """The initiator's end, and the responder's."""
    ours = TransportKeys(b"1" * 32, b"2" * 32, b"h" * 32, ALPHA_INDEX, BETA_INDEX, True)
    theirs = TransportKeys(b"2" * 32, b"1" * 32, b"h" * 32, BETA_INDEX, ALPHA_INDEX, False)
    budget = ByteBudget()
    return Session(suite, ours, None, budget, now), Session(suite, theirs, None, budget, now)


def seal(session: Session, plain: bytes, chunk: int = 1456) -> list[bytes]:
    """The datagrams of one frame."""
    out = memoryview(bytearray(len(plain) + TAG_SIZE))
    return datagrams_of(session.seal(plain, out, chunk, b"", BETA_AT))


def unseal(session: Session, datagrams: list[bytes]) -> bytes:
    """The plaintext of one frame. Raises RemoteError."""
    _, _, count, flags, _, counter = HEADER.unpack_from(datagrams[0])
    sealed = b"".join(datagram[HEADER_SIZE:] for datagram in datagrams)
    out = memoryview(bytearray(len(sealed)))
    return bytes(out[: session.open(Shape(counter, count, flags), sealed, out)])


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("size", [0, 1, 1440, 1441, 5000, 64_000])
def test_a_frame_opens_at_the_other_end(suite: CipherSuite, size: int) -> None:
    initiator, responder = pair(suite)
    plain = bytes(range(256)) * 250
    for one, other in ((initiator, responder), (responder, initiator)):
        datagrams = seal(one, plain[:size])
        assert plain[:32] not in b"".join(datagrams)
        assert unseal(other, datagrams) == plain[:size]


def test_a_frame_says_where_it_is_sent_and_how_long_it_is() -> None:
    initiator, _ = pair()
    out = memoryview(bytearray(5016))
    frame = initiator.seal(bytes(5000), out, 1000, b"relay...", BETA_AT)
    datagrams = datagrams_of(frame)
    assert frame.endpoint == BETA_AT
    assert frame.count == len(datagrams) == 6
    assert frame.segment_size == len(datagrams[0]) == 8 + 16 + 1000
    assert frame.size == sum(map(len, datagrams))
    assert all(datagram.startswith(b"relay...") for datagram in datagrams)


def test_the_header_is_the_one_on_the_wire() -> None:
    initiator, _ = pair()
    seal(initiator, b"first")
    datagrams = seal(initiator, bytes(3000))
    heads = [HEADER.unpack_from(datagram) for datagram in datagrams]
    assert heads == [(DATA, index, 3, 0, BETA_INDEX, 1) for index in range(3)]


def test_the_known_bytes_of_a_frame() -> None:
    """AES-256-GCM with the counter big-endian in the nonce and the first header as its data."""
    initiator, _ = pair()
    seal(initiator, b"")
    [datagram] = seal(initiator, b"aegisray")
    nonce = bytes(4) + (1).to_bytes(8, "big")
    header = HEADER.pack(DATA, 0, 1, 0, BETA_INDEX, 1)
    expected = AES256GCM.aead(b"1" * 32).encrypt(nonce, b"aegisray", header)
    assert datagram == header + expected


def test_chacha_counts_little_endian() -> None:
    initiator, _ = pair(CHACHA20POLY1305)
    seal(initiator, b"")
    [datagram] = seal(initiator, b"aegisray")
    nonce = bytes(4) + (1).to_bytes(8, "little")
    header = HEADER.pack(DATA, 0, 1, 0, BETA_INDEX, 1)
    assert datagram[16:] == CHACHA20POLY1305.aead(b"1" * 32).encrypt(nonce, b"aegisray", header)


def test_no_counter_is_used_twice() -> None:
    initiator, _ = pair()
    counters = [HEADER.unpack_from(seal(initiator, b"x")[0])[5] for _ in range(100)]
    assert counters == list(range(100))
    assert initiator.frames_sent == 100


def test_a_frame_opens_once() -> None:
    initiator, responder = pair()
    datagrams = seal(initiator, b"once")
    assert unseal(responder, datagrams) == b"once"
    with pytest.raises(RemoteError) as caught:
        unseal(responder, datagrams)
    assert caught.value.reason == "replay"


def test_frames_within_the_window_open_in_any_order_and_older_ones_do_not() -> None:
    initiator, responder = pair()
    frames = [seal(initiator, bytes([n & 0xFF])) for n in range(WINDOW + 1)]
    assert unseal(responder, frames[-1]) == bytes([WINDOW & 0xFF])
    assert unseal(responder, frames[1]) == b"\1"
    assert unseal(responder, frames[5000]) == bytes([5000 & 0xFF])
    for number in (0, 1, 5000):
        with pytest.raises(RemoteError) as caught:
            unseal(responder, frames[number])
        assert caught.value.reason == "replay"


def test_a_forged_frame_takes_no_counter() -> None:
    initiator, responder = pair()
    [good] = seal(initiator, b"good")
    for bad in (good[:-1] + bytes([good[-1] ^ 1]), good[:16] + bytes(len(good) - 16)):
        with pytest.raises(RemoteError) as caught:
            unseal(responder, [bad])
        assert caught.value.reason == "decrypt"
    assert unseal(responder, [good]) == b"good"


def test_the_header_is_authenticated() -> None:
    initiator, responder = pair()
    [good] = seal(initiator, b"good")
    _, _, count, flags, _, counter = HEADER.unpack_from(good)
    out = memoryview(bytearray(100))
    for head in [(counter + 1, count, flags), (counter, 2, flags), (counter, count, 1)]:
        with pytest.raises(RemoteError) as caught:
            responder.open(Shape(*head), good[16:], out)
        assert caught.value.reason == "decrypt"


@pytest.mark.parametrize(("size", "room"), [(0, 100), (15, 100), (60, 43)])
def test_what_is_too_short_or_too_long_is_malformed(size: int, room: int) -> None:
    _, responder = pair()
    with pytest.raises(RemoteError) as caught:
        responder.open(Shape(0, 1), bytes(size), memoryview(bytearray(room)))
    assert caught.value.reason == "malformed"


def test_a_session_is_renewed_by_its_initiator_first_and_then_refused() -> None:
    initiator, responder = pair(now=1000.0)
    assert initiator.age(1000.0 + REKEY_AFTER) == REKEY_AFTER
    assert not initiator.wants_rekey(1000.0 + REKEY_AFTER)
    assert initiator.wants_rekey(1000.1 + REKEY_AFTER)
    assert not responder.wants_rekey(1000.1 + REKEY_AFTER)
    assert responder.wants_rekey(1020.0 + REKEY_AFTER)
    for session in (initiator, responder):
        assert not session.expired(1000.0 + REJECT_AFTER)
        assert session.expired(1000.1 + REJECT_AFTER)


def test_only_the_initiator_counts_the_peer_as_heard() -> None:
    initiator, responder = pair()
    assert initiator.confirmed
    assert not responder.confirmed


def test_the_limits_keep_what_the_ciphers_promise() -> None:
    assert REKEY_AFTER < REJECT_AFTER
    assert REKEY_AFTER_FRAMES <= 1 << 23  # RFC 9001, appendix B.1.1: messages of 64 KiB
    assert REJECT_AFTER_FRAMES + WINDOW < 1 << 64
