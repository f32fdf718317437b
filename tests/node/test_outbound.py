"""How `Outbound` makes frames of packets; `Inbound` has test modules of its own."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest

from gossip import GossipConfig
from meshd.node.noise import AES256GCM, CHACHA20POLY1305, CipherSuite
from meshd.node.offload import VNET
from meshd.node.outbound import FRAME_FULL, GATHER_MAX
from meshd.node.peer import MAX_WAITING_PACKETS, Peer
from meshd.node.reassembly import Shape
from meshd.node.segmentation import split
from meshd.node.session import REJECT_AFTER
from meshd.node.state import NodeConfig
from meshd.node.wire import HEADER, MAX_BATCH, MAX_SEGMENTS
from tests.host.packets import Super
from tests.node.couples import (
    ALPHA_AT,
    BETA_AT,
    STRANGER_AT,
    Side,
    couple,
    datagrams_of,
    make_peer,
    member,
    packet4,
    packet6,
    plain,
)

BARE = NodeConfig(GossipConfig.lan(), vnet_header=False)


def to_beta(alpha: Side, beta: Side, size: int, fill: int = 0) -> bytes:
    """A packet with `size` bytes of payload, as the TUN brings it."""
    return plain(packet4(alpha.address4, beta.address4, bytes([fill]) * size))


def add_gamma(alpha: Side) -> tuple[Peer, bytes]:
    """A third member, reached by `alpha` at another endpoint in the same session keys, and a
    packet for it."""
    gamma = member("gamma", 3)
    peer = make_peer(gamma)
    peer.current = alpha.peer.current
    peer.paths.learn(STRANGER_AT, 0.0).prove(0.0)
    peer.paths.choose(0.0)
    alpha.state.peers[peer.id] = peer
    alpha.rebuild()
    return peer, plain(packet4(alpha.address4, gamma.certificate.address4, b"gamma"))


@pytest.mark.parametrize("suite", [AES256GCM, CHACHA20POLY1305])
@pytest.mark.parametrize("segment", [1232, 1472])
def test_a_packet_crosses(suite: CipherSuite, segment: int) -> None:
    alpha, beta = couple(suite=suite, segment=segment)
    packets = [
        plain(packet4(alpha.address4, beta.address4, b"four")),
        plain(packet6(alpha.address6, beta.address6, b"six" * 500)),
        to_beta(alpha, beta, 40_000),
    ]
    received = []
    for frame in alpha.send(*packets):
        assert frame.endpoint == BETA_AT
        received += beta.receive(datagrams_of(frame), ALPHA_AT)
    assert received == packets
    assert beta.dropped == alpha.dropped == {}


def test_a_tun_without_virtio_headers_sends_packets_without_them() -> None:
    alpha, beta = couple(BARE, BARE)
    packet = packet4(alpha.address4, beta.address4, b"bare")
    [frame] = alpha.send(packet)
    assert beta.receive(datagrams_of(frame), ALPHA_AT) == [packet]


def test_packets_that_wait_together_share_a_frame() -> None:
    alpha, beta = couple()
    packets = [to_beta(alpha, beta, size, size & 0xFF) for size in (0, 10, 1400, 3000, 7)]
    [frame] = alpha.send(*packets)
    assert beta.receive(datagrams_of(frame), ALPHA_AT) == packets
    assert alpha.session.frames_sent == 1


def test_a_frame_leaves_when_it_is_full() -> None:
    alpha, beta = couple()
    packets = [to_beta(alpha, beta, 1400, number) for number in range(100)]
    frames = alpha.send(*packets)
    assert len(frames) == 3
    assert all(FRAME_FULL < frame.size < FRAME_FULL * 1.1 for frame in frames[:2])
    received = [p for frame in frames for p in beta.receive(datagrams_of(frame), ALPHA_AT)]
    assert received == packets


@pytest.mark.parametrize("segment", [1232, 1472])
def test_no_frame_is_larger_than_one_send(segment: int) -> None:
    alpha, beta = couple(segment=segment)
    sizes = [60_000, 30_000, 45_000, 60_000, 63_000, 1, 47_000, 20_000, 64_000]
    packets = [to_beta(alpha, beta, size, size & 0xFF) for size in sizes[:-1]]
    frames = alpha.send(*packets)
    for frame in frames:
        assert frame.size <= MAX_BATCH
        assert frame.count <= MAX_SEGMENTS
        assert max(map(len, datagrams_of(frame))) <= segment
    received = [p for frame in frames for p in beta.receive(datagrams_of(frame), ALPHA_AT)]
    assert received == packets


def test_a_packet_that_no_send_can_carry_is_counted_and_the_others_cross() -> None:
    alpha, beta = couple(segment=1232)
    small, large = to_beta(alpha, beta, 9), to_beta(alpha, beta, 65_400)
    frames = alpha.send(small, large, small)
    assert [p for f in frames for p in beta.receive(datagrams_of(f), ALPHA_AT)] == [small, small]
    assert alpha.dropped == {"oversize": 1}


def test_each_peer_has_its_own_frame() -> None:
    alpha, beta = couple()
    gamma, other = add_gamma(alpha)
    mine = to_beta(alpha, beta, 5)
    frames = alpha.send(mine, mine, other, mine, other, other)
    assert [frame.endpoint for frame in frames] == [BETA_AT, STRANGER_AT, BETA_AT, STRANGER_AT]
    assert gamma.tx_bytes == frames[1].size + frames[3].size
    received = [p for f in frames[::2] for p in beta.receive(datagrams_of(f), ALPHA_AT)]
    assert received == [mine, mine, mine]


def test_a_large_packet_that_changes_the_peer_is_whole() -> None:
    alpha, beta = couple()
    _, other = add_gamma(alpha)
    packets = [to_beta(alpha, beta, size, size & 0xFF) for size in (40_000, 60_000, 62_000, 45_000)]
    frames = alpha.send(*(p for packet in packets for p in (packet, other)))
    received = [
        p
        for frame in frames
        if frame.endpoint == BETA_AT
        for p in beta.receive(datagrams_of(frame), ALPHA_AT)
    ]
    assert received == packets


def test_the_frame_is_what_left_and_what_the_counters_say() -> None:
    alpha, beta = couple()
    [frame] = alpha.send(to_beta(alpha, beta, 5000), now=7.0)
    datagrams = datagrams_of(frame)
    assert sum(map(len, datagrams)) == frame.size == alpha.peer.tx_bytes
    assert {len(d) for d in datagrams[:-1]} == {frame.segment_size}
    assert len(datagrams) == frame.count
    assert alpha.peer.last_data_at == 7.0


def test_flushing_nothing_sends_nothing() -> None:
    alpha, beta = couple()
    assert alpha.outbound.flush(0.0) is None
    assert len(alpha.send(to_beta(alpha, beta, 5))) == 1
    assert alpha.outbound.flush(0.0) is None
    assert alpha.session.frames_sent == 1


def test_a_relayed_path_carries_its_prefix() -> None:
    alpha, beta = couple()
    path = alpha.peer.paths.relayed(member("gamma", 3).id, 7, STRANGER_AT, 0.0)
    path.prove(0.0)
    alpha.peer.paths.lose_all()
    path.valid = True
    alpha.peer.paths.choose(0.0)
    [frame] = alpha.send(to_beta(alpha, beta, 3000))
    datagrams = datagrams_of(frame)
    assert frame.endpoint == STRANGER_AT
    assert all(datagram[:8] == path.prefix for datagram in datagrams)
    assert len(datagrams[0]) == path.segment


# A turn of the daemon


def test_a_turn_gathers_what_waits_into_the_same_frames() -> None:
    one, other = couple(), couple()
    alpha, beta = one
    packets = [to_beta(alpha, beta, 1400, number) for number in range(50)]
    packets += [plain(packet6(alpha.address6, beta.address6, bytes(99)))] * 9
    packets[20:20] = [b"", to_beta(alpha, beta, 60_000), plain(bytes(30))]
    gathered = alpha.gather(packets[:20] + packets[21:])
    assert [frame.parts for frame in gathered] == [f.parts for f in other[0].send(*packets)]
    assert alpha.outbound.drained
    assert alpha.outbound.packets_taken == len(packets) - 2, (
        "not the empty one, nor the malformed one"
    )
    whole = [packet for packet in packets if len(packet) > 40]
    assert alpha.outbound.bytes_taken == sum(len(packet) - VNET for packet in whole)


def test_a_turn_gathers_for_each_peer() -> None:
    alpha, beta = couple()
    _, other = add_gamma(alpha)
    mine = to_beta(alpha, beta, 5)
    frames = alpha.gather([mine, mine, other, mine, other, other])
    assert [frame.endpoint for frame in frames] == [BETA_AT, STRANGER_AT, BETA_AT, STRANGER_AT]
    received = [p for f in frames[::2] for p in beta.receive(datagrams_of(f), ALPHA_AT)]
    assert received == [mine, mine, mine]


def test_a_turn_is_bounded_while_packets_keep_coming() -> None:
    alpha, beta = couple()
    for packet in (to_beta(alpha, beta, 0), plain(bytes(30))):
        reads = 0

        def read(view: memoryview, packet: bytes = packet) -> int:
            nonlocal reads
            reads += 1
            view[: len(packet)] = packet
            return len(packet)

        alpha.outbound.gather(read, 0.0)
        assert reads == GATHER_MAX
        assert not alpha.outbound.drained


def test_a_packet_for_a_peer_without_a_session_does_not_hold_up_the_turn() -> None:
    alpha, beta = couple()
    gamma, other = add_gamma(alpha)
    gamma.current = None
    mine = to_beta(alpha, beta, 5)
    frames = alpha.gather([mine, other, mine, other])
    assert [p for f in frames for p in beta.receive(datagrams_of(f), ALPHA_AT)] == [mine, mine]
    assert alpha.outbound.waiting is gamma
    assert len(gamma.packets) == 2


# Where it cannot go


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("203.0.113.7", "no-route"),
        ("100.64.99.99", "no-route"),
        ("224.0.0.251", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "no-route"),
        ("ff02::fb", "multicast"),
        ("2001:db8::1", "no-route"),
        ("fe80::1", "no-route"),
    ],
)
def test_a_packet_to_nobody_is_counted(text: str, reason: str) -> None:
    alpha, _ = couple()
    if ":" in text:
        packet = packet6(alpha.address6, IPv6Address(text))
    else:
        packet = packet4(alpha.address4, IPv4Address(text))
    assert alpha.send(plain(packet)) == []
    assert alpha.dropped == {reason: 1}
    assert alpha.outbound.waiting is None


def test_a_route_carries_what_is_no_members_address() -> None:
    alpha, _ = couple(routes=(IPv4Network("10.0.0.0/8"),))
    alpha.rebuild(("10.0.0.0/8", alpha.peer))
    assert len(alpha.send(plain(packet4(alpha.address4, IPv4Address("10.9.9.9"))))) == 1
    assert alpha.send(plain(packet4(alpha.address4, IPv4Address("11.9.9.9")))) == []


@pytest.mark.parametrize("size", [0, 1, 10, 11, 29])
def test_what_is_no_packet_is_counted(size: int) -> None:
    alpha, beta = couple()
    good = to_beta(alpha, beta, 0)
    assert alpha.send(good[:size]) == []
    assert alpha.dropped == {"malformed": 1}
    assert len(alpha.send(plain(packet6(alpha.address6, beta.address6))[:49])) == 0
    assert len(alpha.send(plain(b"\x70" * 60))) == 0
    assert alpha.dropped == {"malformed": 3}
    assert len(alpha.send(good)) == 1


def test_what_is_no_packet_does_not_disturb_the_frame() -> None:
    alpha, beta = couple()
    good = to_beta(alpha, beta, 100)
    lost = plain(packet4(alpha.address4, IPv4Address("203.0.113.7")))
    [frame] = alpha.send(good, b"", good, lost, good)
    assert beta.receive(datagrams_of(frame), ALPHA_AT) == [good] * 3


# Waiting


def test_packets_wait_for_a_session_and_leave_in_order_when_there_is_one() -> None:
    alpha, beta = couple()
    session, alpha.peer.current = alpha.peer.current, None
    packets = [to_beta(alpha, beta, 3000, number) for number in range(30)]
    assert alpha.send(*packets) == []
    assert alpha.outbound.waiting is alpha.peer
    alpha.peer.current = session
    # The one that comes first after the session does not overtake those that wait.
    late = to_beta(alpha, beta, 1)
    assert alpha.send(late) == []
    frames = alpha.outbound.held(alpha.peer, 1.0)
    assert 1 < len(frames) < 5
    assert all(frame.size <= MAX_BATCH for frame in frames)
    received = [p for frame in frames for p in beta.receive(datagrams_of(frame), ALPHA_AT)]
    assert received == [*packets, late]
    assert alpha.outbound.held(alpha.peer, 1.0) == []
    assert len(alpha.send(late)) == 1
    assert alpha.dropped == {}


def test_waiting_packets_are_bounded_and_the_oldest_goes_first() -> None:
    alpha, beta = couple()
    session, alpha.peer.current = alpha.peer.current, None
    packets = [to_beta(alpha, beta, number) for number in range(MAX_WAITING_PACKETS + 50)]
    assert alpha.send(*packets) == []
    assert alpha.dropped == {"queue": 50}
    alpha.peer.current = session
    frames = alpha.outbound.held(alpha.peer, 1.0)
    received = [p for frame in frames for p in beta.receive(datagrams_of(frame), ALPHA_AT)]
    assert received == packets[50:]


def test_a_waiting_packet_that_the_path_cannot_carry_is_counted() -> None:
    alpha, beta = couple(segment=1232)
    session, alpha.peer.current = alpha.peer.current, None
    small = to_beta(alpha, beta, 9)
    assert alpha.send(small, to_beta(alpha, beta, 65_400), small) == []
    alpha.peer.current = session
    frames = alpha.outbound.held(alpha.peer, 0.0)
    received = [p for frame in frames for p in beta.receive(datagrams_of(frame), ALPHA_AT)]
    assert received == [small, small]
    assert alpha.dropped == {"oversize": 1}


def test_packets_wait_when_the_path_was_lost_or_the_session_has_expired() -> None:
    alpha, beta = couple()
    packet = to_beta(alpha, beta, 9)
    assert alpha.send(packet, now=REJECT_AFTER + 1) == []
    alpha.peer.paths.lose_all()
    assert alpha.send(packet) == []
    assert alpha.peer.take_packets() != []
    assert alpha.outbound.waiting is alpha.peer


def test_a_frame_whose_session_ends_before_it_leaves_is_counted() -> None:
    alpha, beta = couple()
    packet = to_beta(alpha, beta, 9)
    alpha.outbound.space[: len(packet)] = packet
    assert alpha.outbound.add(len(packet), 0.0) is None
    alpha.peer.current = None
    assert alpha.outbound.flush(0.0) is None
    assert alpha.dropped == {"no-session": 1}


def test_no_counter_is_used_twice_whatever_the_way_out() -> None:
    alpha, beta = couple()
    packet = to_beta(alpha, beta, 3000)
    frames = alpha.send(packet)
    alpha.peer.hold_packet(b"\1\0\0\x0a" + bytes(10))
    frames += alpha.outbound.held(alpha.peer, 0.0) + alpha.send(packet)
    counters = [HEADER.unpack_from(frame.parts[0])[5] for frame in frames]
    assert counters == [0, 1, 2]


def test_a_super_packet_is_divided_where_frames_are_short() -> None:
    alpha, beta = couple()
    alpha.path.span = 4
    segments = [bytes([number]) * 1400 for number in range(20)]
    source, destination = (str(side.address4) for side in (alpha, beta))
    header, packet = Super(b"".join(segments), 1400, source=source, target=destination).build()
    small = to_beta(alpha, beta, 10)
    frames = alpha.gather([header + packet, small])
    assert max(frame.count for frame in frames) <= 4
    arrived = [p for frame in frames for p in beta.receive(datagrams_of(frame), ALPHA_AT)]
    assert arrived[-1] == small
    parts = [part for each in arrived[:-1] for part in split(each[:VNET], each[VNET:])]
    assert parts == split(header, packet)
    assert not alpha.outbound.dividing


def test_a_large_packet_that_cannot_be_divided_crosses_whole() -> None:
    alpha, beta = couple()
    alpha.path.span = 2
    packet = to_beta(alpha, beta, 9000)
    [frame] = alpha.gather([packet])
    assert frame.count == 7
    assert beta.receive(datagrams_of(frame), ALPHA_AT) == [packet]


def test_frames_of_a_lossy_path_are_protected_as_its_table_says() -> None:
    alpha, beta = couple()
    alpha.path.parity = (0, 1, *(3,) * 52)
    [small] = alpha.send(to_beta(alpha, beta, 100))
    [large] = alpha.send(to_beta(alpha, beta, 30_000))
    assert (small.count, large.count) == (2, 24)
    assert HEADER.unpack_from(datagrams_of(large)[-1])[1:4] == (23, 21, 3)
    alpha.path.parity = (0,) * 54
    [bare] = alpha.send(to_beta(alpha, beta, 100))
    assert bare.count == 1


def test_padding_tells_nothing_of_other_packets() -> None:
    alpha, beta = couple()
    alpha.send(to_beta(alpha, beta, 60_000, 0x55))
    alpha.path.parity = (1,) * 54
    [frame] = alpha.send(to_beta(alpha, beta, 2000, 0))
    sealed = b"".join(datagram[16:] for datagram in datagrams_of(frame)[:-1])
    out = memoryview(bytearray(len(sealed)))
    shape = Shape(beta.session.replay.highest + 2, frame.count - 1, 1)
    size = beta.session.open(shape, sealed, out)
    assert 0x55 not in bytes(out[:size])


def test_padding_does_not_touch_the_packet_that_comes_next() -> None:
    alpha, beta = couple()
    alpha.path.parity = (1,) * 54
    packets = [to_beta(alpha, beta, size, size % 251 + 1) for size in range(9000, 47_000, 1900)]
    frames = alpha.send(*packets)
    assert [p for f in frames for p in beta.receive(datagrams_of(f), ALPHA_AT)] == packets
