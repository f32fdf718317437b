"""Joining: the kernel cuts what is written into the packets that came, whatever they were."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gossip import GossipConfig
from meshd.node.coalescing import coalesce
from meshd.node.state import NodeConfig
from tests.host.packets import TCP, UDP, Super
from tests.node.couples import ALPHA_AT, Side, couple, datagrams_of
from tests.node.flows import BOTH, cut, entries, of_flow

LAN = GossipConfig.lan()


@st.composite
def bursts(draw: st.DrawFn, source: str = "", target: str = "") -> list[bytes]:
    """Packets of a few flows, some after each other and some in turn, of few sizes."""
    packets: list[bytes] = []
    for _ in range(draw(st.integers(1, 5))):
        sizes = draw(st.lists(st.sampled_from([1, 64, 64, 64, 65, 300]), min_size=1, max_size=3))
        count = draw(st.integers(1, 40))
        alike = draw(st.booleans())
        wanted = [sizes[0] if alike else sizes[n % len(sizes)] for n in range(count)]
        form = Super(
            payload=b"",
            gso_size=0,
            protocol=draw(st.sampled_from([TCP, UDP])),
            flags=draw(st.sampled_from([0x10, 0x10, 0x18, 0x11])),
            sequence=draw(st.sampled_from([1, 2**32 - 200])),
            identification=draw(st.integers(0, 2**16 - 1)),
            source=source,
            target=target,
        )
        mark = draw(st.integers(0, 255))
        packets += of_flow((bytes([mark ^ n % 251]) * size for n, size in enumerate(wanted)), form)
    if draw(st.booleans()):
        packets = packets[::2] + packets[1::2]
    return packets


@given(bursts())
def test_one_run_stands_for_the_packets_that_came(packets: list[bytes]) -> None:
    plain, stride = memoryview(entries(packets)), 4 + len(packets[0])
    run = coalesce(plain, 0, stride, len(plain), BOTH)
    if run is not None:
        joined = packets[: run.packets]
        assert cut([run.packet]) == cut(joined)
        assert run.spared == sum(map(len, joined)) - len(run.packet)


@given(bursts(), st.lists(st.tuples(st.integers(0, 3999), st.integers(0, 255)), max_size=4))
def test_whatever_bytes_come_nothing_is_raised(
    packets: list[bytes], damage: list[tuple[int, int]]
) -> None:
    plain, stride = bytearray(entries(packets)), 4 + len(packets[0])
    for at, value in damage:
        plain[min(at, len(plain) - 1)] = value
    run = coalesce(memoryview(plain), 0, stride, len(plain), BOTH)
    assert run is None or run.packets * stride <= len(plain)


ALPHA, BETA = couple()


@settings(max_examples=60)
@given(st.data(), st.sampled_from([(True, True), (True, False), (False, True), (False, False)]))
def test_what_is_written_stands_for_what_was_sent(
    data: st.DataObject, takes: tuple[bool, bool]
) -> None:
    packets = data.draw(bursts(str(ALPHA.address4), str(BETA.address4)))
    alpha, beta = couple(far=NodeConfig(LAN, segmentation=takes[0], udp_segmentation=takes[1]))
    written, standing = passed(alpha, beta, packets)
    assert cut(written) == cut(packets)
    assert standing == len(packets)
    if not takes[1]:
        assert all(packet[1] != 5 for packet in written)


def passed(alpha: Side, beta: Side, packets: list[bytes]) -> tuple[list[bytes], int]:
    """What beta's TUN is given, and how many packets that is said to be."""
    written: list[bytes] = []
    standing = 0
    for frame in alpha.gather(packets):
        got = beta.receive(datagrams_of(frame), ALPHA_AT)
        written += got
        standing += len(got) + sum(run.packets - 1 for run in beta.state.coalesced)
    return written, standing
