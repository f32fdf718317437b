"""What `Inbound` tells the node of, beside packets."""

from __future__ import annotations

from meshd.node.control import Close, Probe, encode_control
from meshd.node.inbound import ARRIVAL_INTERVAL, MAX_CONTROLS
from meshd.node.path import Path, PathKind
from meshd.node.wire import CONTROL, OFFLOAD, PACKET, PADDING, TAG_SIZE, entry
from tests.node.couples import (
    ALPHA_AT,
    BETA_AT,
    STRANGER_AT,
    Side,
    couple,
    datagrams_of,
    packet4,
    plain,
)


def arrive(beta: Side, alpha: Side, rows: bytes, now: float = 0.0) -> list[bytes]:
    """Hand a frame of `beta` to `alpha`; the packets in it."""
    return alpha.receive(sealed(beta, rows), BETA_AT, now)


def sealed(side: Side, rows: bytes) -> list[bytes]:
    out = memoryview(bytearray(len(rows) + TAG_SIZE))
    return datagrams_of(side.session.seal(rows, out, 1456, b"", ALPHA_AT))


def body(message: bytes) -> bytes:
    return message[4:]


def test_control_messages_pass_between_packets() -> None:
    alpha, beta = couple()
    probe, close = encode_control(Probe(7)), encode_control(Close())
    packet = packet4(beta.address4, alpha.address4, b"x")
    rows = probe + entry(PACKET, packet) + entry(PADDING, bytes(99)) + close
    rows += entry(OFFLOAD, plain(packet))
    assert arrive(beta, alpha, rows) == [plain(packet)] * 2
    told = alpha.inbound.arrivals
    assert [arrival.control for arrival in told] == [body(probe), body(close)]
    assert all(arrival.session is alpha.session for arrival in told)
    assert all((arrival.source, arrival.via) == (BETA_AT, None) for arrival in told)
    assert alpha.dropped == {}


def test_control_messages_are_copied_out_of_the_buffer() -> None:
    alpha, beta = couple()
    first = encode_control(Probe(7))
    arrive(beta, alpha, first)
    arrive(beta, alpha, encode_control(Probe(8)))
    assert alpha.inbound.arrivals[0].control == body(first)


def test_only_some_control_messages_of_one_frame_are_looked_at() -> None:
    alpha, beta = couple()
    arrive(beta, alpha, encode_control(Probe(7)) * 100)
    assert len(alpha.inbound.arrivals) == MAX_CONTROLS
    assert alpha.dropped == {"control": 100 - MAX_CONTROLS}
    arrive(beta, alpha, encode_control(Probe(7)))
    assert len(alpha.inbound.arrivals) == MAX_CONTROLS + 1


def test_an_unknown_entry_is_counted_and_what_follows_is_read() -> None:
    alpha, beta = couple()
    packet = packet4(beta.address4, alpha.address4, b"x")
    for kind in (4, 9, 255):
        hidden = entry(kind, plain(packet))
        assert arrive(beta, alpha, hidden + entry(PACKET, packet)) == [plain(packet)]
    assert alpha.dropped == {"malformed": 3}


def test_an_entry_longer_than_its_frame_is_counted_and_what_came_before_is_kept() -> None:
    alpha, beta = couple()
    packet = packet4(beta.address4, alpha.address4, b"x")
    good = entry(PACKET, packet)
    for tail in (good[:-1], b"\0\0\0", bytes([CONTROL]) + b"\xff\xff\xff", b"\1\0\0\1"):
        assert arrive(beta, alpha, good + tail) == [plain(packet)]
    assert alpha.dropped == {"malformed": 4}
    assert len([a for a in alpha.inbound.arrivals if a.control is not None]) == 0


def test_an_empty_frame_is_a_sign_of_life() -> None:
    alpha, beta = couple()
    assert arrive(beta, alpha, b"", 100.0) == []
    [arrival] = alpha.inbound.arrivals
    assert arrival.control is None
    assert alpha.dropped == {}


def test_packets_alone_are_told_of_now_and_then() -> None:
    alpha, beta = couple()
    rows = entry(PACKET, packet4(beta.address4, alpha.address4, b"x"))
    steps = 101
    for step in range(steps):
        arrive(beta, alpha, rows, 100.0 + step * ARRIVAL_INTERVAL / 10)
    assert 9 <= len(alpha.inbound.arrivals) <= 12


def test_a_frame_from_elsewhere_is_told_of_at_once() -> None:
    alpha, beta = couple()
    rows = entry(PACKET, packet4(beta.address4, alpha.address4, b"x"))
    arrive(beta, alpha, rows, 100.0)
    alpha.inbound.arrivals.clear()
    alpha.receive(sealed(beta, rows), STRANGER_AT, 100.0)
    [arrival] = alpha.inbound.arrivals
    assert arrival.source == STRANGER_AT
    # It is the node that believes it, or not: nothing has changed yet.
    assert alpha.session.endpoint == BETA_AT
    assert alpha.path.endpoint == BETA_AT


def test_a_frame_through_a_relay_says_so() -> None:
    alpha, beta = couple()
    via = Path(PathKind.RELAY, STRANGER_AT, None, 7, bytes(8))
    [datagram] = sealed(beta, encode_control(Probe(7)))
    alpha.inbound.begin()
    alpha.inbound.receive(memoryview(bytes(8) + datagram), 1472, STRANGER_AT, 0.0, via, 8)
    [arrival] = alpha.inbound.arrivals
    assert arrival.via is via


def test_the_first_frame_of_a_session_is_told_of_at_once() -> None:
    alpha, beta = couple()
    alpha.session.confirmed = False
    alpha.session.told_at = 0.0
    arrive(beta, alpha, entry(PADDING, b""), 0.0)
    assert len(alpha.inbound.arrivals) == 1


def test_nothing_that_is_not_authentic_is_told_of() -> None:
    alpha, beta = couple()
    [datagram] = sealed(beta, encode_control(Probe(7)))
    alpha.receive([datagram[:-1] + bytes([datagram[-1] ^ 1])], STRANGER_AT)
    alpha.receive([datagram[:-1]], STRANGER_AT)
    assert alpha.inbound.arrivals == []
    alpha.receive([datagram], BETA_AT)
    alpha.receive([datagram], STRANGER_AT)
    assert len(alpha.inbound.arrivals) == 1
    assert alpha.session.endpoint == BETA_AT


def test_received_bytes_are_counted() -> None:
    alpha, beta = couple()
    rows = entry(PACKET, packet4(beta.address4, alpha.address4, bytes(5000)))
    arrive(beta, alpha, rows)
    assert alpha.session.received_bytes == len(rows) + TAG_SIZE
