"""Multicast DNS between two namespaces, with real packets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from meshd.host.mdns import HEARD_BURST, MAX_ADDRESSES, MAX_ASKED, SERVICE, Mdns
from meshd.node.errors import HostError
from tests.host.namespaces import inside, namespace, needs_root, python, run

HERE, THERE = "192.168.77.1", "192.168.77.2"
PORT = 4443
WORDS = {"t": "0123456789abcdef", "n": "fedcba9876543210"}

Heard = tuple[str, Mapping[str, str], "list[tuple[str, int]]"]


@pytest.fixture
def lan() -> Iterator[tuple[str, str]]:
    """Two hosts with a cable between them."""
    with namespace() as here, namespace() as there:
        run("ip", "-n", here, "link", "add", "l0", "type", "veth", "peer", "l0", "netns", there)
        for ns, address in ((here, HERE), (there, THERE)):
            run("ip", "-n", ns, "address", "add", f"{address}/24", "dev", "l0")
            run("ip", "-n", ns, "link", "set", "l0", "up")
        yield here, there


class Host:
    """An event loop in a namespace, with one `Mdns`; what it hears goes into queues."""

    def __init__(self, ns: str) -> None:
        self.heard: SimpleQueue[Heard] = SimpleQueue()
        self.gone: SimpleQueue[str] = SimpleQueue()
        self.mdns = Mdns(lambda *what: self.heard.put(what), self.gone.put)
        self._loop = asyncio.new_event_loop()
        self._executor = ThreadPoolExecutor(1)
        started = threading.Event()

        def serve() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.call_soon(started.set)
            self._loop.run_forever()
            for task in asyncio.all_tasks(self._loop):  # as asyncio.run does
                task.cancel()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

        self._done = self._executor.submit(inside_here, ns, serve)
        assert started.wait(10.0)

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

    def close(self) -> None:
        self.do(self.mdns.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._done.result(10.0)
        self._executor.shutdown()


def inside_here(ns: str, work: Callable[[], None]) -> None:
    """Run `work` in the calling thread, inside a namespace until the thread ends."""
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{ns}") as handle:
        if libc.setns(handle.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    work()


@pytest.fixture
def hosts(lan: tuple[str, str]) -> Iterator[tuple[Host, Host]]:
    pair = (Host(lan[0]), Host(lan[1]))
    yield pair
    for host in pair:
        host.close()


@needs_root
def test_one_hears_of_the_other_by_its_words_and_address(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    here.do(here.mdns.open([HERE]))
    there.do(there.mdns.open([THERE], [THERE, "fd00::2"], PORT, WORDS))
    name, words, endpoints = here.heard.get(timeout=10.0)
    assert (name, words) == (there.mdns.name, WORDS)
    assert endpoints == [(THERE, PORT), ("fd00::2", PORT)]
    assert there.heard.empty()  # neither of itself, nor of one that only listens


@needs_root
def test_a_lan_without_ipv4_will_do(lan: tuple[str, str], hosts: tuple[Host, Host]) -> None:
    for ns, address, old in ((lan[0], "fd77::1", HERE), (lan[1], "fd77::2", THERE)):
        run("ip", "-n", ns, "address", "add", f"{address}/64", "dev", "l0", "nodad")
        run("ip", "-n", ns, "address", "del", f"{old}/24", "dev", "l0")
    here, there = hosts
    here.do(here.mdns.open(["fd77::1"]))
    there.do(there.mdns.open(["fd77::2"], ["fd77::2"], PORT, WORDS))
    assert here.heard.get(timeout=10.0)[1:] == (WORDS, [("fd77::2", PORT)])


@needs_root
def test_who_comes_later_is_told_too_and_a_goodbye_is_heard(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    there.do(there.mdns.open([THERE], [THERE], PORT, WORDS))
    here.do(here.mdns.open([HERE], [HERE], PORT, WORDS))
    assert here.heard.get(timeout=10.0)[0] == there.mdns.name
    assert there.heard.get(timeout=10.0)[0] == here.mdns.name
    there.do(there.mdns.close())
    assert here.gone.get(timeout=10.0) == there.mdns.name


@needs_root
def test_other_words_are_heard_in_their_turn(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    here.do(here.mdns.open([HERE]))
    there.do(there.mdns.open([THERE], [THERE], PORT, WORDS))
    assert here.heard.get(timeout=10.0)[1] == WORDS
    there.do(there.mdns.tell({"t": "later"}))
    assert until(here.heard, lambda heard: heard[1] == {"t": "later"})


def until(queue: SimpleQueue[Heard], fits: Callable[[Heard], bool]) -> bool:
    """Whether something that fits comes out of `queue` within ten seconds."""
    try:
        while not fits(queue.get(timeout=10.0)):
            pass
    except Empty:
        return False
    return True


@needs_root
def test_it_may_be_opened_again_elsewhere(lan: tuple[str, str], hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    here.do(here.mdns.open([HERE]))
    there.do(there.mdns.open([THERE], [THERE], PORT, WORDS))
    assert here.heard.get(timeout=10.0)[2] == [(THERE, PORT)]
    run("ip", "-n", lan[1], "address", "add", "192.168.77.9/24", "dev", "l0")
    there.do(there.mdns.close())
    there.do(there.mdns.open(["192.168.77.9"], ["192.168.77.9"], PORT, WORDS))
    assert until(here.heard, lambda heard: heard[2] == [("192.168.77.9", PORT)])


@needs_root
def test_a_goodbye_is_said_at_the_end_of_the_loop_too(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    here.do(here.mdns.open([HERE]))
    there.do(there.mdns.open([THERE], [THERE], PORT, WORDS))
    assert here.heard.get(timeout=10.0)[0] == there.mdns.name

    async def end() -> None:
        there.mdns.close_now()

    there.do(end())
    assert here.gone.get(timeout=10.0) == there.mdns.name


@needs_root
def test_nothing_that_is_said_names_the_host(
    lan: tuple[str, str], hosts: tuple[Host, Host]
) -> None:
    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.ntohs(0x0800))
        sock.bind(("l0", 0x0800))
        sock.setblocking(False)
        return sock

    tap, (here, there) = inside(lan[0], listen), hosts
    here.do(here.mdns.open([HERE]))
    there.do(there.mdns.open([THERE], [THERE], PORT, WORDS))
    assert here.heard.get(timeout=10.0)[1] == WORDS
    said = b""
    try:
        while True:
            said += tap.recv(65_536)
    except BlockingIOError:
        tap.close()
    assert b"_aegisray" in said
    assert WORDS["t"].encode() in said
    assert socket.gethostname().encode() not in said


def test_every_start_has_another_name() -> None:
    names = {Mdns(print, print).name for _ in range(10)}
    assert len(names) == 10
    assert all(name.endswith(f".{SERVICE}") for name in names)


async def test_a_host_without_multicast_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(interfaces: list[str]) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr("zeroconf.asyncio.AsyncZeroconf", refuse)
    mdns = Mdns(print, print)
    with pytest.raises(HostError, match=r"cannot be found by multicast: Address already in use"):
        await mdns.open([HERE])
    await mdns.close()
    mdns.close_now()
    await mdns.tell(WORDS)


class Known:
    """What zeroconf would know of a service that has answered already."""

    port = PORT

    def __init__(self, service: str, name: str) -> None:
        self.decoded_properties = {"t": name, "empty": None}

    def load_from_cache(self, zeroconf: object) -> bool:
        return True

    def parsed_addresses(self) -> list[str]:
        return [f"10.0.0.{number}" for number in range(1, 100)]


class Silent(Known):
    """A service that never says where it is."""

    asked = 0

    def load_from_cache(self, zeroconf: object) -> bool:
        return False

    async def async_request(self, zeroconf: object, timeout: float) -> bool:
        Silent.asked += 1
        await asyncio.Event().wait()
        return False


def appear(mdns: Mdns, name: str) -> None:
    from zeroconf import ServiceStateChange

    mdns._changed(SimpleNamespace(), SERVICE, name, ServiceStateChange.Added)  # type: ignore[arg-type]


async def test_only_so_many_services_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Heard] = []
    monkeypatch.setattr("zeroconf.asyncio.AsyncServiceInfo", Known)
    mdns = Mdns(lambda *what: heard.append(what), print)
    for number in range(10_000):
        appear(mdns, f"{number}.{SERVICE}")
    assert HEARD_BURST <= len(heard) < 2 * HEARD_BURST
    assert mdns.ignored == 10_000 - len(heard)
    assert heard[0][1] == {"t": f"0.{SERVICE}"}
    assert len(heard[0][2]) == MAX_ADDRESSES


async def test_only_so_many_services_are_asked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zeroconf.asyncio.AsyncServiceInfo", Silent)
    mdns = Mdns(print, print)
    for number in range(3 * MAX_ASKED):
        appear(mdns, f"{number}.{SERVICE}")
    await asyncio.sleep(0)
    assert Silent.asked == MAX_ASKED
    await mdns.close()
    await asyncio.gather(*mdns._asking, return_exceptions=True)
    await asyncio.sleep(0)
    assert not mdns._asking


async def test_what_it_says_itself_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Heard] = []
    monkeypatch.setattr("zeroconf.asyncio.AsyncServiceInfo", Known)
    mdns = Mdns(lambda *what: heard.append(what), print)
    appear(mdns, mdns.name)
    appear(mdns, mdns.name.upper())
    assert heard == []


def test_zeroconf_is_imported_late() -> None:
    code = "import sys, meshd.host.mdns\nprint('zeroconf' in sys.modules)"
    assert python(code) == "False"
