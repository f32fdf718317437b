"""The pump, between nodes on one side and devices made of Python on the other."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from meshd.node import outputs
from meshd.node.coalescing import Coalesced
from meshd.node.outputs import Output
from meshd.node.relay import Channel
from meshd.node.wire import RELAYED, Buffer, Endpoint, Frame
from meshd.pump import UDP_TURN
from tests.devices import BETA_AT, Side, connected, founder, ipv4, neighbour


async def turns(count: int = 20) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def alpha() -> AsyncIterator[Side]:
    side = founder()
    yield side
    side.close()


@pytest.fixture
async def beta(alpha: Side) -> AsyncIterator[Side]:
    side = neighbour(alpha)
    yield side
    side.close()


# Two nodes


async def test_two_nodes_connect_and_packets_cross(alpha: Side, beta: Side) -> None:
    await connected(alpha, beta)
    there, back = ipv4(alpha, beta, b"there"), ipv4(beta, alpha, b"back" * 5000)
    alpha.tun.give(there)
    await beta.until(lambda: beta.tun.written == [there])
    beta.tun.give(back)
    await alpha.until(lambda: alpha.tun.written == [back])
    assert (alpha.pump.packets_received, alpha.pump.bytes_received) == (1, len(back))
    assert (alpha.node.outbound.packets_taken, alpha.node.outbound.bytes_taken) == (1, len(there))


async def test_a_packet_begins_a_session_and_arrives(alpha: Side, beta: Side) -> None:
    first = ipv4(beta, alpha, b"first")
    alpha.pump.start()
    beta.tun.give(first)
    beta.pump.start()
    await alpha.until(lambda: alpha.tun.written == [first])


async def test_packets_that_wait_together_leave_in_one_send(
    alpha: Side, beta: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connected(alpha, beta)
    packets = [ipv4(alpha, beta, b"%d" % number) for number in range(20)]
    send, sent = alpha.pump._send_frame, []

    def watched(frame: Frame, *, packets: bool = True) -> None:
        """Frames of packets: what the node has to say meanwhile leaves in others."""
        sent.append(packets)
        send(frame, packets=packets)

    monkeypatch.setattr(alpha.pump, "_send_frame", watched)
    alpha.tun.give(*packets)
    await beta.until(lambda: beta.tun.written == packets)
    assert sent.count(True) == 1


async def test_what_the_kernel_refuses_is_counted(alpha: Side, beta: Side) -> None:
    await connected(alpha, beta)
    beta.tun.refusing = True
    alpha.tun.give(ipv4(alpha, beta, b"lost"))
    await beta.until(lambda: beta.node.state.drops["tun"] == 1)
    assert beta.tun.written == []


async def test_packets_written_as_one_are_counted_each(alpha: Side) -> None:
    first, second, alone = Coalesced(b"a" * 90, 4, 60), Coalesced(b"b" * 50, 3, 40), b"c" * 20
    packets: list[Buffer] = [first.packet, alone, second.packet]
    alpha.node.state.coalesced += [first, second]
    alpha.pump._count(packets, [])
    assert (alpha.pump.packets_received, alpha.pump.bytes_received) == (8, 260)
    alpha.pump._count(packets, [second.packet])
    assert (alpha.pump.packets_received, alpha.pump.bytes_received) == (13, 430)
    assert alpha.node.state.drops["tun"] == 3


async def test_a_send_that_fails_is_told_to_the_node(alpha: Side, beta: Side) -> None:
    await connected(alpha, beta)
    (peer,) = alpha.node.state.peers.values()
    path = peer.path
    assert path is not None
    alpha.udp.error = errno.EMSGSIZE
    path.segment = 1432
    alpha.tun.give(ipv4(alpha, beta, b"large"))
    await turns()
    assert alpha.node.state.drops["too-large"] == 1
    assert path.segment == 1232
    alpha.udp.error = errno.ENETUNREACH
    alpha.tun.give(ipv4(alpha, beta, b"lost"))
    await turns()
    assert path.last_error == "Network is unreachable"


async def test_a_full_buffer_of_ours_is_counted_and_no_fault_of_the_ways(
    alpha: Side, beta: Side
) -> None:
    await connected(alpha, beta)
    (peer,) = alpha.node.state.peers.values()
    path = peer.path
    assert path is not None
    alpha.udp.error = errno.EAGAIN
    alpha.tun.give(ipv4(alpha, beta, b"too much"))
    await turns()
    assert alpha.node.state.drops["send"] == 1
    assert path.last_error == ""


async def test_relayed_datagrams_leave_as_they_came(alpha: Side, beta: Side) -> None:
    await connected(alpha, beta)
    relay = alpha.node.relay
    (peer,) = alpha.node.state.peers.values()
    peer_id = peer.id
    relay._channels[7] = Channel((peer_id, peer_id), asyncio.get_running_loop().time())
    head = bytes((RELAYED, 0, 0, 0)) + (7).to_bytes(4, "big")
    batch = b"".join(head + bytes((number,)) * 92 for number in range(5))[:-10]
    before = len(alpha.sent)
    alpha.other = None
    alpha.udp.arrive(batch, BETA_AT, 100)
    await alpha.until(lambda: len(alpha.sent) > before)
    assert (batch, 100, BETA_AT) in alpha.sent[before:]


# What must be on disk


def outputs_of(side: Side, *queued: Output) -> None:
    side.node.drain()
    side.node.state.outputs += queued


async def test_outputs_are_carried_out_in_order(alpha: Side) -> None:
    order: list[object] = []
    alpha.udp.carry = lambda data, *_: order.append(data)
    alpha.pump._perform = order.append
    first, second = outputs.PersistCounter(1), outputs.PersistSequence(2)
    outputs_of(
        alpha,
        outputs.SendDatagram(b"a", BETA_AT),
        first,
        outputs.SendDatagram(b"b", BETA_AT),
        second,
        outputs.SendDatagram(b"c", BETA_AT),
    )
    alpha.pump.settle()
    assert order == [b"a", first, b"b", second, b"c"]


async def test_a_nat_is_opened_by_a_datagram_that_dies_near(alpha: Side) -> None:
    outputs_of(alpha, outputs.OpenNat(BETA_AT, 2))
    alpha.pump.settle()
    assert alpha.udp.opened == [(BETA_AT, 2)]
    assert not alpha.sent


async def test_a_write_that_fails_stops_what_rests_on_it(alpha: Side) -> None:
    alpha.full = True
    outputs_of(
        alpha,
        outputs.SendDatagram(b"before", BETA_AT),
        outputs.PersistCounter(1),
        outputs.SendDatagram(b"after", BETA_AT),
    )
    alpha.pump.settle()
    assert [data for data, _, _ in alpha.sent] == [b"before"]
    alpha.full = False
    outputs_of(alpha, outputs.PersistCounter(2), outputs.SendDatagram(b"later", BETA_AT))
    alpha.pump.settle()
    assert [data for data, _, _ in alpha.sent] == [b"before", b"later"]


# The loop


async def test_the_timer_runs_the_node_when_it_asks(alpha: Side) -> None:
    calls: list[float] = []
    handle = alpha.node.handle_timer

    def watch(now: float) -> None:
        wakeup = alpha.node.next_wakeup()
        assert wakeup is not None
        assert wakeup.at <= now + 0.01
        calls.append(now)
        alpha.changed.set()
        handle(now)

    alpha.node.handle_timer = watch  # type: ignore[method-assign]
    alpha.pump.start()
    await alpha.until(lambda: len(calls) >= 2)


async def test_a_stopped_pump_hears_nothing_more(alpha: Side, beta: Side) -> None:
    await connected(alpha, beta)
    await turns()
    alpha.pump.stop()
    sent, dropped = len(alpha.sent), alpha.node.state.drops.total()
    alpha.tun.give(ipv4(alpha, beta, b"x"))
    alpha.udp.arrive(b"\1" * 1200, BETA_AT)
    await turns()
    assert (len(alpha.sent), alpha.node.state.drops.total()) == (sent, dropped)


async def test_a_tun_that_is_gone_is_told_once(alpha: Side) -> None:
    alpha.pump.start()
    alpha.tun.vanish()
    await alpha.until(lambda: bool(alpha.failures))
    await turns()
    (said,) = map(str, alpha.failures)
    assert said.startswith("the interface test0 is gone (File descriptor in bad state)")


async def test_one_turn_is_bounded(alpha: Side) -> None:
    alpha.pump.start()
    await turns()
    for number in range(3 * UDP_TURN):  # no two of one size: each is a batch of its own
        alpha.udp.arrive(b"\x09" * (number + 1), BETA_AT)
    alpha.pump._on_udp(alpha.udp.sockets[0])
    # and the one that was read to know that it is no part of the last
    assert UDP_TURN <= alpha.node.state.drops["unknown-kind"] <= UDP_TURN + 1
    await turns()
    assert alpha.node.state.drops["unknown-kind"] == 3 * UDP_TURN


async def test_empty_datagrams_are_nothing(alpha: Side) -> None:
    alpha.pump.start()
    before = alpha.node.state.drops.copy()
    alpha.udp.arrive(b"", BETA_AT)
    alpha.udp.arrive(b"\x09", BETA_AT)
    await turns()
    assert alpha.node.state.drops - before == {"unknown-kind": 1}


# Streams


class Carrier:
    """What stands for a `StreamHost`."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int, Endpoint]] = []
        self.closed: list[Endpoint] = []

    def send(
        self, parts: Sequence[Buffer], size: int, count: int, endpoint: Endpoint, each: int = 2
    ) -> int:
        self.sent.append((size, count, endpoint))
        return errno.EAGAIN if endpoint[1] == 9 else 0

    def close(self, endpoint: Endpoint) -> None:
        self.closed.append(endpoint)


async def test_what_goes_to_a_stream_goes_nowhere_else(alpha: Side) -> None:
    carrier: Any = Carrier()
    alpha.pump.streams = carrier
    stream, udp = ("tls:192.0.2.9", 443), ("192.0.2.9", 443)
    for endpoint in (stream, udp):
        alpha.node.state.outputs.append(outputs.SendDatagram(bytes(40), endpoint))
    alpha.node.state.outputs.append(outputs.CloseStream(stream))
    alpha.pump.settle()
    assert carrier.sent == [(40, 1, stream)]
    assert [endpoint for _, _, endpoint in alpha.sent] == [udp]
    assert carrier.closed == [stream]


async def test_a_stream_that_takes_nothing_is_told_to_the_node(alpha: Side, beta: Side) -> None:
    await connected(alpha, beta)
    (peer,) = alpha.node.state.peers.values()
    stream = ("tls:192.0.2.9", 9)
    path = peer.paths.learn(stream, asyncio.get_running_loop().time())
    alpha.pump._send_failed(stream, alpha.pump._send([b"x"], 1, 1, stream, 1), packets=False)
    assert path.last_error == os.strerror(errno.EAFNOSUPPORT)
    carrier: Any = Carrier()
    alpha.pump.streams = carrier
    alpha.pump._send_failed(stream, alpha.pump._send([b"x"], 1, 1, stream, 1), packets=False)
    assert path.last_error == os.strerror(errno.EAGAIN)


async def test_a_stream_that_ended_takes_its_path_with_it(alpha: Side, beta: Side) -> None:
    await connected(alpha, beta)
    (peer,) = alpha.node.state.peers.values()
    stream = ("tls:192.0.2.9", 443)
    peer.paths.learn(stream, asyncio.get_running_loop().time())
    alpha.pump.stream_closed(stream, "closed")
    assert peer.paths.direct(stream) is None


async def test_packets_that_came_by_a_stream_are_written_and_counted(
    alpha: Side, beta: Side
) -> None:
    await connected(alpha, beta)
    before = len(beta.sent)
    beta.other = None
    beta.tun.give(ipv4(beta, alpha, b"by TCP"))
    await beta.until(lambda: any(len(data) > 60 for data, _, _ in beta.sent[before:]))
    for data, segment, _ in beta.sent[before:]:
        alpha.pump.take(memoryview(data), segment, ("tls:192.0.2.2", 40_000))
    assert alpha.tun.written == [ipv4(beta, alpha, b"by TCP")]
    assert alpha.pump.packets_received == 1
