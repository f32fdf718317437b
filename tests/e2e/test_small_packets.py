"""Small packets through real TUN devices: each arrives once, in order, as it was sent, whatever
offloads the devices have. Between them stand the two halves of the packet path, and no network."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest

from gossip import GossipConfig
from meshd.host.tun import Tun
from meshd.node.state import NodeConfig
from simulations.lab import transfer
from simulations.lab.namespaces import Lab, Namespace
from tests.e2e.meshes import open_pair
from tests.node.couples import ALPHA_AT, BETA_AT, Side, couple, datagrams_of, kept

pytestmark = pytest.mark.e2e

PORT = 5002
BURST = 300
"""Datagrams that a TUN's queue of 500 surely holds."""
WITHOUT = [(), ("vnet",), ("csum",), ("tso4", "tso6"), ("uso",)]
NAMES = ["nothing", "virtio headers", "checksums", "TCP", "UDP"]


class Cable:
    """Carries packets between two TUNs both ways until it is closed."""

    def __init__(self, tuns: tuple[Tun, Tun], sides: tuple[Side, Side]) -> None:
        self.sides = sides
        self.writes = [0, 0]
        """To the left and to the right TUN."""
        self.packets = [0, 0]
        """What they stood for."""
        self.refused = 0
        self._tuns = tuns
        self._idle = threading.Lock()
        self._stop, self._stopper = os.pipe()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def close(self) -> None:
        os.write(self._stopper, b"x")
        self._thread.join(10)
        os.close(self._stop)
        os.close(self._stopper)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is sent meanwhile waits in the TUNs and goes at once afterwards: how much a reader
        finds waiting would else be up to the scheduler."""
        with self._idle:
            yield

    def counted(self) -> tuple[int, int]:
        """The right TUN's writes, and the packets they stood for."""
        with self.held():
            return self.writes[1], self.packets[1]

    def _carry(self) -> None:
        fds = [self._tuns[0].fd, self._tuns[1].fd, self._stop]
        while self._stop not in select.select(fds, [], [])[0]:
            with self._idle:
                for source in (0, 1):
                    self._drain(source)

    def _drain(self, source: int) -> None:
        outbound, read = self.sides[source].outbound, self._tuns[source].read_into
        inbound, target = self.sides[1 - source].inbound, self._tuns[1 - source]
        while True:
            frame = kept(outbound.gather(read, 1.0))
            if frame is not None:
                inbound.begin()
                batch = memoryview(b"".join(datagrams_of(frame)))
                at = (ALPHA_AT, BETA_AT)[source]
                packets = inbound.receive(batch, frame.segment_size, at, 1.0)
                self.refused += sum(not target.write(packet) for packet in packets)
                joined = self.sides[1 - source].state.coalesced
                self.writes[1 - source] += len(packets)
                self.packets[1 - source] += len(packets) + sum(run.packets - 1 for run in joined)
            if outbound.drained:
                return


class Ends:
    """Two namespaces with a TUN each."""

    def __init__(self, cable: Cable, left: Namespace, right: Namespace) -> None:
        self.cable, self.left, self.right = cable, left, right

    def exchange(
        self, version: int, sizes: list[int], flows: int, turn: int, together: bool = False
    ) -> None:
        pause = self.cable.held() if together else nullcontext()
        exchange(self.left, self.right, self.address(version), sizes, flows, turn, pause)

    def address(self, version: int) -> str:
        beta = self.cable.sides[1]
        return str(beta.address4 if version == 4 else beta.address6)


@contextmanager
def connected(lab: Lab, left: tuple[str, ...], right: tuple[str, ...]) -> Iterator[Ends]:
    names = lab.namespace("left"), lab.namespace("right")
    tuns: list[Tun] = []
    for namespace, without in zip(names, (left, right), strict=True):
        with namespace.entered():
            tuns.append(Tun.open("mesh0", without=without))
    near, far = (
        NodeConfig(
            GossipConfig.lan(),
            vnet_header=tun.vnet_header,
            segmentation="tso4" in tun.offloads,
            udp_segmentation="uso" in tun.offloads,
        )
        for tun in tuns
    )
    sides = couple(near, far)
    for namespace, side in zip(names, sides, strict=True):
        namespace.ip("address", "add", f"{side.address4}/16", "dev", "mesh0")
        namespace.ip("address", "add", f"{side.address6}/64", "dev", "mesh0", "nodad")
        namespace.ip("link", "set", "mesh0", "mtu", "1400", "up")
    cable = Cable((tuns[0], tuns[1]), sides)
    try:
        yield Ends(cable, *names)
    finally:
        cable.close()
        for tun in tuns:
            tun.close()


def exchange(
    left: Namespace,
    right: Namespace,
    address: str,
    sizes: list[int],
    flows: int,
    turn: int,
    sending: AbstractContextManager[None] | None = None,
) -> None:
    """Send a burst, `turn` datagrams of one flow after each other, and compare what comes."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with right.entered():
        receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    receiver.bind((address, PORT))
    receiver.settimeout(5)
    with left.entered():
        senders = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(flows)]
    sent: dict[int, list[bytes]] = {}
    with sending or nullcontext():
        for number in range(BURST):
            sender = senders[number // turn % flows]
            size = sizes[number % len(sizes)]
            data = (struct.pack(">I", number) + os.urandom(size))[-size:]
            sender.sendto(data, (address, PORT))
            sent.setdefault(sender.getsockname()[1], []).append(data)
    came: dict[int, list[bytes]] = {}
    for _ in range(BURST):
        data, source = receiver.recvfrom(65_536)
        came.setdefault(source[1], []).append(data)
    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.recv(1)
    for sock in (receiver, *senders):
        sock.close()
    assert came == sent


@pytest.mark.parametrize("right", WITHOUT, ids=[f"right lacks {name}" for name in NAMES])
@pytest.mark.parametrize("left", WITHOUT, ids=[f"left lacks {name}" for name in NAMES])
def test_every_packet_arrives_once_and_in_order(
    lab: Lab, left: tuple[str, ...], right: tuple[str, ...]
) -> None:
    with connected(lab, left, right) as ends:
        for version in (4, 6):
            ends.exchange(version, [64], flows=1, turn=1)
            ends.exchange(version, [64], flows=3, turn=1)
            ends.exchange(version, [64], flows=3, turn=20)
            ends.exchange(version, [1, 64, 64, 700, 64], flows=2, turn=50)
            payload = transfer.Payload(transfer.MIB)
            assert transfer.tcp(ends.left, ends.right, ends.address(version), payload).intact
        writes, packets = ends.cable.counted()
        assert ends.cable.refused == 0
        assert packets >= writes


@pytest.mark.parametrize("version", [4, 6])
def test_datagrams_of_one_flow_reach_the_kernel_together(lab: Lab, version: int) -> None:
    with connected(lab, (), ()) as ends:
        ends.exchange(version, [64], flows=1, turn=1)
        cable = ends.cable
        writes, packets = cable.counted()
        for _ in range(5):
            ends.exchange(version, [64], flows=1, turn=1, together=True)
        more_writes, more_packets = cable.counted()
        assert more_packets - packets >= 5 * BURST
        assert more_writes - writes < BURST


@pytest.mark.parametrize("version", [4, 6])
def test_a_stream_that_came_in_packets_reaches_the_kernel_in_fewer_writes(
    lab: Lab, version: int
) -> None:
    with connected(lab, ("tso4", "tso6"), ()) as ends:
        payload = transfer.Payload(8 * transfer.MIB)
        assert transfer.tcp(ends.left, ends.right, ends.address(version), payload).intact
        writes, packets = ends.cable.counted()
        assert writes < packets / 2


def test_two_daemons_count_the_packets_not_the_writes(lab: Lab) -> None:
    pair = open_pair(lab)
    left, right = pair.left, pair.right
    counters = "aegisray_packets_received_total", "aegisray_bytes_received_total"
    before = [right.metric(name) for name in counters]
    for address in pair.of(right):
        exchange(left.namespace, right.namespace, address, [64], flows=2, turn=BURST // 2)
    packets, octets = (right.metric(name) - was for name, was in zip(counters, before, strict=True))
    assert 2 * BURST <= packets <= 2 * BURST + 20
    least = BURST * (92 + 112)
    assert least <= octets <= least + 20_000
    assert right.metric("aegisray_packets_dropped_total") == 0
