from __future__ import annotations

import struct

import pytest

from meshd.node.errors import RemoteError
from meshd.node.segmentation import HEADER_SIZE, divide, finish_checksum, split, validate
from tests.host.packets import TCP, UDP, Super, checksum, is_sound, transport_of

FIN, PSH, ACK, ECE, CWR = 0x01, 0x08, 0x10, 0x40, 0x80
PLAIN = bytes(HEADER_SIZE)


def test_a_complete_packet_passes_unchanged() -> None:
    packet = bytes(range(60))
    assert split(PLAIN, packet) == [packet]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("size", [0, 1, 2, 777, 1400])
def test_an_unfinished_checksum_is_finished(version: int, protocol: int, size: int) -> None:
    header, packet = Super(bytes(range(256)) * 6, 0, version, protocol).build()
    header, packet = Super(packet[:size], 0, version, protocol).build()
    assert not is_sound(packet)
    (done,) = split(header, packet)
    assert is_sound(done)


def test_a_checksum_of_zero_is_written_as_its_equal() -> None:
    # one word of payload that makes the sum come out as 0xFFFF
    bare = split(*Super(b"\0\0", 0, protocol=UDP).build())[0]
    word = struct.unpack_from(">H", bare, 26)[0]
    (done,) = split(*Super(struct.pack(">H", word), 0, protocol=UDP).build())
    assert struct.unpack_from(">H", done, 26)[0] == 0xFFFF
    (cut, _) = split(*Super(struct.pack(">HH", word, 1), 2, protocol=UDP).build())
    assert struct.unpack_from(">H", cut, 26)[0] == 0xFFFF


def test_finish_checksum_handles_an_odd_length() -> None:
    done = finish_checksum(bytes(20) + b"\x01\x02\0\0\x05", 20, 2)
    assert checksum(done[20:]) == 0


def test_tcp_flags_sequence_and_identification_follow_the_segments() -> None:
    payload = bytes(range(250)) * 10
    flags = FIN | PSH | ACK | ECE | CWR
    header, packet = Super(
        payload, 1000, flags=flags, sequence=0xFFFFFF00, identification=0xFFFF
    ).build()
    parts = split(header, packet)
    assert [len(part) - 40 for part in parts] == [1000, 1000, 500]
    assert b"".join(part[40:] for part in parts) == payload
    assert [part[33] for part in parts] == [ACK | ECE | CWR, ACK | ECE, FIN | PSH | ACK | ECE]
    sequences = [struct.unpack_from(">I", part, 24)[0] for part in parts]
    assert sequences == [0xFFFFFF00, (0xFFFFFF00 + 1000) % 2**32, (0xFFFFFF00 + 2000) % 2**32]
    assert [struct.unpack_from(">H", part, 4)[0] for part in parts] == [0xFFFF, 0, 1]
    assert all(is_sound(part) for part in parts)


def test_options_and_extension_headers_are_repeated() -> None:
    options = bytes([1, 1, 8, 10]) + bytes(range(8))
    four = split(*Super(b"x" * 900, 400, tcp_options=options, ip_options=b"\1\1\1\0").build())
    assert [part[20:24] for part in four] == [b"\1\1\1\0"] * 3
    assert all(part[44:56] == options and is_sound(part) for part in four)
    _, packet = Super(b"y" * 900, 400, version=6, protocol=UDP).build()
    extended = bytearray(packet[:40] + bytes([UDP, 0, 1, 4, 0, 0, 0, 0]) + packet[40:])
    extended[6] = 60
    struct.pack_into(">H", extended, 4, len(extended) - 40)
    moved = struct.pack("<BBHHHH", 1, 5, 56, 400, 48, 6)
    six = split(moved, bytes(extended))
    assert [transport_of(part) for part in six] == [(48, UDP)] * 3
    assert all(is_sound(part) for part in six)


def test_a_super_packet_without_a_checksum_offset_is_cut_too() -> None:
    header, packet = Super(b"z" * 3000, 1400).build()
    trusted = struct.pack("<BBHHHH", 2, header[1], 40, 1400, 0, 0)
    assert split(trusted, packet) == split(header, packet)


@pytest.mark.parametrize(
    ("flags", "kind", "hdr_len", "gso_size", "start", "offset", "length"),
    [
        (0, 0, 0, 0, 0, 0, 19),
        (0, 0, 0, 0, 0, 0, 65_536),
        (4, 0, 0, 0, 0, 0, 100),
        (0, 2, 0, 100, 0, 0, 100),
        (0, 3, 0, 100, 0, 0, 100),
        (0, 5 | 0x80, 0, 100, 0, 0, 100),
        (0, 0, 101, 0, 0, 0, 100),
        (1, 0, 0, 0, 19, 16, 100),
        (1, 0, 0, 0, 83, 16, 100),
        (1, 0, 0, 0, 0xFFFF, 0xFFFF, 100),
        (1, 1, 40, 0, 20, 16, 100),
        (1, 1, 40, 1, 20, 16, 60_000),
        (1, 5, 28, 400, 20, 6, 60_000),
        (1, 1, 40, 400, 20, 16, 40),
    ],
)
def test_headers_out_of_bounds_are_refused(
    flags: int, kind: int, hdr_len: int, gso_size: int, start: int, offset: int, length: int
) -> None:
    header = struct.pack("<BBHHHH", flags, kind, hdr_len, gso_size, start, offset)
    assert not validate(header, length)
    with pytest.raises(RemoteError, match="offload-malformed"):
        split(header, bytes(length))


def test_a_header_of_another_size_is_refused() -> None:
    assert not validate(bytes(9), 100)
    assert not validate(bytes(12), 100)


def test_every_limit_itself_is_allowed() -> None:
    header, packet = Super(bytes(128 * 9), 9, version=6, protocol=UDP).build()
    assert validate(header, len(packet))
    assert len(split(header, packet)) == 128
    header, packet = Super(bytes(65_535 - 40), 48).build()
    assert len(split(header, packet)) == 1365
    assert validate(struct.pack("<BBHHHH", 1, 0, 0, 0, 82, 16), 100)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 0x65),  # IPv6 behind a TCPv4 header
        (0, 0x05),  # no version at all
        (0, 0x44),  # IPv4 header too short
        (0, 0x46),  # the transport header is elsewhere
        (9, UDP),
        (3, 0),  # total length wrong
        (6, 0x20),  # a fragment
        (32, 0x40),  # TCP header too short
        (32, 0xF0),  # TCP header longer than the packet
    ],
)
def test_packets_unlike_their_header_are_refused(at: int, value: int) -> None:
    header, packet = Super(b"p" * 30, 20).build()
    broken = bytearray(packet)
    broken[at] = value
    with pytest.raises(RemoteError, match="offload-malformed"):
        split(header, bytes(broken))


@pytest.mark.parametrize(("at", "value"), [(5, 0), (6, 43), (6, 0)])
def test_ipv6_packets_unlike_their_header_are_refused(at: int, value: int) -> None:
    header, packet = Super(b"p" * 30, 20, version=6).build()
    broken = bytearray(packet)
    broken[at] = value
    with pytest.raises(RemoteError, match="offload-malformed"):
        split(header, bytes(broken))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("room", [1, 1399, 2800, 4500, 60_000])
def test_a_divided_super_packet_stands_for_the_same_packets(
    version: int, protocol: int, room: int
) -> None:
    header, packet = Super(
        bytes(range(250)) * 80, 1400, version, protocol, flags=FIN | PSH | ACK | CWR
    ).build()
    pieces = divide(header, packet, room)
    whole = split(header, packet)
    most = max(1, room // 1400)
    assert len(pieces) == -(-len(whole) // most)
    parts = [split(piece[:HEADER_SIZE], piece[HEADER_SIZE:]) for piece in pieces]
    assert [part for each in parts for part in each] == whole
    assert all(len(part) <= most for part in parts)


def test_what_is_no_super_packet_is_not_divided() -> None:
    assert divide(PLAIN, bytes(100), 10) == []
    header, packet = Super(b"x" * 100, 0).build()
    assert divide(header, packet, 10) == []
    header, packet = Super(b"x" * 3000, 1400).build()
    assert divide(header, packet[:-1], 1400) == []
    assert divide(header[:9], packet, 1400) == []
