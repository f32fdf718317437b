"""What `Inbound` lets through as one, and that nothing passes within it that would not alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossip import GossipConfig
from meshd.node.state import NodeConfig
from meshd.node.wire import CONTROL, entry
from tests.host.packets import UDP, Super
from tests.node.couples import ALPHA_AT, BETA_AT, Side, couple, datagrams_of
from tests.node.flows import changed, cut, entries, of_flow

BARE = NodeConfig(gossip=GossipConfig.lan(), vnet_header=False)


def flow(alpha: Side, beta: Side, count: int) -> list[bytes]:
    form = Super(b"", 0, 4, UDP, source=str(alpha.address4), target=str(beta.address4))
    return of_flow((bytes([n]) * 64 for n in range(count)), form)


def test_packets_of_one_flow_are_written_as_one() -> None:
    alpha, beta = couple()
    packets = flow(alpha, beta, 128)
    (frame,) = alpha.gather(packets)
    written = beta.receive(datagrams_of(frame), ALPHA_AT)
    assert len(written) == 2
    assert cut(written) == cut(packets)
    assert [run.packets for run in beta.state.coalesced] == [64, 64]
    spared = sum(run.spared for run in beta.state.coalesced)
    assert sum(map(len, written)) + spared == sum(map(len, packets))
    beta.inbound.begin()
    assert beta.state.coalesced == []


def test_batches_that_were_split_are_joined_too() -> None:
    alpha, beta = couple()
    packets = flow(alpha, beta, 64)
    (frame,) = alpha.gather(packets)
    written = beta.receive_split(datagrams_of(frame), ALPHA_AT)
    assert written is not None
    assert len(written) == 1
    assert cut(written) == cut(packets)


@pytest.mark.parametrize(
    "far", [BARE, replace(BARE, vnet_header=True, udp_segmentation=False)], ids=["vnet", "uso"]
)
def test_a_tun_that_lacks_the_offload_gets_the_packets_one_by_one(far: NodeConfig) -> None:
    alpha, beta = couple(far=far)
    (frame,) = alpha.gather(flow(alpha, beta, 64))
    assert len(beta.receive(datagrams_of(frame), ALPHA_AT)) == 64
    assert beta.state.coalesced == []


@pytest.mark.parametrize("which", [0, 1, 2, 11, 19])
@pytest.mark.parametrize("at", [12, 16])
def test_a_packet_that_may_not_pass_is_in_no_run(which: int, at: int) -> None:
    alpha, beta = couple()
    packets = flow(alpha, beta, 20)
    good = packets[:which] + packets[which + 1 :]
    packets[which] = changed(packets[which], at, b"\x08\x08\x08\x08")
    written = opened(alpha, beta, entries(packets))
    assert cut(written) == cut(good)
    assert beta.dropped == {"source" if at == 12 else "destination": 1}


def test_a_control_entry_between_two_packets_parts_them() -> None:
    alpha, beta = couple()
    packets = flow(alpha, beta, 20)
    plain = entries(packets[:1]) + entry(CONTROL, b"hello") + entries(packets[1:])
    written = opened(alpha, beta, plain)
    assert [len(packet) for packet in written] == [102, 102 + 18 * 64]
    assert cut(written) == cut(packets)


def test_the_rest_of_a_frame_is_no_packet_of_a_run() -> None:
    alpha, beta = couple()
    packets = flow(alpha, beta, 20)
    written = opened(alpha, beta, entries(packets)[:-1])
    assert cut(written) == cut(packets[:-1])
    assert beta.dropped == {"malformed": 1}


def opened(alpha: Side, beta: Side, plain: bytes) -> list[bytes]:
    """What beta's TUN is given of a frame with this plaintext."""
    out = memoryview(bytearray(len(plain) + 16))
    frame = alpha.session.seal(plain, out, 1400, b"", BETA_AT)
    return beta.receive(datagrams_of(frame), ALPHA_AT)
