"""Whatever packets go into one end come out of the other, however the network groups, delays and
doubles the datagrams; and nothing else ever comes out."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gossip import GossipConfig
from meshd.node.inbound import MAX_CONTROLS
from meshd.node.noise import AES256GCM, CHACHA20POLY1305
from meshd.node.parity import MAX_PARITIES
from meshd.node.path import Path, PathKind
from meshd.node.reassembly import MAX_LOST
from meshd.node.state import NodeConfig
from meshd.node.wire import (
    BASE_SEGMENT,
    CONTROL,
    HEADER,
    HEADER_SIZE,
    MAX_SEGMENTS,
    PADDING,
    RELAY_PREFIX,
    RELAY_SIZE,
    RELAYED,
    cut,
    pack_endpoint,
    unpack_endpoint,
)
from tests.node.couples import (
    ALPHA_AT,
    STRANGER_AT,
    Side,
    copied,
    couple,
    datagrams_of,
    packet4,
    packet6,
    plain,
)

BARE = NodeConfig(GossipConfig.lan(), vnet_header=False)

sizes = st.one_of(
    st.integers(0, 40),
    st.integers(1100, 3100),
    st.integers(0, 62_000),
)
suites = st.sampled_from([AES256GCM, CHACHA20POLY1305])
segments = st.one_of(st.sampled_from([BASE_SEGMENT, 1472]), st.integers(BASE_SEGMENT, 1500))
parities = st.one_of(st.none(), st.integers(0, MAX_PARITIES).map(lambda r: (r,) * 54))
channels = st.one_of(st.none(), st.integers(0, (1 << 32) - 1))


@st.composite
def traffic(
    draw: st.DrawFn, most: int = 12
) -> tuple[Side, Side, list[bytes], list[bytes], Path | None]:
    """Two members, packets from the first to the second, the datagrams that carry them, and the
    relayed path they take, if any."""
    vnet = draw(st.booleans())
    config = None if vnet else BARE
    alpha, beta = couple(config, config, suite=draw(suites), segment=draw(segments))
    alpha.path.parity = draw(parities)
    channel, via = draw(channels), None
    if channel is not None:
        prefix = RELAY_PREFIX.pack(RELAYED, channel)
        via = Path(PathKind.RELAY, STRANGER_AT, None, channel, prefix)
        alpha.path.prefix = prefix
    packets = []
    for number, size in enumerate(draw(st.lists(sizes, min_size=1, max_size=most))):
        body = number.to_bytes(2, "big") + bytes(size)
        if draw(st.booleans()):
            packet = packet4(alpha.address4, beta.address4, body)
        else:
            packet = packet6(alpha.address6, beta.address6, body)
        packets.append(plain(packet) if vnet else packet)
    datagrams: list[bytes] = []
    start = 0
    while start < len(packets):  # those that wait in the TUN together
        end = start + draw(st.integers(1, most))
        waiting = packets[start:end]
        frames = alpha.gather(waiting) if draw(st.booleans()) else alpha.send(*waiting)
        datagrams += [d for frame in frames for d in datagrams_of(frame)]
        start = end
    return alpha, beta, packets, datagrams, via


def batches(data: st.DataObject, datagrams: list[bytes]) -> list[list[bytes]]:
    """Datagrams as GRO may join them: of one size, but for a shorter one that ends the batch."""
    grouped: list[list[bytes]] = []
    limit = data.draw(st.integers(1, 64))
    cuts = data.draw(st.sets(st.integers(0, len(datagrams)), max_size=8))
    for number, datagram in enumerate(datagrams):
        last = grouped[-1] if grouped else []
        if (
            last
            and number not in cuts
            and len(last) < limit
            and len(last[-1]) == len(last[0]) >= len(datagram)
        ):
            last.append(datagram)
        else:
            grouped.append([datagram])
    return grouped


def deliver(side: Side, batch: list[bytes], via: Path | None, now: float = 0.0) -> list[bytes]:
    """Hand one batch over."""
    side.inbound.begin()
    buffer, base = memoryview(b"".join(batch)), RELAY_SIZE if via else 0
    source = via.endpoint if via else ALPHA_AT
    return copied(side.inbound.receive(buffer, len(batch[0]), source, now, via, base))


@given(st.data())
def test_packets_cross_in_order_however_gro_groups_the_datagrams(data: st.DataObject) -> None:
    _, beta, packets, datagrams, via = data.draw(traffic())
    received: list[bytes] = []
    for batch in batches(data, datagrams):
        received += deliver(beta, batch, via)
    assert received == packets
    assert beta.dropped == {}
    assert beta.state.budget.used == 0


@given(st.data())
def test_every_packet_crosses_once_whatever_the_order_and_the_doubles(data: st.DataObject) -> None:
    _, beta, packets, datagrams, via = data.draw(traffic(6))
    # Displaced by at most so many that no frame is pushed out of the bounded memory.
    keys = [index + data.draw(st.integers(0, 40)) for index in range(len(datagrams))]
    order = sorted(range(len(datagrams)), key=lambda index: (keys[index], index))
    shuffled = [datagrams[index] for index in order]
    for index in sorted(
        data.draw(st.sets(st.integers(0, len(shuffled)), max_size=5)), reverse=True
    ):
        shuffled[index:index] = shuffled[max(0, index - 3) : index]
    received: list[bytes] = []
    for batch in batches(data, shuffled):
        received += deliver(beta, batch, via)
    assert sorted(received) == sorted(packets)
    assert set(beta.dropped) <= {"replay"}


@given(st.data())
def test_what_is_lost_takes_nothing_else_with_it_but_its_frame(data: st.DataObject) -> None:
    _, beta, packets, datagrams, via = data.draw(traffic(6))
    lost = data.draw(st.sets(st.integers(0, len(datagrams) - 1), max_size=3))
    base = RELAY_SIZE if via else 0
    missed = Counter(HEADER.unpack_from(datagrams[index], base)[5] for index in lost)
    protection = {head[5]: head[3] for head in (HEADER.unpack_from(d, base) for d in datagrams)}
    broken = {counter for counter, count in missed.items() if count > protection[counter]}
    received: list[bytes] = []
    for batch in batches(data, [d for i, d in enumerate(datagrams) if i not in lost]):
        received += deliver(beta, batch, via)
    config = beta.state.config
    _, untroubled = couple(config, config, suite=beta.session.suite)
    whole = [d for d in datagrams if HEADER.unpack_from(d, base)[5] not in broken]
    assert received == [p for d in whole for p in deliver(untroubled, [d], via)]
    assert set(received) <= set(packets)
    beta.session.reassembler.expire(10.0)
    assert beta.state.budget.used == 0


@given(st.data())
def test_a_datagram_that_was_changed_delivers_nothing_that_was_not_sent(
    data: st.DataObject,
) -> None:
    _, beta, packets, datagrams, via = data.draw(traffic(3))
    base = RELAY_SIZE if via else 0
    index = data.draw(st.integers(0, len(datagrams) - 1))
    changed = bytearray(datagrams[index])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(base, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    cut_to = data.draw(st.one_of(st.just(len(changed)), st.integers(1, len(changed))))
    datagrams[index] = bytes(changed[:cut_to])
    received: list[bytes] = []
    for batch in batches(data, datagrams):
        received += deliver(beta, batch, via)
    assert set(received) <= set(packets)
    assert len(received) == len(set(received))


@given(
    st.binary(min_size=1, max_size=4000),
    st.integers(1, 1600),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 3999), st.sampled_from([0, 1, 2, 4, 11, 128])), max_size=40),
)
def test_garbage_delivers_nothing_and_is_counted(
    garbage: bytes, segment: int, relayed: bool, pokes: list[tuple[int, int]]
) -> None:
    _, beta = couple()
    crafted = bytearray(garbage)
    for start in range(0, len(crafted), segment):
        head = HEADER.pack(4, 0, 1, 0, beta.session.local_index, 0)
        crafted[start : start + len(head)] = head[: len(crafted) - start]
    for at, value in pokes:
        if at < len(crafted):
            crafted[at] = value
    via = Path(PathKind.RELAY, STRANGER_AT, None, 7, b"x" * 8) if relayed else None
    beta.inbound.begin()
    base = RELAY_SIZE if relayed else 0
    buffer = memoryview(bytes(crafted))
    assert beta.inbound.receive(buffer, segment, ALPHA_AT, 0.0, via, base) == []
    partial = beta.session.reassembler.statistics()
    counted = sum(beta.dropped.values()) + sum(partial.dropped.values()) + partial.duplicates
    assert counted or partial.frames
    assert not beta.inbound.arrivals


bodies = st.one_of(
    st.binary(max_size=200),
    st.builds(bytes.__add__, st.binary(min_size=10, max_size=10), st.just(b"\x45" + bytes(40))),
    st.builds(bytes.__add__, st.binary(min_size=10, max_size=10), st.just(b"\x60" + bytes(60))),
)


@given(st.lists(st.tuples(st.integers(0, 5), bodies), max_size=6), st.binary(max_size=40))
def test_any_plaintext_of_a_member_is_taken_or_counted(
    entries: list[tuple[int, bytes]], tail: bytes
) -> None:
    alpha, beta = couple()
    rows = b"".join((kind << 24 | len(body)).to_bytes(4, "big") + body for kind, body in entries)
    out = memoryview(bytearray(len(rows) + len(tail) + 16))
    frame = alpha.session.seal(rows + tail, out, 1456, b"", ALPHA_AT)
    assert beta.receive(datagrams_of(frame), ALPHA_AT) == []
    wrong = sum(kind not in (CONTROL, PADDING) for kind, _ in entries)
    assert sum(beta.dropped.values()) >= wrong
    assert set(beta.dropped) <= {"malformed", "source", "destination", "control"}
    assert len(beta.inbound.arrivals) <= 1 + MAX_CONTROLS


@given(
    size=st.integers(0, 60_000),
    amount=st.integers(1, MAX_PARITIES),
    segment=segments,
    data=st.data(),
)
def test_as_many_lost_segments_as_parities_cost_nothing(
    size: int, amount: int, segment: int, data: st.DataObject
) -> None:
    alpha, beta = couple(segment=segment)
    alpha.path.parity = (amount,) * 54
    packet = plain(packet4(alpha.address4, beta.address4, bytes(size)))
    [frame] = alpha.send(packet)
    datagrams = datagrams_of(frame)
    assert {len(datagram) for datagram in datagrams} == {frame.segment_size}
    assert frame.segment_size <= segment
    assert len(datagrams) == frame.count == alpha.session.segments_sent
    lost = data.draw(st.sets(st.integers(0, len(datagrams) - 1), max_size=amount))
    slices = datagrams[0][2]
    assume(sum(number < slices for number in lost) <= MAX_LOST)
    here = [datagram for number, datagram in enumerate(datagrams) if number not in lost]
    order = data.draw(st.one_of(st.just(here), st.permutations(here)))
    arrived = [p for batch in batches(data, order) for p in deliver(beta, batch, None)]
    assert arrived == [packet]
    assert not beta.dropped
    reception = beta.session.reception
    reception.settle(1)
    assert (reception.opened, reception.expected) == (1, len(datagrams))
    assert (reception.lost, reception.squares) == (len(lost), len(lost) ** 2)


@given(
    sealed=st.binary(min_size=1, max_size=5000),
    chunk=st.integers(1, 1500),
    receiver=st.integers(0, (1 << 32) - 1),
    counter=st.integers(0, (1 << 64) - 1),
    prefix=st.sampled_from([b"", b"\5\0\0\0\1\2\3\4"]),
)
def test_cutting_loses_no_byte_and_numbers_every_segment(
    sealed: bytes, chunk: int, receiver: int, counter: int, prefix: bytes
) -> None:
    chunk = max(chunk, -(-len(sealed) // MAX_SEGMENTS))
    count = -(-len(sealed) // chunk)
    first = HEADER.pack(4, 0, count, 0, receiver, counter)
    parts = cut(memoryview(sealed), first, chunk, prefix)
    heads, slices = parts[::2], parts[1::2]
    assert len(heads) == len(slices) == count
    assert b"".join(slices) == sealed
    assert all(len(piece) == chunk for piece in slices[:-1])
    for index, head in enumerate(heads):
        assert bytes(head[: len(prefix)]) == prefix
        assert len(head) == len(prefix) + HEADER_SIZE
        assert HEADER.unpack_from(head, len(prefix)) == (4, index, count, 0, receiver, counter)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(1, 65535))
def test_an_endpoint_comes_back_unless_nobody_can_send_to_it(
    address: IPv4Address | IPv6Address, port: int
) -> None:
    packed = pack_endpoint((str(address), port))
    plainer = (address.ipv4_mapped or address) if address.version == 6 else address
    if plainer.is_multicast or plainer.is_unspecified or str(plainer) == "255.255.255.255":
        with pytest.raises(ValueError, match="not an endpoint"):
            unpack_endpoint(packed)
    else:
        assert unpack_endpoint(packed) == (str(plainer), port)


@given(st.binary(max_size=20))
def test_any_bytes_are_an_endpoint_or_refused(data: bytes) -> None:
    try:
        endpoint = unpack_endpoint(data)
    except ValueError:
        return
    assert unpack_endpoint(pack_endpoint(endpoint)) == endpoint


@given(lengths=st.lists(st.integers(40, 9000), min_size=1, max_size=20), data=st.data())
def test_a_batch_taken_apart_says_the_same_or_is_refused_whole(
    lengths: list[int], data: st.DataObject
) -> None:
    one, other = couple(), couple()
    payloads = [bytes((number,)) * (length - 28) for number, length in enumerate(lengths)]
    addresses = one[0].address4, one[1].address4
    packets = [plain(packet4(*addresses, payload)) for payload in payloads if payload]
    for frame in one[0].send(*packets):
        datagrams = datagrams_of(frame)
        change = data.draw(st.sampled_from(["none", "drop", "swap", "flip", "cut"]))
        at = data.draw(st.integers(0, len(datagrams) - 1))
        if change == "drop" and len(datagrams) > 1:
            del datagrams[at]
        elif change == "swap":
            datagrams[at], datagrams[0] = datagrams[0], datagrams[at]
        elif change == "flip":
            spoilt = bytearray(datagrams[at])
            spoilt[data.draw(st.integers(0, len(spoilt) - 1))] ^= data.draw(st.integers(1, 255))
            datagrams[at] = bytes(spoilt)
        elif change == "cut":
            datagrams[-1] = datagrams[-1][: data.draw(st.integers(1, len(datagrams[-1])))]
        if any(len(datagram) != len(datagrams[0]) for datagram in datagrams[:-1]):
            continue  # no GRO hands these over together
        if len(datagrams[-1]) > len(datagrams[0]):
            continue
        before = dict(one[1].dropped)
        split = one[1].receive_split(datagrams, ALPHA_AT)
        if split is None:
            assert one[1].dropped == before
            split = one[1].receive(datagrams, ALPHA_AT)
        assert split == other[1].receive(datagrams, ALPHA_AT)
        assert one[1].dropped == other[1].dropped


def test_whole_frames_are_taken_apart_and_not_refused() -> None:
    alpha, beta = couple()
    packets = [plain(packet4(alpha.address4, beta.address4, bytes(size))) for size in (60_000, 20)]
    for frame in alpha.send(*packets):
        assert beta.receive_split(datagrams_of(frame), ALPHA_AT)
    assert beta.dropped == {}
