"""A long way between two hosts: a router that delays, loses, reorders, and has a rate and a queue.

The router hands every packet that goes from one host to the other to a TUN device of that
direction, and this module, run there as a process of its own, puts it back when it is due::

    left 10.9.1.1 -- 10.9.1.254 (wan0) router (wan1) 10.9.2.254 -- 10.9.2.1 right

It passes on some 60,000 full-size packets per second. The offloads of the hosts' devices are off,
so that a packet is a packet: what is lost or late is one of those that a real line would carry.
"""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fcntl import ioctl
from functools import partial
from random import Random

from simulations.lab.namespaces import Lab, Namespace, join, run
from simulations.lab.waiting import LabError, wait_until

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x0001 | 0x1000
READS_MAX = 64
"""Packets taken from one device before the other direction has its turn."""
PACKET_MAX = 2048
ORDERS_MAX = 65_536
LIMIT = 4000
"""Packets under way in one direction; the line loses what exceeds them."""
FULL_SIZE = 1500
ADDRESSES = ("10.9.1.1", "10.9.2.1")
DEVICES = ("wan0", "wan1")
OFFLOADS = ("tx-udp-segmentation", "tso", "gso")


@dataclass(frozen=True, slots=True)
class Line:
    """What each direction does to packets; a rate of 0 is no limit."""

    delay_ms: float = 10.0
    loss_percent: float = 0.0
    burst: float = 1.0
    """The mean number of packets lost in a row; at 1 each is lost independently of the others."""
    reorder_percent: float = 0.0
    reorder_ms: float = 1.0
    """How much later than the others the reordered ones come."""
    rate_mbit: float = 0.0
    queue: int = 200
    """Full-size packets that wait for the rate; what comes on top is lost (drop-tail)."""


class Gaps:
    """How many packets there are up to and including the next lost one (Gilbert 1960).

    The line is in a good or a bad state; every packet of the bad state is lost, none of the good.
    A bad state lasts for ``burst`` packets in the mean, and ``loss`` is the share of bad packets.
    """

    def __init__(self, loss: float, burst: float, rng: Random) -> None:
        self._rng = rng
        self._burst = max(burst, 1 / (1 - loss)) if loss < 1 else math.inf
        self._enter = loss / (self._burst * (1 - loss)) if loss < 1 else 1.0

    def first(self) -> float:
        """From the start of a good state on; infinite on a line that loses nothing."""
        if self._enter <= 0:
            return math.inf
        if self._enter >= 1:
            return 1
        return 1 + int(math.log(1 - self._rng.random()) / math.log(1 - self._enter))

    def next(self) -> float:
        """From a lost packet on."""
        stays = self._rng.random() >= 1 / self._burst
        return 1 if stays else 1 + self.first()


class Direction:
    """The packets under way in one direction. Times are seconds of one monotonic clock."""

    def __init__(self, line: Line, rng: Random) -> None:
        self._rng = rng
        self._on_time: deque[tuple[float, bytes]] = deque()
        self._late: deque[tuple[float, bytes]] = deque()
        self._free_at = 0.0
        self.lost = self.overflowed = 0
        self.change(line)

    def change(self, line: Line) -> None:
        """Go on with other properties; what is under way arrives as it would have."""
        self._delay = line.delay_ms / 1e3
        self._later = self._delay + line.reorder_ms / 1e3
        self._reorder = line.reorder_percent / 100
        self._gaps = Gaps(line.loss_percent / 100, line.burst, self._rng)
        self._until_loss = self._gaps.first()
        self._byte_s = 8 / (line.rate_mbit * 1e6) if line.rate_mbit else 0.0
        self._patience = (line.queue + 0.5) * FULL_SIZE * self._byte_s

    def enter(self, packet: bytes, now: float) -> None:
        """A packet comes to the line: it will arrive, or not."""
        self._until_loss -= 1
        if self._until_loss <= 0:
            self._until_loss = self._gaps.next()
            self.lost += 1
            return
        if len(self._on_time) >= LIMIT:
            self.overflowed += 1
            return
        if self._byte_s:
            wait = max(self._free_at - now, 0.0)
            if wait > self._patience:
                self.overflowed += 1
                return
            now += wait + len(packet) * self._byte_s
            self._free_at = now
        if self._reorder and self._rng.random() < self._reorder:
            self._late.append((now + self._later, packet))
        else:
            self._on_time.append((now + self._delay, packet))

    def leave(self, now: float, write: Callable[[bytes], object]) -> None:
        """Hand everything that is due to ``write``."""
        for under_way in (self._on_time, self._late):
            while under_way and under_way[0][0] <= now:
                write(under_way.popleft()[1])

    def next_due(self) -> float:
        """When the next packet arrives; infinite while none is under way."""
        return min((way[0][0] for way in (self._on_time, self._late) if way), default=math.inf)


class Wan:
    """Two hosts and the router between them; `change` makes the line another one at once."""

    def __init__(self, lab: Lab, label: str, line: Line, seed: int = 1) -> None:
        self.label = label
        router = lab.namespace(f"{label}-wan")
        router.route_packets()
        for key in ("all", "default"):
            router.set_kernel(f"net/ipv4/conf/{key}/rp_filter", "0")
        self.hosts = (
            _attach(lab, router, f"{label}-a", 0),
            _attach(lab, router, f"{label}-b", 1),
        )
        self.addresses = ADDRESSES
        self._player = Player(lab, router, seed)
        for index, device in enumerate(DEVICES):
            self._player.lead(f"eth{index}", device, line)

    def change(self, line: Line) -> None:
        """Every packet that comes from now on meets this line."""
        for device in DEVICES:
            self._player.change(device, line)


class Player:
    """The process in ``router`` that carries packets from and to its TUN devices."""

    def __init__(self, lab: Lab, router: Namespace, seed: int = 1) -> None:
        self._router = router
        self._tables = 100
        command = [sys.executable, "-m", __name__, str(seed)]
        log = lab.directory / f"{router.label}-lines.log"
        with log.open("wb") as output:
            self._process = lab.popen(router.command(command), stdin=subprocess.PIPE, output=output)
        if self._process.stdin is not None:
            lab.on_close(self._process.stdin.close)

    def lead(self, port: str, device: str, line: Line, *, ipv6: bool = False) -> None:
        """What comes in by ``port`` is led through a new TUN ``device`` that is ``line``."""
        self.change(device, line)
        wait_until(lambda: self._is_up(device), f"the device {device}", 10.0)
        table = str(self._tables)
        self._tables += 1
        for family in ("-4", "-6") if ipv6 else ("-4",):
            self._router.ip(family, "route", "add", "default", "dev", device, "table", table)
            self._router.ip(family, "rule", "add", "iif", port, "lookup", table)

    def change(self, device: str, line: Line) -> None:
        """Every packet that comes to ``device`` from now on meets this line."""
        stream = self._process.stdin
        if stream is None or self._process.poll() is not None:
            raise LabError("the process that plays the lines has ended")
        stream.write(json.dumps({"device": device, **asdict(line)}).encode() + b"\n")
        stream.flush()

    def _is_up(self, device: str) -> bool:
        if self._process.poll() is not None:
            raise LabError("the process that plays the lines has ended")
        return f"{device}:" in self._router.ip("-o", "link", "show", "up")


def _attach(lab: Lab, router: Namespace, label: str, index: int) -> Namespace:
    """A host with a cable to the router, whose devices carry single packets."""
    host, port = lab.namespace(label), f"eth{index}"
    join(host, "eth0", router, port)
    upstream = ADDRESSES[index].rpartition(".")[0] + ".254"
    host.ip("address", "add", f"{ADDRESSES[index]}/24", "dev", "eth0")
    router.ip("address", "add", f"{upstream}/24", "dev", port)
    host.ip("route", "add", "default", "via", upstream)
    off = [word for name in OFFLOADS for word in (name, "off")]
    host.run("ethtool", "-K", "eth0", *off, "gro", "on")
    router.run("ethtool", "-K", port, *off, "gro", "off")
    return host


def play(seed: int) -> None:
    """Carry packets from and to TUN devices until stdin ends; its lines name a device, which is
    made if it is not there, and what its line is from now on."""
    ways: dict[int, Direction] = {}
    names: dict[str, int] = {}
    writers: dict[int, Callable[[bytes], object]] = {}
    orders, begun = sys.stdin.fileno(), b""
    while True:
        due = min((way.next_due() for way in ways.values()), default=math.inf)
        wait = None if due == math.inf else max(due - time.monotonic(), 0.0)
        ready, _, _ = select.select([orders, *ways], [], [], wait)
        now = time.monotonic()
        for fd, way in ways.items():
            if fd in ready:
                _take(fd, way, now)
            way.leave(now, writers[fd])
        if orders not in ready:
            continue
        said = os.read(orders, ORDERS_MAX)
        if not said:
            return
        *complete, begun = (begun + said).split(b"\n")
        for order in complete:
            changed = json.loads(order)
            name = changed.pop("device")
            if name not in names:
                names[name] = fd = _tun(name)
                ways[fd] = Direction(Line(), Random(f"{seed} {name}"))
                writers[fd] = partial(_give, fd)
            ways[names[name]].change(Line(**changed))


def _take(fd: int, way: Direction, now: float) -> None:
    read, enter = os.read, way.enter
    try:
        for _ in range(READS_MAX):
            enter(read(fd, PACKET_MAX), now)
    except BlockingIOError:
        return


def _give(fd: int, packet: bytes) -> None:
    try:
        os.write(fd, packet)
    except OSError:
        return  # the router's kernel refuses it, as a router may


def _tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    ioctl(fd, TUNSETIFF, name.encode().ljust(16, b"\0") + IFF_TUN_NO_PI.to_bytes(24, "little"))
    size = ["mtu", str(FULL_SIZE), "txqueuelen", str(LIMIT)]
    run(["ip", "link", "set", name, *size, "up"])
    return fd


if __name__ == "__main__":
    play(int(sys.argv[1]))
