from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from simulations.lab.namespaces import Lab, Namespace
from simulations.lab.nat import Nat
from simulations.lab.topology import Home, Internet

pytestmark = pytest.mark.e2e

PORT = 443


class Place:
    """A host behind a NAT with a UDP socket on port 443, and two servers in the open."""

    def __init__(self, lab: Lab, kind: Nat, stack: ExitStack) -> None:
        internet = Internet(lab)
        self._stack = stack
        self.home: Home = internet.home("home", kind)
        self.host = self.socket_on(self.home.host("host"))
        self.servers = [self.socket_on(internet.host(name)) for name in ("one", "two")]

    def socket_on(self, namespace: Namespace) -> socket.socket:
        with namespace.entered():
            made = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            made.bind(("0.0.0.0", PORT))
        made.settimeout(2.0)
        return made

    def mapping(self, server: int, address: str) -> tuple[str, int]:
        """Where the host's packet to a server comes from, as the server sees it."""
        self.host.sendto(b"hello", (address, PORT))
        data, source = self.servers[server].recvfrom(64)
        assert data == b"hello"
        return (source[0], source[1])

    def arrives(self, server: int, target: tuple[str, int]) -> bool:
        """Whether what a server sends to `target` reaches the host."""
        self.servers[server].sendto(b"reply", target)
        self.host.settimeout(0.3)
        try:
            return self.host.recv(64) == b"reply"
        except TimeoutError:
            return False


ADDRESSES = ("198.51.100.6", "198.51.100.10")


@pytest.fixture
def place(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(lab, request.param, stack)


@pytest.mark.parametrize("place", [Nat.PORT_RESTRICTED_CONE, Nat.FULL_CONE], indirect=True)
def test_a_cone_maps_one_port_the_same_for_everyone(place: Place) -> None:
    first, second = (place.mapping(i, address) for i, address in enumerate(ADDRESSES))
    assert first == second == (place.home.public_address, PORT)


@pytest.mark.parametrize("place", [Nat.SYMMETRIC_RANDOM], indirect=True)
def test_a_symmetric_nat_maps_a_port_for_each_destination(place: Place) -> None:
    first, second = (place.mapping(i, address) for i, address in enumerate(ADDRESSES))
    assert first[0] == second[0] == place.home.public_address
    assert first[1] != second[1]
    assert {first[1], second[1]} & set(range(20000, 60001))


@pytest.mark.parametrize("place", list(Nat), indirect=True)
def test_an_answer_comes_through(place: Place) -> None:
    assert place.arrives(0, place.mapping(0, ADDRESSES[0]))


@pytest.mark.parametrize("place", [Nat.PORT_RESTRICTED_CONE, Nat.SYMMETRIC_RANDOM], indirect=True)
def test_a_stranger_is_kept_out_and_moves_no_mapping(place: Place) -> None:
    mapped = (place.home.public_address, PORT)
    assert not place.arrives(1, mapped)
    first = place.mapping(0, ADDRESSES[0])
    assert not place.arrives(1, first)
    assert place.arrives(0, first)


@pytest.mark.parametrize("place", [Nat.PORT_RESTRICTED_CONE], indirect=True)
def test_an_unsolicited_packet_does_not_occupy_the_port(place: Place) -> None:
    place.arrives(0, (place.home.public_address, PORT))
    assert place.mapping(0, ADDRESSES[0]) == (place.home.public_address, PORT)


@pytest.mark.parametrize("place", [Nat.FULL_CONE], indirect=True)
def test_a_full_cone_lets_strangers_in_once_it_has_a_mapping(place: Place) -> None:
    assert not place.arrives(1, (place.home.public_address, PORT))
    assert place.arrives(1, place.mapping(0, ADDRESSES[0]))
