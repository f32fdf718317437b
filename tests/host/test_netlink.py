from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from meshd.host.netlink import (
    add_routes,
    configure_tun,
    remove_routes,
    replace_addresses,
    restore_addresses,
)
from meshd.host.tun import Tun
from meshd.node.errors import HostError
from tests.host.namespaces import inside, namespace, needs_root, python, run

pytestmark = needs_root

T = TypeVar("T")
ADDRESSES = ("100.64.3.7/16", "fd12:3456:789a::7/64")


@pytest.fixture
def ns() -> Iterator[str]:
    with namespace() as name:
        tun = inside(name, lambda: Tun.open("t0"))
        yield name
        tun.close()


def awaited(ns: str, coroutine: Coroutine[Any, Any, T]) -> T:
    return inside(ns, lambda: asyncio.run(coroutine))


def addresses_of(ns: str) -> list[str]:
    (link,) = json.loads(run("ip", "-n", ns, "-j", "address", "show", "t0"))
    return [f"{entry['local']}/{entry['prefixlen']}" for entry in link["addr_info"]]


def routes_of(ns: str, *options: str) -> list[str]:
    shown = json.loads(run("ip", "-n", ns, *options, "-j", "route", "show", "proto", "169"))
    return [route["dst"] for route in shown]


def test_the_interface_gets_its_addresses_sizes_and_no_link_local(ns: str) -> None:
    assert awaited(ns, configure_tun("t0", ADDRESSES, 1380)) == []
    assert addresses_of(ns) == list(ADDRESSES)
    (link,) = json.loads(run("ip", "-n", ns, "-d", "-j", "link", "show", "t0"))
    assert "UP" in link["flags"]
    assert (link["mtu"], link["txqlen"]) == (1380, 500)
    assert (link["gso_max_size"], link["gro_max_size"]) == (63_000, 63_000)
    assert link["inet6_addr_gen_mode"] == "none"


def test_configuring_again_changes_only_what_differs(ns: str) -> None:
    awaited(ns, configure_tun("t0", ADDRESSES, 1380))
    assert awaited(ns, configure_tun("t0", ADDRESSES, 1400, queue_length=100)) == []
    (link,) = json.loads(run("ip", "-n", ns, "-j", "link", "show", "t0"))
    assert (link["mtu"], link["txqlen"]) == (1400, 100)
    assert addresses_of(ns) == list(ADDRESSES)


def test_an_address_gives_way_to_another_one_and_the_prefix_keeps_its_route(ns: str) -> None:
    awaited(ns, configure_tun("t0", ADDRESSES, 1380))
    moved = ("100.64.9.9/16", ADDRESSES[1])
    assert awaited(ns, replace_addresses("t0", moved)) == []
    assert sorted(addresses_of(ns)) == sorted(moved)
    shown = json.loads(run("ip", "-n", ns, "-j", "route", "show", "dev", "t0"))
    assert [(route["dst"], route["prefsrc"]) for route in shown] == [
        ("100.64.0.0/16", "100.64.9.9")
    ]
    assert awaited(ns, replace_addresses("t0", moved)) == []
    with pytest.raises(HostError, match="no interface t9"):
        awaited(ns, replace_addresses("t9", moved))


def test_what_an_interface_lost_while_it_was_down_comes_back(ns: str) -> None:
    awaited(ns, configure_tun("t0", ADDRESSES, 1380))
    run("ip", "-n", ns, "link", "set", "t0", "down")
    assert not awaited(ns, restore_addresses("t0", ADDRESSES))
    assert addresses_of(ns) == [ADDRESSES[0]]  # the kernel forgets those of IPv6
    run("ip", "-n", ns, "link", "set", "t0", "up")
    assert awaited(ns, restore_addresses("t0", ADDRESSES))
    assert addresses_of(ns) == list(ADDRESSES)
    assert awaited(ns, restore_addresses("t0", ADDRESSES))


def test_configuring_is_quick(ns: str) -> None:
    import pyroute2  # type: ignore[import-untyped]  # noqa: F401

    started = time.perf_counter()
    awaited(ns, configure_tun("t0", ADDRESSES, 1380))
    assert time.perf_counter() - started < 1


def test_pyroute2_is_imported_late() -> None:
    code = "import sys, meshd.host.netlink\nprint('pyroute2' in sys.modules)"
    assert python(code) == "False"


def test_a_missing_interface_is_told(ns: str) -> None:
    with pytest.raises(HostError, match="no interface t9"):
        awaited(ns, configure_tun("t9", ADDRESSES, 1380))
    with pytest.raises(HostError, match="no interface t9"):
        awaited(ns, add_routes("t9", ["10.0.0.0/8"]))


def test_an_impossible_size_is_told(ns: str) -> None:
    with pytest.raises(HostError, match="t0 cannot be configured"):
        awaited(ns, configure_tun("t0", ADDRESSES, 70_000))


def test_ipv6_switched_off_leaves_ipv4_working_and_is_told(ns: str) -> None:
    def switch_off() -> None:
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as file:
            file.write("1")

    inside(ns, switch_off)
    (told,) = awaited(ns, configure_tun("t0", ADDRESSES, 1380))
    assert "IPv6 is switched off" in told
    assert addresses_of(ns) == [ADDRESSES[0]]


CONFIGURE = f"""
import asyncio
from meshd.host.netlink import configure_tun
try:
    print(asyncio.run(configure_tun("t0", {ADDRESSES!r}, 1380)))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_no_net_admin_is_told_with_the_commands_that_help(ns: str) -> None:
    wrapper = ("ip", "netns", "exec", ns, "setpriv", "--bounding-set=-net_admin")
    told = python(CONFIGURE, *wrapper)
    assert told.startswith("HostError the interface t0 may not be configured")
    assert "\n" not in told
    commands = told.split("`")[1].split("; ")
    assert commands[-1] == "ip link set t0 mtu 1380 up"
    for command in commands:
        run("ip", "-n", ns, *command.split()[1:])
    told = python(CONFIGURE, *wrapper)
    assert told.startswith("[")
    assert "63000 bytes" in told


def test_routes_come_and_go(ns: str) -> None:
    awaited(ns, configure_tun("t0", ADDRESSES, 1380))
    prefixes = ["10.0.0.0/8", "192.168.7.0/24", "fd99::/48"]
    assert awaited(ns, add_routes("t0", prefixes)) == []
    assert awaited(ns, add_routes("t0", prefixes)) == []
    assert routes_of(ns) == prefixes[:2]
    assert routes_of(ns, "-6") == prefixes[2:]
    assert awaited(ns, remove_routes("t0", [*prefixes, "10.1.0.0/16"])) == []
    assert routes_of(ns) == routes_of(ns, "-6") == []


def test_the_hosts_own_route_is_never_displaced(ns: str) -> None:
    awaited(ns, configure_tun("t0", ADDRESSES, 1380))
    run("ip", "-n", ns, "link", "add", "v0", "up", "type", "veth", "peer", "v1")
    run("ip", "-n", ns, "link", "set", "v1", "up")
    run("ip", "-n", ns, "address", "add", "192.168.7.1/24", "dev", "v0")
    assert awaited(ns, add_routes("t0", ["192.168.7.0/24"])) == []
    (used,) = json.loads(run("ip", "-n", ns, "-j", "route", "get", "192.168.7.9"))
    assert used["dev"] == "v0"


def test_a_refused_route_is_told_and_the_others_are_set(ns: str) -> None:
    # the interface is still down
    refused = awaited(ns, add_routes("t0", ["10.0.0.0/8"]))
    assert refused == ["the route 10.0.0.0/8 was refused: Network is down"]
