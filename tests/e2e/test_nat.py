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
        self._spaces = [self.home.host("host"), *map(internet.host, ("one", "two"))]
        self.host, *self.servers = map(self.socket_on, self._spaces)

    def socket_on(self, namespace: Namespace) -> socket.socket:
        with namespace.entered():
            made = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            made.bind(("0.0.0.0", PORT))
        made.settimeout(2.0)
        return made

    def other_port(self, server: int) -> socket.socket:
        """A second UDP socket beside a server's."""
        with self._spaces[1 + server].entered():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("0.0.0.0", PORT + 1))
        return made

    def listener(self, port: int) -> socket.socket:
        """A TCP listener on the first server."""
        with self._spaces[1].entered():
            made = socket.create_server(("0.0.0.0", port))
        made.settimeout(2.0)
        return made

    def caller(self) -> socket.socket:
        """A TCP socket on the host."""
        with self._spaces[0].entered():
            made = socket.socket()
        made.settimeout(0.5)
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


CONES = [
    Nat.FULL_CONE,
    Nat.RESTRICTED_CONE,
    Nat.PORT_RESTRICTED_CONE,
    Nat.NO_INPUT_FILTER,
]
SYMMETRIC = [Nat.SYMMETRIC_SEQUENTIAL, Nat.SYMMETRIC_RANDOM]
FIREWALLS = [Nat.NO_UDP, Nat.ONLY_443]


@pytest.mark.parametrize("place", CONES, indirect=True)
def test_a_cone_maps_one_port_the_same_for_everyone(place: Place) -> None:
    first, second = (place.mapping(i, address) for i, address in enumerate(ADDRESSES))
    assert first == second == (place.home.public_address, PORT)


@pytest.mark.parametrize("place", [Nat.SYMMETRIC_RANDOM], indirect=True)
def test_a_symmetric_nat_maps_a_port_for_each_destination(place: Place) -> None:
    first, second = (place.mapping(i, address) for i, address in enumerate(ADDRESSES))
    assert first[0] == second[0] == place.home.public_address
    assert first[1] != second[1]
    assert {first[1], second[1]} & set(range(20000, 60001))


@pytest.mark.parametrize("place", [Nat.SYMMETRIC_SEQUENTIAL], indirect=True)
def test_a_sequential_nat_takes_the_next_port_for_the_next_destination(place: Place) -> None:
    first, second = (place.mapping(i, address) for i, address in enumerate(ADDRESSES))
    assert second == (first[0], first[1] + 1)
    assert place.mapping(0, ADDRESSES[0]) == first


@pytest.mark.parametrize("place", [*CONES, *SYMMETRIC], indirect=True)
def test_an_answer_comes_through(place: Place) -> None:
    assert place.arrives(0, place.mapping(0, ADDRESSES[0]))


@pytest.mark.parametrize("place", [Nat.PORT_RESTRICTED_CONE, *SYMMETRIC], indirect=True)
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


@pytest.mark.parametrize("place", [Nat.RESTRICTED_CONE], indirect=True)
def test_a_restricted_cone_lets_in_every_port_of_who_was_called(place: Place) -> None:
    mapped = place.mapping(0, ADDRESSES[0])
    assert not place.arrives(1, mapped)
    with place.other_port(0) as other:
        other.sendto(b"reply", mapped)
        place.host.settimeout(2.0)
        assert place.host.recv(64) == b"reply"


@pytest.mark.parametrize("place", [Nat.NO_INPUT_FILTER], indirect=True)
def test_without_an_input_firewall_who_is_too_early_moves_the_mapping(place: Place) -> None:
    place.arrives(0, (place.home.public_address, PORT))
    moved = place.mapping(0, ADDRESSES[0])
    assert moved[1] != PORT
    assert place.mapping(1, ADDRESSES[1]) == moved


@pytest.mark.parametrize("place", FIREWALLS, indirect=True)
def test_a_firewall_lets_no_udp_out_but_tcp_to_port_443(place: Place) -> None:
    with pytest.raises(TimeoutError):
        place.mapping(0, ADDRESSES[0])
    with place.listener(443) as listener, place.caller() as caller:
        caller.connect((ADDRESSES[0], 443))
        accepted, source = listener.accept()
        accepted.close()
        assert source[0] == place.home.public_address


@pytest.mark.parametrize(
    ("place", "open_"), [(Nat.NO_UDP, True), (Nat.ONLY_443, False)], indirect=["place"]
)
def test_only_one_of_the_firewalls_lets_other_ports_out(place: Place, open_: bool) -> None:
    with place.listener(8443), place.caller() as caller:
        assert (caller.connect_ex((ADDRESSES[0], 8443)) == 0) is open_
