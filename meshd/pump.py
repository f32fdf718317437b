"""The asyncio pump: what the sockets and the TUN bring goes into the node, what comes out leaves.

One callback for each direction, one timer for everything that waits. Each turn is bounded, so
that neither direction starves the other.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence

from meshd.host.tun import Tun
from meshd.host.udp import UdpSockets
from meshd.node.errors import LocalError
from meshd.node.node import Node
from meshd.node.offload import VNET
from meshd.node.outputs import (
    CloseStream,
    ForwardBatch,
    OpenNat,
    Output,
    SendDatagram,
    SendFrame,
)
from meshd.node.wire import BASE_SEGMENT, Batch, Buffer, Endpoint, Frame, is_stream
from meshd.receiver import Receiver
from meshd.streams import StreamHost

TUN_TURN = 8
"""Frames made of the TUN's packets in one turn, each up to 64 KB."""
UDP_TURN = 8
"""Batches from a socket in one turn, each up to 64 KB."""


class Pump:
    """Moves bytes between one node, its TUN and its sockets until `stop`.

    `perform` does whatever output is no datagram and no packet; if it raises OSError, what stands
    behind that output is dropped: nothing may leave that rests on it. `fail` hears that the TUN
    is gone.
    """

    def __init__(
        self,
        node: Node,
        tun: Tun,
        udp: UdpSockets,
        perform: Callable[[Output], None],
        fail: Callable[[LocalError], None],
    ) -> None:
        self._node = node
        self._tun = tun
        self._udp = udp
        self._perform = perform
        self._fail = fail
        self._header = VNET if tun.vnet_header else 0
        self._loop = asyncio.get_running_loop()
        self._receiver = Receiver(udp, BASE_SEGMENT)
        self.streams: StreamHost | None = None
        """What carries datagrams whose endpoint is a stream."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self.bytes_received = 0
        self.packets_received = 0
        """IP packets that the TUN took, and their bytes."""

    def start(self) -> None:
        """Listen to the TUN and the sockets."""
        self._loop.add_reader(self._tun.fd, self._on_tun)
        for sock in self._udp.sockets:
            self._loop.add_reader(sock.fileno(), self._on_udp, sock)
        self.settle()

    def stop(self) -> None:
        """Listen no more; what the node still has to say may be sent with `settle` before."""
        self._loop.remove_reader(self._tun.fd)
        for sock in self._udp.sockets:
            self._loop.remove_reader(sock.fileno())
        if self._timer is not None:
            self._timer.cancel()

    def _on_tun(self) -> None:
        node, outbound, read = self._node, self._node.outbound, self._tun.read_into
        now = self._loop.time()
        turn = 0
        while turn < TUN_TURN or outbound.dividing:
            turn += 1
            try:
                frame = outbound.gather(read, now)
            except OSError as error:
                self._loop.remove_reader(self._tun.fd)
                self._fail(self._tun.gone(error))
                return
            if frame is not None:
                self._send_frame(frame)
            if outbound.drained:
                break
        if outbound.waiting is not None:
            node.connect_waiting(now)
            self.settle()
        elif node.pending:  # copies by a second path
            self._drain()

    def _on_udp(self, sock: socket.socket) -> None:
        node, now = self._node, self._loop.time()
        written, turn = False, 0
        self._receiver.begin()
        while turn < UDP_TURN or self._receiver.pending:
            turn += 1
            packets = self._receive(sock, now)
            if packets is None:
                break
            if packets:
                written = self._write(packets) or written
            if node.pending:
                self._drain()
        if node.stirred:
            node.stirred = False
            self._arm()
        if written:
            # TCP has answered within the write already: spare the loop a turn.
            self._on_tun()

    def take(self, data: memoryview, segment: int, source: Endpoint) -> None:
        """Datagrams of `segment` bytes each, the last maybe shorter, came by a stream."""
        node = self._node
        packets = node.receive(data, segment, source, self._loop.time())
        written = bool(packets) and self._write(packets)
        if node.pending:
            self._drain()
        if node.stirred:
            node.stirred = False
            self._arm()
        if written:
            self._on_tun()

    def stream_closed(self, endpoint: Endpoint, reason: str) -> None:
        """A stream has ended, or could not be dialled."""
        self._node.streams.closed(endpoint, reason, self._loop.time())
        self.settle()

    def _write(self, packets: list[Buffer]) -> bool:
        """Write to the TUN, and count; whether it took any."""
        write = self._tun.write
        refused = [packet for packet in packets if not write(packet)]
        self._count(packets, refused)
        return len(packets) > len(refused)

    def _count(self, packets: list[Buffer], refused: list[Buffer]) -> None:
        """Count the packets of one receive, of which the TUN refused some."""
        taken, lost = len(packets) - len(refused), len(refused)
        size = sum(map(len, packets)) - sum(map(len, refused))
        for run in self._node.state.coalesced:
            if any(run.packet is packet for packet in refused):
                lost += run.packets - 1
            else:
                taken += run.packets - 1
                size += run.spared
        if lost:
            self._node.state.drops["tun"] += lost
        self.packets_received += taken
        self.bytes_received += size - taken * self._header

    def _receive(self, sock: socket.socket, now: float) -> list[Buffer] | None:
        """The packets of one batch of datagrams; None: nothing waits."""
        node, receiver = self._node, self._receiver
        received = receiver.receive(sock)
        if received is None:
            return None
        data, size, segment, source = received
        if not size:
            return []
        if not data:
            scatter = receiver.scatter
            packets = node.receive_split(
                scatter.headers, scatter.body, scatter.segment, size, source, now
            )
            if packets is not None:
                return packets
            data = scatter.linear(size)
            receiver.join()
        return node.receive(data, segment, source, now)

    def _on_timer(self) -> None:
        self._timer_at = float("inf")
        self._node.handle_timer(self._loop.time())
        self.settle()

    def settle(self) -> None:
        """After any other input to the node: do what it asks, set the timer anew."""
        if self._node.pending:
            self._drain()
        self._arm()

    def _arm(self) -> None:
        wakeup = self._node.next_wakeup()
        if wakeup is None or wakeup.at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = wakeup.at
        self._timer = self._loop.call_at(wakeup.at, self._on_timer)

    def _drain(self) -> None:
        for output in self._node.drain():
            match output:
                case SendFrame(frame):
                    self._send_frame(frame, packets=False)
                case SendDatagram(payload, endpoint):
                    code = self._send([payload], len(payload), 1, endpoint, 1)
                    if code:
                        self._send_failed(endpoint, code, packets=False)
                case OpenNat(endpoint, hops):
                    self._udp.send_near(endpoint, hops)
                case CloseStream(endpoint):
                    if self.streams is not None:
                        self.streams.close(endpoint)
                case ForwardBatch(batch):
                    self._forward(batch)
                case _:
                    try:
                        self._perform(output)
                    except OSError:
                        return

    def _send_frame(self, frame: Frame, *, packets: bool = True) -> None:
        endpoint = frame.endpoint
        if is_stream(endpoint):
            code = self._send(frame.parts, frame.segment_size, frame.count, endpoint)
        else:
            code = self._udp.send(frame.parts, frame.segment_size, frame.count, endpoint)
        if code:
            self._send_failed(endpoint, code, packets=packets)

    def _forward(self, batch: Batch) -> None:
        data, step = batch.data, batch.segment_size
        if not is_stream(batch.endpoint):
            code = self._udp.send_joined(data, step, batch.endpoint)
        else:
            parts = [data[at : at + step] for at in range(0, len(data), step)]
            code = self._send(parts, step, len(parts), batch.endpoint, 1)
        if code:
            self._send_failed(batch.endpoint, code, packets=True)

    def _send(
        self, parts: Sequence[Buffer], size: int, count: int, endpoint: Endpoint, each: int = 2
    ) -> int:
        """As `UdpSockets.send`, to wherever `endpoint` is."""
        if not is_stream(endpoint):
            return self._udp.send(parts, size, count, endpoint, each)
        if self.streams is None:
            return errno.EAFNOSUPPORT
        return self.streams.send(parts, size, count, endpoint, each)

    def _send_failed(self, endpoint: Endpoint, code: int, *, packets: bool) -> None:
        if code == errno.EAGAIN and not is_stream(endpoint):
            # Our own socket's buffer is full, as happens under load: no fault of the way's.
            self._node.state.drops["send"] += packets
            return
        self._node.send_failed(
            endpoint,
            os.strerror(code),
            packets=packets,
            too_large=code == errno.EMSGSIZE,
            now=self._loop.time(),
        )
