"""A TUN and UDP sockets that are made of Python, and nodes pumped between them."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

from gossip.records import decode as decode_record
from meshd.host.tun import Tun
from meshd.host.udp import UdpSockets
from meshd.node.errors import LocalError
from meshd.node.identity import Identity, join
from meshd.node.node import Node
from meshd.node.outputs import Output
from meshd.node.wire import Buffer, Endpoint
from meshd.pump import Pump
from tests.node.meshes import NOW, admit, make_key, make_mesh, make_reply
from tests.node.virtual import CONFIG, packet

Received = tuple[bytes, int, Endpoint]


class FakeTun(Tun):
    """A TUN device whose kernel is the test: `give` packets to the node, see them in `written`;
    `changed` is called after each."""

    __slots__ = ("_changed", "_other", "_waiting", "broken", "closed", "refusing", "written")

    def __init__(self, changed: Callable[[], None], name: str = "test0") -> None:
        mine, self._other = socket.socketpair()
        mine.setblocking(False)
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

    @property
    def read_into(self) -> Callable[[memoryview], int | None]:
        return self._read

    def _read(self, view: memoryview) -> int | None:
        if self.broken:
            raise OSError(errno.EBADFD, "File descriptor in bad state")
        if not self._waiting:
            with suppress(BlockingIOError):
                os.read(self.fd, 65_536)
            return None
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

    __slots__ = ("_other", "_waiting", "carry", "error", "opened")

    def __init__(self, carry: Callable[[bytes, int, Endpoint], None]) -> None:
        mine, self._other = socket.socketpair()
        mine.setblocking(False)
        self.sockets = [mine]
        self.missing = []
        self.port = 443
        self.carry = carry
        self.error = 0
        self.opened: list[tuple[Endpoint, int]] = []
        self._waiting: deque[Received] = deque()

    def arrive(self, data: bytes, source: Endpoint, segment: int = 0) -> None:
        """Let a datagram arrive, or several of `segment` bytes joined by GRO."""
        self._waiting.append((data, segment or len(data), source))
        self._other.send(b"x")

    def receive_into(
        self, sock: socket.socket, view: memoryview
    ) -> tuple[int, int, Endpoint] | None:
        if not self._waiting:
            with suppress(BlockingIOError):
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

    def send_joined(self, data: memoryview, segment_size: int, endpoint: Endpoint) -> int:
        parts = [data[at : at + segment_size] for at in range(0, len(data), segment_size)]
        return self.send(parts, segment_size, len(parts), endpoint, 1)

    def send_near(self, endpoint: Endpoint, hops: int) -> None:
        self.opened.append((endpoint, hops))

    def close(self) -> None:
        self._other.close()
        super().close()


ALPHA_AT: Endpoint = ("192.0.2.1", 443)
BETA_AT: Endpoint = ("192.0.2.2", 443)
PATIENCE = 5.0


class Side:
    """A node, its devices and its pump."""

    def __init__(self, identity: Identity, at: Endpoint, records: tuple[bytes, ...] = ()) -> None:
        now = asyncio.get_running_loop().time()
        self.identity, self.at = identity, at
        rng = Random(at[0])
        self.node = Node(
            identity,
            CONFIG,
            rng,
            rng.randbytes,
            now,
            NOW,
            1,
            0,
            [decode_record(r) for r in records],
        )
        self.node.places.set_local([at], now)
        self.sent: list[tuple[bytes, int, Endpoint]] = []
        self.performed: list[Output] = []
        self.failures: list[LocalError] = []
        self.full = False
        self.changed = asyncio.Event()
        self.other: Side | None = None
        self.tun = FakeTun(self.changed.set)
        self.udp = FakeUdp(self.carry)
        self.pump = Pump(self.node, self.tun, self.udp, self.perform, self.fail)

    def carry(self, data: bytes, segment: int, endpoint: Endpoint) -> None:
        self.sent.append((data, segment, endpoint))
        if self.other is not None and endpoint == self.other.at:
            self.other.udp.arrive(data, self.at, segment)
        self.changed.set()

    def perform(self, output: Output) -> None:
        if self.full:
            raise OSError("no space left on device")
        self.performed.append(output)
        self.changed.set()

    def fail(self, error: LocalError) -> None:
        self.failures.append(error)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition`, tested whenever something was sent, written or performed."""

        async def wait() -> None:
            while not condition():
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), PATIENCE)

    def close(self) -> None:
        self.pump.stop()
        self.tun.close()
        self.udp.close()


def founder() -> Side:
    """The first node of a mesh."""
    return Side(make_mesh(), ALPHA_AT)


def neighbour(alpha: Side) -> Side:
    """A second node on the same wire, which knows alpha."""
    first = alpha.identity
    reply = make_reply(first, admit(first, 2, "beta"))
    identity = join(make_key(2), first.mesh.mesh_id, reply, NOW)
    side = Side(identity, BETA_AT, tuple(record.encode() for record in alpha.node.records()))
    alpha.other, side.other = side, alpha
    return side


async def connected(alpha: Side, beta: Side) -> None:
    """Start both pumps; returns once each can send to the other."""
    alpha.pump.start()
    beta.pump.start()

    def ready() -> bool:
        now = asyncio.get_running_loop().time()
        peers = [*alpha.node.state.peers.values(), *beta.node.state.peers.values()]
        return len(peers) == 2 and all(peer.ready(now) for peer in peers)

    await beta.until(ready)


def ipv4(source: Side, destination: Side, text: bytes) -> bytes:
    ends = source.identity.certificate.address4, destination.identity.certificate.address4
    return packet(*ends, text)
