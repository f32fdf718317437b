"""The kernel's notifications, in a namespace of its own, and what is made of their bytes."""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from meshd.host.watch import DEBOUNCE, DEBOUNCE_BUSY, Watch
from tests.host.namespaces import inside, namespace, needs_root, run

OWN = 40


@dataclass
class Timer:
    """One that a test lets happen."""

    at: float
    callback: Callable[[], object]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Told:
    """A watch, its clock, and what it told."""

    now: float = 100.0
    timers: list[Timer] = field(default_factory=list)
    around: list[bool] = field(default_factory=list)
    ours: int = 0

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        self.timers.append(Timer(self.now + delay, callback))
        return self.timers[-1]

    def touched(self) -> None:
        self.ours += 1

    def open(self, own: int = OWN) -> Watch:
        return Watch(own, self, self.around.append, self.touched)

    def fire(self) -> None:
        """Let the one timer happen."""
        (timer,) = self.timers
        self.timers.clear()
        self.now = timer.at
        timer.callback()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def ns() -> Iterator[str]:
    with namespace() as name:
        run("ip", "-n", name, "link", "add", "v0", "up", "type", "veth", "peer", "v1")
        run("ip", "-n", name, "link", "set", "v1", "up")
        run("ip", "-n", name, "tuntap", "add", "t0", "mode", "tun")
        yield name


def hear(watch: Watch, told: Told) -> None:
    """Read what the kernel has said; it says it before the command that causes it has ended."""
    select.select([watch.sock], [], [], 5.0)
    watch.read()
    told.fire()


@needs_root
def test_changes_are_told_once_a_moment_after_the_first(ns: str, told: Told) -> None:
    watch = inside(ns, told.open)
    run("ip", "-n", ns, "address", "add", "10.0.0.1/24", "dev", "v0")
    run("ip", "-n", ns, "link", "set", "v0", "down")
    watch.read()
    watch.read()
    assert [timer.at - told.now for timer in told.timers] == [pytest.approx(DEBOUNCE)]
    assert told.around == []
    told.fire()
    assert told.around == [False]
    watch.read()
    assert told.timers == []
    watch.close()


@needs_root
def test_a_busy_host_is_looked_at_less_often(ns: str, told: Told) -> None:
    watch = inside(ns, told.open)
    run("ip", "-n", ns, "address", "add", "10.0.0.1/24", "dev", "v0")
    hear(watch, told)
    run("ip", "-n", ns, "address", "add", "10.0.0.2/24", "dev", "v0")
    watch.read()
    assert [timer.at - told.now for timer in told.timers] == [pytest.approx(DEBOUNCE_BUSY)]
    told.fire()
    told.now += 10
    run("ip", "-n", ns, "address", "add", "10.0.0.3/24", "dev", "v0")
    watch.read()
    assert [timer.at - told.now for timer in told.timers] == [pytest.approx(DEBOUNCE)]
    watch.close()


@needs_root
def test_default_routes_count_and_others_do_not(ns: str, told: Told) -> None:
    run("ip", "-n", ns, "address", "add", "10.0.0.1/24", "dev", "v0")
    watch = inside(ns, told.open)
    run("ip", "-n", ns, "route", "add", "10.9.0.0/16", "via", "10.0.0.2")
    watch.read()
    assert told.timers == []
    for prefix in ("default", "128.0.0.0/1"):
        run("ip", "-n", ns, "route", "add", prefix, "via", "10.0.0.2")
        hear(watch, told)
    assert told.around == [True, True]
    watch.close()


@needs_root
def test_our_own_interface_is_told_apart(ns: str, told: Told) -> None:
    own = inside(ns, lambda: socket.if_nametoindex("t0"))
    run("ip", "-n", ns, "link", "set", "t0", "up")
    watch = inside(ns, lambda: told.open(own))
    for change in (
        ("address", "add", "100.64.0.1/16", "dev", "t0"),
        ("route", "add", "default", "dev", "t0"),
        ("route", "del", "default", "dev", "t0"),
        ("link", "set", "t0", "down"),
    ):
        run("ip", "-n", ns, *change)
        hear(watch, told)
    assert told.ours == 4
    assert told.around == []
    watch.close()


@needs_root
def test_lost_notifications_count_as_everything(ns: str, told: Told) -> None:
    def small() -> Watch:
        watch = told.open()
        watch.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        return watch

    watch = inside(ns, small)
    for number in range(1, 30):
        run("ip", "-n", ns, "address", "add", f"10.0.0.{number}/24", "dev", "v0")
    hear(watch, told)
    assert watch.overruns >= 1
    assert told.around == [True]
    assert told.ours == 1
    watch.close()


@needs_root
def test_a_closed_watch_tells_nothing_any_more(ns: str, told: Told) -> None:
    watch = inside(ns, told.open)
    run("ip", "-n", ns, "address", "add", "10.0.0.1/24", "dev", "v0")
    watch.read()
    watch.close()
    assert [timer.cancelled for timer in told.timers] == [True]


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


class Said:
    """A socket that brings what a test says; at the end, nothing waits."""

    def __init__(self, *said: bytes, sender: int = 0) -> None:
        self.said = list(said)
        self.sender = sender

    def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
        if not self.said:
            raise OSError(errno.EAGAIN, "nothing")
        return self.said.pop(0), (self.sender, 0)

    def close(self) -> None:
        self.said.clear()


LINK = message(16, struct.pack("=BxHiII", 0, 1, 7, 0x1043, 0xFFFFFFFF))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        LINK[:15],
        struct.pack("=IHHII", 0, 16, 0, 0, 0) + LINK[16:],
        struct.pack("=IHHII", 1 << 31, 16, 0, 0, 0) + LINK[16:],
        message(16, b""),
        message(24, b"\2\0"),
        message(99, bytes(16)),
        message(24, struct.pack("=BB6xI", socket.AF_INET6, 0, 0x200)),  # cached
        message(24, struct.pack("=BB6xI", 129, 0, 0)),  # a multicast route
    ],
)
def test_what_is_malformed_or_no_matter_is_nothing(said: bytes, told: Told) -> None:
    watch = told.open()
    watch.sock.close()
    watch.sock = Said(said)  # type: ignore[assignment]
    watch.read()
    assert told.timers == []


def test_only_the_kernel_is_believed(told: Told) -> None:
    watch = told.open()
    watch.sock.close()
    watch.sock = Said(LINK, sender=4711)  # type: ignore[assignment]
    watch.read()
    assert told.timers == []
    watch.sock = Said(LINK)  # type: ignore[assignment]
    watch.read()
    assert len(told.timers) == 1


def test_a_route_with_damaged_attributes_is_taken_by_its_prefix(told: Told) -> None:
    watch = told.open()
    watch.sock.close()
    route = struct.pack("=BB6xI", socket.AF_INET, 0, 0)
    damaged = [b"\1\0\4\0", b"\x06\0\4\0\1\0\0\0", b"\xff"]
    watch.sock = Said(*(message(24, route + tail) for tail in damaged))  # type: ignore[assignment]
    watch.read()
    told.fire()
    assert told.around == [True]
    assert told.ours == 0
