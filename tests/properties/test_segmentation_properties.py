"""Cutting: whatever goes in, sound packets with the same payload come out, or a RemoteError."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from meshd.node.errors import RemoteError
from meshd.node.segmentation import split, validate
from tests.host.packets import TCP, UDP, Super, is_sound, transport_of


@st.composite
def super_packets(draw: st.DrawFn) -> Super:
    protocol = draw(st.sampled_from([TCP, UDP]))
    gso_size = draw(st.integers(48, 3000))
    size = draw(st.integers(1, min(gso_size * 50, 60_000)))
    pattern = draw(st.binary(min_size=1, max_size=9))
    return Super(
        payload=(pattern * (size // len(pattern) + 1))[:size],
        gso_size=gso_size,
        version=draw(st.sampled_from([4, 6])),
        protocol=protocol,
        flags=draw(st.integers(0, 255)),
        sequence=draw(st.integers(0, 2**32 - 1)),
        identification=draw(st.integers(0, 2**16 - 1)),
        tcp_options=draw(st.integers(0, 10)) * b"\1\1\1\1",
        ip_options=draw(st.integers(0, 10)) * b"\1\1\1\1",
    )


@given(super_packets())
def test_segments_are_sound_and_carry_the_payload(packet: Super) -> None:
    parts = split(*packet.build())
    payloads = []
    for part in parts:
        assert is_sound(part)
        at, protocol = transport_of(part)
        payloads.append(part[at + (8 if protocol == UDP else (part[at + 12] >> 4) * 4) :])
    assert b"".join(payloads) == packet.payload
    assert all(len(payload) == packet.gso_size for payload in payloads[:-1])
    assert 0 < len(payloads[-1]) <= packet.gso_size


@given(st.binary(min_size=10, max_size=10), st.binary(max_size=200))
def test_arbitrary_bytes_are_cut_or_refused(header: bytes, packet: bytes) -> None:
    try:
        parts = split(header, packet)
    except RemoteError:
        return
    assert validate(header, len(packet))
    assert parts


@given(
    super_packets(),
    st.lists(st.tuples(st.integers(0, 69), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_damaged_super_packets_are_cut_or_refused(
    packet: Super, damage: list[tuple[int, int]]
) -> None:
    header, body = packet.build()
    both = bytearray(header + body)
    for at, value in damage:
        both[min(at, len(both) - 1)] = value
    try:
        parts = split(both[:10], both[10:])
    except RemoteError:
        return
    gso_size = struct.unpack_from("<H", both, 4)[0]
    assert len(parts) <= len(body) // max(gso_size, 1) + 1
