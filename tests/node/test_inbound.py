"""What `Inbound` lets through to the TUN, and what it counts instead."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from gossip import GossipConfig
from meshd.node.path import Path, PathKind
from meshd.node.reassembly import MAX_AGE
from meshd.node.session import REJECT_AFTER
from meshd.node.state import NodeConfig
from meshd.node.wire import (
    DATA,
    HEADER,
    MAX_PACKET,
    OFFLOAD,
    PACKET,
    PADDING,
    RELAY_PREFIX,
    RELAYED,
    entry,
)
from tests.node.couples import (
    ALPHA_AT,
    BETA_AT,
    BETA_INDEX,
    STRANGER_AT,
    Address,
    Side,
    couple,
    datagrams_of,
    member,
    packet4,
    packet6,
    plain,
)

BARE = NodeConfig(gossip=GossipConfig.lan(), vnet_header=False)
LAN = IPv4Network("10.1.0.0/16")


def sealed(side: Side, plaintext: bytes, chunk: int = 1456, prefix: bytes = b"") -> list[bytes]:
    """Any plaintext, sealed by a member that may be up to something."""
    out = memoryview(bytearray(len(plaintext) + 16))
    return datagrams_of(side.session.seal(plaintext, out, chunk, prefix, ("192.0.2.9", 9)))


def offload(header: tuple[int, int, int, int, int, int], packet: bytes) -> bytes:
    """An entry with a virtio header: flags, type, hdr_len, gso_size, start, offset."""
    return entry(OFFLOAD, struct.pack("<BBHHHH", *header) + packet)


def tcp4(source: Address, destination: Address, payload: bytes) -> bytes:
    head = struct.pack(">HHIIBBHHH", 1000, 2000, 1, 1, 5 << 4, 0x10, 500, 0, 0)
    return packet4(source, destination, head + payload, 6)


def udp4(source: Address, destination: Address, payload: bytes) -> bytes:
    head = struct.pack(">HHHH", 1000, 2000, 8 + len(payload), 0)
    return packet4(source, destination, head + payload)


# Frames


def test_a_frame_is_joined_whatever_the_order_of_its_segments() -> None:
    alpha, beta = couple()
    packet = plain(packet4(alpha.address4, beta.address4, bytes(9000)))
    datagrams = datagrams_of(alpha.send(packet)[0])
    assert len(datagrams) == 7
    assert beta.receive_each(reversed(datagrams), ALPHA_AT) == [packet]
    assert beta.dropped == {}


def test_segments_that_changed_places_within_one_batch_are_still_joined() -> None:
    alpha, beta = couple()
    packet = plain(packet4(alpha.address4, beta.address4, bytes(9000)))
    first, second, third, *rest = datagrams_of(alpha.send(packet)[0])
    assert beta.receive([first, third, second, *rest], ALPHA_AT) == [packet]
    assert beta.dropped == {}


def test_a_batch_may_begin_and_end_in_the_middle_of_frames() -> None:
    alpha, beta = couple()
    packets = [plain(packet4(alpha.address4, beta.address4, bytes(n))) for n in (4000, 5000, 100)]
    datagrams = [d for packet in packets for d in datagrams_of(alpha.send(packet)[0])]
    assert [len(d) for d in datagrams] == [1472, 1472, 1154, 1472, 1472, 1472, 698, 166]
    received = beta.receive(datagrams[:3], ALPHA_AT) + beta.receive(datagrams[3:5], ALPHA_AT)
    received += beta.receive(datagrams[5:7], ALPHA_AT) + beta.receive(datagrams[7:], ALPHA_AT)
    assert received == packets
    assert beta.dropped == {}


def test_a_last_slice_shorter_than_a_tag_may_come_alone() -> None:
    alpha, beta = couple()
    packet = plain(packet4(alpha.address4, beta.address4, bytes(1456 - 4 - 10 - 20 - 15)))
    datagrams = datagrams_of(alpha.send(packet)[0])
    assert [len(d) for d in datagrams] == [1472, 17]
    assert beta.receive_each(datagrams, ALPHA_AT) == [packet]
    assert beta.dropped == {}


def test_a_segment_of_another_frame_does_not_spoil_the_one_around_it() -> None:
    alpha, beta = couple()
    one, two = (
        datagrams_of(alpha.send(plain(packet4(alpha.address4, beta.address4, body)))[0])
        for body in (bytes(4318), bytes([1]) * 4318)
    )
    assert len(one) == len(two) == 3
    assert len(one[2]) == len(one[0])
    for batches in (
        [[one[0], two[0], one[1], two[1]], [one[2], two[2]]],
        [[one[0], two[1], one[2], two[0], one[1], two[2]]],
        [[one[0], two[1], one[2]], [two[0], one[1], two[2]]],
    ):
        _, beta = couple()
        received = [packet for batch in batches for packet in beta.receive(batch, ALPHA_AT)]
        assert [packet[30:31] for packet in received] == [b"\0", b"\1"]
        assert beta.dropped == {}


def test_a_frame_that_lost_a_segment_is_given_up_after_a_while() -> None:
    alpha, beta = couple()
    datagrams = datagrams_of(
        alpha.send(plain(packet4(alpha.address4, beta.address4, bytes(5000))))[0]
    )
    assert beta.receive(datagrams[:-1], ALPHA_AT) == []
    assert beta.state.budget.used > 0
    beta.session.reassembler.expire(MAX_AGE)
    assert beta.state.budget.used == 0
    assert beta.receive(datagrams[-1:], ALPHA_AT, MAX_AGE) == []


def test_a_replayed_frame_is_counted_and_not_delivered() -> None:
    alpha, beta = couple()
    datagrams = datagrams_of(alpha.send(plain(packet4(alpha.address4, beta.address4)))[0])
    assert len(beta.receive(datagrams, ALPHA_AT)) == 1
    for _ in range(3):
        assert beta.receive(datagrams, STRANGER_AT) == []
    assert beta.dropped == {"replay": 3}


def test_late_segments_of_a_frame_that_was_opened_take_no_memory() -> None:
    alpha, beta = couple()
    packet = plain(packet4(alpha.address4, beta.address4, bytes(4000)))
    datagrams = datagrams_of(alpha.send(packet)[0])
    assert beta.receive(datagrams, ALPHA_AT) == [packet]
    assert beta.receive_each(datagrams, ALPHA_AT) == []
    assert beta.dropped == {"replay": len(datagrams)}
    assert beta.state.budget.used == 0


def test_a_flipped_bit_anywhere_delivers_nothing() -> None:
    alpha, beta = couple()
    [datagram] = datagrams_of(alpha.send(plain(packet4(alpha.address4, beta.address4, b"x")))[0])
    for bit in range(len(datagram) * 8):
        flipped = bytearray(datagram)
        flipped[bit // 8] ^= 1 << bit % 8
        assert beta.receive([bytes(flipped)], ALPHA_AT) == []
    # Six make it the first segment of several: one waits for the others, five disagree with it.
    partial = beta.session.reassembler.statistics()
    assert (partial.frames, partial.dropped["mismatch"]) == (1, 5)
    assert sum(beta.dropped.values()) == len(datagram) * 8 - 6
    assert set(beta.dropped) == {"decrypt", "malformed", "no-session"}
    assert beta.receive([datagram], ALPHA_AT) != []


def test_a_truncated_datagram_delivers_nothing() -> None:
    alpha, beta = couple()
    [datagram] = datagrams_of(alpha.send(plain(packet4(alpha.address4, beta.address4, b"x")))[0])
    for size in range(1, len(datagram)):
        assert beta.receive([datagram[:size]], ALPHA_AT) == []
    assert sum(beta.dropped.values()) == len(datagram) - 1
    assert set(beta.dropped) == {"malformed", "decrypt"}


@pytest.mark.parametrize(
    ("kind", "index", "count", "receiver", "reason"),
    [
        (DATA, 0, 1, 0xDEAD, "no-session"),
        (DATA, 1, 1, BETA_INDEX, "malformed"),
        (DATA, 0, 0, BETA_INDEX, "malformed"),
        (DATA, 0, 129, BETA_INDEX, "malformed"),
        (DATA, 5, 3, BETA_INDEX, "malformed"),
        (9, 0, 1, BETA_INDEX, "malformed"),
    ],
)
def test_a_header_that_no_frame_has_is_counted(
    kind: int, index: int, count: int, receiver: int, reason: str
) -> None:
    _, beta = couple()
    datagram = HEADER.pack(kind, index, count, 0, receiver, 7) + bytes(40)
    assert beta.receive([datagram, datagram], ALPHA_AT) == []
    assert beta.dropped == {reason: 2}


@pytest.mark.parametrize("segment", range(1, 17))
def test_datagrams_too_short_for_a_header_are_counted_whatever_they_hold(segment: int) -> None:
    _, beta = couple()
    # At 15 bytes apart, these overlapping headers would pass for a frame of two segments.
    first = HEADER.pack(DATA, 0, 2, 0, BETA_INDEX, DATA)
    crafted = first[:15] + HEADER.pack(DATA, 1, 2, 0, BETA_INDEX, DATA) + bytes(32)
    beta.inbound.begin()
    assert beta.inbound.receive(memoryview(crafted), segment, ALPHA_AT, 0.0) == []
    assert beta.dropped == {"malformed": -(-len(crafted) // segment)}


def test_a_frame_larger_than_any_send_is_not_delivered() -> None:
    alpha, beta = couple()
    packet = plain(packet4(alpha.address4, beta.address4, bytes(100_000)[:65_000]))
    huge = entry(OFFLOAD, packet) + entry(PADDING, bytes(MAX_PACKET))
    datagrams = sealed(alpha, huge)
    assert beta.receive_each(datagrams, ALPHA_AT) == []
    assert beta.dropped == {"oversize": 1}
    assert beta.state.budget.used == 0


def test_an_expired_session_receives_nothing() -> None:
    alpha, beta = couple()
    datagrams = datagrams_of(alpha.send(plain(packet4(alpha.address4, beta.address4)))[0])
    assert beta.receive(datagrams, ALPHA_AT, REJECT_AFTER + 1) == []
    assert beta.dropped == {"expired": 1}


def test_parts_of_frames_are_kept_only_from_where_the_peer_is_known_to_be() -> None:
    alpha, beta = couple()
    packet = plain(packet4(alpha.address4, beta.address4, bytes(3000)))
    datagrams = datagrams_of(alpha.send(packet)[0])
    assert beta.receive_each(datagrams, STRANGER_AT) == []
    assert beta.dropped == {"fragment-source": len(datagrams)}
    assert beta.state.budget.used == 0
    assert beta.receive(datagrams, STRANGER_AT) == [packet]  # whole, it proves itself


def test_relayed_segments_are_joined_too() -> None:
    alpha, beta = couple()
    packet = packet4(alpha.address4, beta.address4, bytes(3000))
    prefix = RELAY_PREFIX.pack(RELAYED, 77)
    path = Path(PathKind.RELAY, STRANGER_AT, alpha.identity.id, 77, prefix)
    for order in (1, -1):
        datagrams = sealed(alpha, entry(OFFLOAD, plain(packet)), 1208, prefix)[::order]
        beta.inbound.begin()
        buffer = memoryview(b"".join(datagrams[:1]) if order < 0 else b"".join(datagrams))
        received = beta.inbound.receive(buffer, len(datagrams[0]), STRANGER_AT, 0.0, path, 8)
        for rest in datagrams[1:] if order < 0 else []:
            received += beta.inbound.receive(memoryview(rest), 1232, STRANGER_AT, 0.0, path, 8)
        assert [bytes(p) for p in received] == [plain(packet)]
    assert beta.dropped == {}
    assert beta.session.endpoint == ALPHA_AT


# Inner addresses


def spoofed(*routes: IPv4Network | IPv6Network) -> tuple[Side, Side]:
    """`beta`, whose certificate grants `routes`, sends to `alpha`."""
    alpha, beta = couple(routes=routes)
    return beta, alpha


def attempt(beta: Side, alpha: Side, packet: bytes) -> tuple[int, dict[str, int]]:
    """Packets delivered, and drops."""
    delivered = alpha.receive(sealed(beta, entry(PACKET, packet)), BETA_AT)
    return len(delivered), alpha.dropped


def test_a_peer_sends_from_its_own_addresses() -> None:
    beta, alpha = spoofed()
    assert attempt(beta, alpha, packet4(beta.address4, alpha.address4)) == (1, {})
    assert attempt(beta, alpha, packet6(beta.address6, alpha.address6)) == (1, {})


@pytest.mark.parametrize("granted", [(), (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))])
def test_nobody_sends_from_another_members_address_or_ours_whatever_its_routes(
    granted: tuple[IPv4Network | IPv6Network, ...],
) -> None:
    beta, alpha = spoofed(*granted)
    gamma = member("gamma", 3).certificate
    for source in (alpha.address4, gamma.address4, IPv4Address("100.64.255.254")):
        assert attempt(beta, alpha, packet4(source, alpha.address4))[0] == 0
    unused = IPv6Address(int(alpha.address6) ^ 1)
    for source6 in (alpha.address6, gamma.address6, unused):
        assert attempt(beta, alpha, packet6(source6, alpha.address6))[0] == 0
    assert alpha.dropped == {"source": 6}


@pytest.mark.parametrize("text", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_a_martian_is_nobodys_source(text: str) -> None:
    beta, alpha = spoofed(IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    source = IPv4Address(text)
    assert attempt(beta, alpha, packet4(source, alpha.address4)) == (0, {"source": 1})
    mapped = IPv6Address(f"::ffff:{text}")
    assert attempt(beta, alpha, packet6(mapped, alpha.address6)) == (0, {"source": 2})


@pytest.mark.parametrize("text", ["::", "::1", "ff02::1", "fe80::1"])
def test_a_martian_of_ipv6_is_nobodys_source(text: str) -> None:
    beta, alpha = spoofed(IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    packet = packet6(IPv6Address(text), alpha.address6)
    assert attempt(beta, alpha, packet) == (0, {"source": 1})


def test_a_granted_route_is_a_source_and_its_neighbour_is_not() -> None:
    beta, alpha = spoofed(LAN, IPv6Network("2001:db8:1::/48"))
    ours4, ours6 = alpha.address4, alpha.address6
    assert attempt(beta, alpha, packet4(IPv4Address("10.1.255.255"), ours4))[0] == 1
    assert attempt(beta, alpha, packet6(IPv6Address("2001:db8:1::9"), ours6))[0] == 1
    assert attempt(beta, alpha, packet4(IPv4Address("10.2.0.0"), ours4))[0] == 0
    assert attempt(beta, alpha, packet6(IPv6Address("2001:db8:2::9"), ours6))[0] == 0
    assert alpha.dropped == {"source": 2}


def test_a_packet_to_somebody_else_is_not_delivered() -> None:
    beta, alpha = spoofed(LAN)
    for destination in (IPv4Address("10.9.9.9"), beta.address4, IPv4Address("224.0.0.1")):
        assert attempt(beta, alpha, packet4(beta.address4, destination))[0] == 0
    for destination6 in (IPv6Address("2001:db8::1"), beta.address6, IPv6Address("ff02::1")):
        assert attempt(beta, alpha, packet6(beta.address6, destination6))[0] == 0
    assert alpha.dropped == {"destination": 6}


def test_a_good_packet_does_not_open_the_door_for_the_next() -> None:
    beta, alpha = spoofed()
    good = packet4(beta.address4, alpha.address4)
    bad = packet4(alpha.address4, beta.address4)
    frame = entry(PACKET, good) + entry(PACKET, bad) + entry(PACKET, good) + entry(PACKET, bad)
    assert alpha.receive(sealed(beta, frame), BETA_AT) == [plain(good), plain(good)]
    assert alpha.dropped == {"source": 2}


def test_packets_that_look_like_the_last_one_are_not_spoofed_either() -> None:
    beta, alpha = spoofed()
    good = offload((0, 0, 0, 0, 0, 0), packet4(beta.address4, alpha.address4, b"good"))
    good6 = offload((0, 0, 0, 0, 0, 0), packet6(beta.address6, alpha.address6, b"good"))
    for number in range(12, 20):  # every byte of both addresses
        bad = bytearray(good)
        bad[4 + 10 + number] ^= 1
        frame = good + good + bytes(bad) + good
        assert len(alpha.receive(sealed(beta, frame), BETA_AT)) == 3
    for number in range(8, 40):
        bad = bytearray(good6)
        bad[4 + 10 + number] ^= 1
        assert len(alpha.receive(sealed(beta, good6 + good6 + bytes(bad) + good6), BETA_AT)) == 3
    assert alpha.dropped == {"source": 4 + 16, "destination": 4 + 16}


def test_packets_that_look_like_the_last_one_are_still_whole() -> None:
    beta, alpha = spoofed()
    packet = packet4(beta.address4, alpha.address4)
    good = offload((0, 0, 0, 0, 0, 0), packet)
    assert len(alpha.receive(sealed(beta, good + good), BETA_AT)) == 2
    for size in range(20):
        short = offload((0, 0, 0, 0, 0, 0), packet[:size])
        assert alpha.receive(sealed(beta, short + entry(PADDING, bytes(30))), BETA_AT) == []
    assert alpha.dropped == {"malformed": 20}


@pytest.mark.parametrize("kind", [PACKET, OFFLOAD])
def test_a_new_certificate_is_asked_again(kind: int) -> None:
    beta, alpha = spoofed(LAN)
    packet = packet4(IPv4Address("10.1.0.1"), alpha.address4)
    frame = entry(kind, packet if kind == PACKET else plain(packet))
    assert len(alpha.receive(sealed(beta, frame + frame), BETA_AT)) == 2
    narrower = member("beta", 2).certificate
    alpha.peer.certify(narrower, (narrower.der,))
    assert alpha.receive(sealed(beta, frame), BETA_AT) == []
    assert alpha.dropped == {"source": 1}


def test_a_session_whose_certificate_is_not_known_yet_delivers_nothing() -> None:
    beta, alpha = spoofed()
    alpha.session.proven = False
    good = packet4(beta.address4, alpha.address4)
    assert attempt(beta, alpha, good) == (0, {"unproven": 1})
    alpha.session.proven, alpha.session.peer = True, None
    assert attempt(beta, alpha, good) == (0, {"unproven": 2})
