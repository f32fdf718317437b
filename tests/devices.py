"""A TUN and UDP sockets that are made of Python: what the tests of pump and daemon stand on."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from meshd.host.tun import Tun
from meshd.host.udp import UdpSockets
from meshd.node.errors import HostError
from meshd.node.wire import Buffer, Endpoint

Received = tuple[bytes, int, Endpoint]


class FakeTun(Tun):
    """A TUN device whose kernel is the test: `give` packets to the node, see them in `written`;
    `changed` is called after each."""

    __slots__ = ("_changed", "_other", "_waiting", "broken", "closed", "refusing", "written")

    def __init__(self, changed: Callable[[], None], name: str = "test0") -> None:
        mine, self._other = socket.socketpair()
        super().__init__(mine.detach(), name, False, ())
        self._changed = changed
        self._waiting: deque[bytes] = deque()
        self.written: list[bytes] = []
        self.refusing = False
        self.broken = False
        self.closed = False

    def give(self, *packets: bytes) -> None:
        """Let applications send these packets."""
        self._waiting.extend(packets)
        self._wake()

    def vanish(self) -> None:
        """Let somebody remove the interface."""
        self.broken = True
        self._wake()

    def _wake(self) -> None:
        self._other.send(b"x")

    def read_into(self, view: memoryview) -> int:
        if self.broken:
            raise HostError(f"the interface {self.name} is gone")
        if not self._waiting:
            os.read(self.fd, 65_536)
            return 0
        packet = self._waiting.popleft()
        view[: len(packet)] = packet
        return len(packet)

    def write(self, packet: Buffer) -> bool:
        if not self.refusing:
            self.written.append(bytes(packet))
        self._changed()
        return not self.refusing

    def close(self) -> None:
        self.closed = True
        self._other.close()
        super().close()


class FakeUdp(UdpSockets):
    """Sockets without a network: `arrive` puts datagrams in, `carry` gets what is sent."""

    __slots__ = ("_other", "_waiting", "carry", "error")

    def __init__(self, carry: Callable[[bytes, int, Endpoint], None]) -> None:
        mine, self._other = socket.socketpair()
        mine.setblocking(False)
        self.sockets = [mine]
        self.missing = []
        self.port = 443
        self.carry = carry
        self.error = 0
        self._waiting: deque[Received] = deque()

    def arrive(self, data: bytes, source: Endpoint, segment: int = 0) -> None:
        """Let a datagram arrive, or several of `segment` bytes joined by GRO."""
        self._waiting.append((data, segment or len(data), source))
        self._other.send(b"x")

    def receive_into(
        self, sock: socket.socket, view: memoryview
    ) -> tuple[int, int, Endpoint] | None:
        if not self._waiting:
            sock.recv(65_536)
            return None
        data, segment, source = self._waiting.popleft()
        view[: len(data)] = data
        return len(data), segment, source

    def send(
        self,
        parts: Sequence[Buffer],
        segment_size: int,
        count: int,
        endpoint: Endpoint,
        parts_per_segment: int = 2,
    ) -> int:
        assert len(parts) == count * parts_per_segment
        if not self.error:
            self.carry(b"".join(bytes(part) for part in parts), segment_size, endpoint)
        return self.error

    def close(self) -> None:
        self._other.close()
        super().close()
