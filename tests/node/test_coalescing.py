from __future__ import annotations

import struct

import pytest

from meshd.node.coalescing import LEAST, MOST, Coalesced, coalesce
from meshd.node.segmentation import split
from tests.host.packets import TCP, UDP, Super, is_sound
from tests.node.flows import BOTH, changed, cut, entries, of_flow

ACK, PSH, FIN = 0x10, 0x08, 0x01
FORMS = [Super(b"", 0, version, protocol) for version in (4, 6) for protocol in BOTH]


def payloads(count: int, size: int = 64) -> list[bytes]:
    return [bytes([number % 256]) * size for number in range(count)]


def join(packets: list[bytes], protocols: tuple[int, ...] = BOTH) -> Coalesced | None:
    plain = memoryview(entries(packets))
    return coalesce(plain, 0, 4 + len(packets[0]), len(plain), protocols)


def joined(packets: list[bytes]) -> int:
    """How many of them became one, checked against what they were."""
    run = join(packets)
    if run is None:
        return 0
    parts = cut([run.packet])
    assert parts == cut(packets[: run.packets])
    assert run.spared == sum(map(len, packets[: run.packets])) - len(run.packet)
    return run.packets


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 63, 64, 1000])
def test_packets_of_one_flow_and_size_become_one(form: Super, size: int) -> None:
    assert joined(of_flow(payloads(20, size), form)) == 20


@pytest.mark.parametrize("form", FORMS)
def test_the_super_packet_is_what_the_kernel_itself_would_hand_out(form: Super) -> None:
    run = join(of_flow(payloads(10), form))
    whole = Super(b"".join(payloads(10)), 64, form.version, form.protocol, identification=0).build()
    assert run is not None
    assert run.packet[:10] == whole[0]
    assert run.packet[10:] == whole[1]


def test_as_many_as_any_kernel_takes_become_one() -> None:
    packets = of_flow(payloads(100), Super(b"", 0, protocol=UDP))
    assert joined(packets) == MOST == 64
    assert joined(of_flow(payloads(60, 1400), Super(b"", 0))) == (65_535 - 40) // 1400


def test_too_few_stay_as_they_are() -> None:
    packets = of_flow(payloads(LEAST), Super(b"", 0, protocol=UDP))
    assert joined(packets) == LEAST
    assert joined(packets[:-1]) == 0
    assert joined(of_flow(payloads(LEAST - 1, 9000), Super(b"", 0, protocol=UDP))) == 0


def test_a_protocol_that_the_tun_does_not_take_stays_as_it_is() -> None:
    for protocol, other in ((TCP, UDP), (UDP, TCP)):
        packets = of_flow(payloads(20), Super(b"", 0, protocol=protocol))
        assert join(packets, (other,)) is None
        assert join(packets, (protocol,)) is not None
        assert join(packets, ()) is None


def test_another_size_ends_a_run() -> None:
    sizes = [*payloads(12), b"short", *payloads(5)]
    assert joined(of_flow(sizes, Super(b"", 0, protocol=UDP))) == 12
    longer = [*payloads(9), bytes(64 + 256)]  # of a length whose low byte is the same
    assert joined(of_flow(longer, Super(b"", 0, protocol=UDP))) == 9


# What of the IP packet's bytes must be the same in all; the IPv4 identification need not.
OTHERS = [
    (4, UDP, 1, b"\4"),  # TOS
    (4, UDP, 8, b"\x11"),  # TTL
    (4, UDP, 6, b"\0"),  # may be fragmented
    (4, UDP, 12, b"\x09"),  # source
    (4, UDP, 19, b"\x77"),  # destination
    (4, UDP, 20, b"\x09"),  # source port
    (4, UDP, 23, b"\x09"),  # destination port
    (4, UDP, 25, b"\x49"),  # length
    (4, UDP, 27, b"\x49"),  # checksum
    (4, TCP, 25, b"\x49"),  # sequence
    (4, TCP, 31, b"\x49"),  # acknowledged
    (4, TCP, 33, bytes([ACK | PSH])),
    (4, TCP, 35, b"\x49"),  # window
    (6, UDP, 1, b"\1"),  # traffic class and flow label
    (6, UDP, 7, b"\x11"),  # hop limit
    (6, UDP, 15, b"\x11"),  # source
    (6, UDP, 39, b"\x11"),  # destination
    (6, UDP, 41, b"\x11"),  # source port
    (6, TCP, 43, b"\x11"),  # destination port
    (6, TCP, 47, b"\x49"),  # sequence
]


@pytest.mark.parametrize(("version", "protocol", "at", "value"), OTHERS)
@pytest.mark.parametrize("which", [8, 9, 19])
def test_another_header_ends_a_run(
    version: int, protocol: int, at: int, value: bytes, which: int
) -> None:
    packets = of_flow(payloads(20), Super(b"", 0, version, protocol))
    packets[which] = changed(packets[which], at, value)
    run = join(packets)
    assert run is not None
    assert run.packets == which


@pytest.mark.parametrize("at", [0, 1, 2, 4, 6, 8])
def test_another_virtio_header_ends_a_run(at: int) -> None:
    packets = of_flow(payloads(20), Super(b"", 0, protocol=UDP))
    other = bytearray(packets[10])
    other[at] ^= 2
    packets[10] = bytes(other)
    assert joined(packets[:10]) == 10
    run = join(packets)
    assert run is not None
    assert run.packets == 10


def test_sequence_numbers_go_on_from_zero() -> None:
    near = Super(b"", 0, sequence=2**32 - 100)
    assert joined(of_flow(payloads(10), near)) == 10


# Bytes that no packet of a run has: whoever sends them gets them through one by one.
NEVER = [
    (4, UDP, 0, b"\x46"),  # options
    (4, UDP, 6, b"\0\0"),  # may be fragmented
    (4, UDP, 6, b"\x60\0"),  # is a fragment
    (4, UDP, 6, b"\x40\1"),  # is the rest of one
    (4, UDP, 3, b"\x5b"),  # a total length that is not the packet's
    (4, UDP, 9, b"\x01"),  # ICMP
    (4, UDP, 25, b"\x47"),  # a UDP length that is not the packet's
    (4, TCP, 3, b"\x47"),  # a total length that is not the packet's
    (6, TCP, 5, b"\x33"),
    (4, TCP, 32, b"\xf0"),  # one longer than what is there
    (4, TCP, 33, bytes([ACK | PSH])),
    (4, TCP, 33, bytes([ACK | FIN])),
    (4, TCP, 33, b"\0"),
    (6, UDP, 0, b"\x50"),  # no version of IP
    (6, UDP, 5, b"\x49"),  # a length that is not the packet's
    (6, UDP, 6, b"\0"),  # hop-by-hop options
    (6, UDP, 6, b"\x2c"),  # a fragment
]


@pytest.mark.parametrize(("version", "protocol", "at", "value"), NEVER)
def test_what_the_kernel_would_not_join_stays_as_it_is(
    version: int, protocol: int, at: int, value: bytes
) -> None:
    packets = of_flow(payloads(20, 30), Super(b"", 0, version, protocol))
    assert join([changed(packet, at, value) for packet in packets]) is None


@pytest.mark.parametrize(
    "header",
    [
        bytes(10),  # a complete packet
        struct.pack("<BBHHHH", 2, 0, 0, 0, 20, 6),
        struct.pack("<BBHHHH", 1, 5, 28, 32, 20, 6),  # a super-packet already
        struct.pack("<BBHHHH", 1, 0, 0, 0, 22, 6),
        struct.pack("<BBHHHH", 1, 0, 0, 0, 20, 16),
    ],
)
def test_only_unfinished_checksums_are_joined(header: bytes) -> None:
    packets = of_flow(payloads(20), Super(b"", 0, protocol=UDP))
    assert join([header + packet[10:] for packet in packets]) is None


def test_a_tcp_header_that_is_too_short_begins_no_run() -> None:
    packets = of_flow(payloads(20, 30), Super(b"", 0))
    for number, packet in enumerate(packets):
        sequence = struct.pack(">I", 34 * number)  # as if 4 bytes of the header were payload
        packets[number] = changed(changed(packet, 24, sequence), 32, b"\x40")
    assert join(packets) is None


@pytest.mark.parametrize("form", [*FORMS, Super(b"", 0, tcp_options=bytes(12))])
def test_packets_without_payload_stay_as_they_are(form: Super) -> None:
    assert join(of_flow([b""] * 20, form)) is None


def test_tcp_options_must_be_the_same() -> None:
    form = Super(b"", 0, tcp_options=bytes([1, 1, 8, 10]) + bytes(8))
    packets = of_flow(payloads(20), form)
    assert joined(packets) == 20
    packets[11] = changed(packets[11], 44, b"\1")  # a later timestamp
    run = join(packets)
    assert run is not None
    assert run.packets == 11


def test_a_run_ends_where_the_frame_does() -> None:
    packets = of_flow(payloads(20), Super(b"", 0, protocol=UDP))
    plain = memoryview(entries(packets))
    stride = len(plain) // 20
    run = coalesce(plain, 3 * stride, stride, len(plain) - 1, BOTH)
    assert run is not None
    assert run.packets == 16
    assert cut([run.packet]) == cut(packets[3:19])
    assert all(map(is_sound, split(run.packet[:10], run.packet[10:])))
