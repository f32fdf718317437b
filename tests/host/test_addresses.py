from __future__ import annotations

from collections.abc import Iterator

import pytest

from meshd.host.addresses import Attached, attached, local_addresses
from tests.host.namespaces import inside, namespace, needs_root, run


@pytest.fixture
def ns() -> Iterator[str]:
    with namespace() as name:
        yield name


@needs_root
def test_only_addresses_that_a_peer_might_reach_are_listed(ns: str) -> None:
    def ip(*arguments: str) -> None:
        run("ip", "-n", ns, *arguments)

    ip("link", "add", "v0", "type", "veth", "peer", "v1")
    ip("link", "add", "d0", "type", "veth", "peer", "d1")
    ip("tuntap", "add", "t0", "mode", "tun")
    for address in ("10.0.0.1/24", "169.254.7.7/16", "192.168.3.4/24", "10.0.0.2/24"):
        ip("address", "add", address, "dev", "v0")
    for address in ("fd09::1/64", "2001:db8::7/64"):
        ip("address", "add", address, "dev", "v0", "nodad")
    ip("address", "add", "2001:db8::8/64", "dev", "v0", "nodad", "preferred_lft", "0")
    ip("address", "add", "10.9.0.1/24", "dev", "d0")
    ip("address", "add", "100.64.0.1/16", "dev", "t0")
    ip("address", "add", "10.8.0.1/24", "dev", "lo", "scope", "host")
    for name in ("v0", "v1", "t0"):
        ip("link", "set", name, "up")
    found = inside(ns, local_addresses)
    assert found[:3] == ["10.0.0.1", "192.168.3.4", "10.0.0.2"]
    assert sorted(found[3:]) == ["2001:db8::7", "fd09::1"]


@needs_root
def test_a_host_that_gave_itself_its_only_address_has_that_one(ns: str) -> None:
    def ip(*arguments: str) -> None:
        run("ip", "-n", ns, *arguments)

    ip("link", "add", "v0", "up", "index", "20", "type", "veth", "peer", "v1")
    ip("address", "add", "169.254.7.7/16", "dev", "v0", "scope", "link")
    assert inside(ns, local_addresses) == ["169.254.7.7"]
    assert inside(ns, attached) == [Attached("169.254.7.7", 16, 20, False, True)]
    ip("link", "set", "v1", "up")
    ip("address", "add", "10.0.0.1/24", "dev", "v0")
    assert inside(ns, local_addresses) == ["10.0.0.1"]
    assert inside(ns, attached) == [
        Attached("10.0.0.1", 24, 20, True, True),
        Attached("169.254.7.7", 16, 20, True, True),
    ]


@needs_root
def test_the_list_of_addresses_is_bounded(ns: str) -> None:
    run("ip", "-n", ns, "link", "add", "v0", "up", "type", "veth", "peer", "v1")
    assert inside(ns, local_addresses) == []
    for number in range(1, 30):
        run("ip", "-n", ns, "address", "add", f"10.0.0.{number}/24", "dev", "v0")
    assert len(inside(ns, local_addresses)) == 16
