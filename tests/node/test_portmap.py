from __future__ import annotations

import struct
from random import Random

import pytest

from meshd.node import portmap
from meshd.node.errors import RemoteError
from meshd.node.pcp import Transport
from meshd.node.portmap import Mapping, Portmap, Protocol
from tests.node.gateways import (
    CLIENT,
    GATEWAY,
    OUTSIDE,
    SOURCE,
    Gateway,
    natpmp_address,
    natpmp_mapped,
    pcp_head,
    pcp_mapped,
)

PORT = 443
KEY = b"k" * 32
BOTH = ((Transport.UDP, PORT), (Transport.TCP, PORT))


class Home:
    """A host and its gateway, and a clock that only runs on purpose."""

    def __init__(self, gateway: Gateway, ports: tuple[tuple[Transport, int], ...] = BOTH) -> None:
        self.gateway = gateway
        self.now = 1000.0
        gateway.started = gateway.started or self.now - 100
        self.map = Portmap(GATEWAY, CLIENT, ports, KEY, Random(1), self.now)
        self.silent = False
        self.sent: list[tuple[float, bytes]] = []

    def step(self) -> None:
        """What is due now, and the answers to it."""
        self.map.handle_timer(self.now)
        for _ in range(8):
            out = self.map.drain()
            if not out:
                return
            for request in out:
                self.sent.append((self.now, request))
                if not self.silent:
                    for answer in self.gateway.answers(request, self.now):
                        self.map.receive(answer, SOURCE, self.now)
            self.map.handle_timer(self.now)
        raise AssertionError("gateway and host talk without end")

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        self.step()
        while self.map.next_at(self.now) <= end:
            self.now = max(self.now, self.map.next_at(self.now))
            self.step()
        self.now = end

    def endpoints(self) -> list[tuple[Transport, tuple[str, int]]]:
        return [(mapping.transport, mapping.endpoint) for mapping in self.map.mappings()]

    def protocol(self) -> Protocol | None:
        mappings = self.map.mappings()
        return mappings[0].protocol if mappings else None


def nonce(home: Home) -> bytes:
    return next(data for _, data in home.sent if data[0] == 2 and data[1] == 1)[24:36]


BOTH_MAPPED = [(Transport.UDP, (OUTSIDE, PORT)), (Transport.TCP, (OUTSIDE, PORT))]


# Which protocol


def test_pcp_is_used_where_a_gateway_speaks_both() -> None:
    home = Home(Gateway())
    home.step()
    assert home.map.mappings() == [
        Mapping(Protocol.PCP, transport, GATEWAY, (OUTSIDE, PORT), home.now + 3600)
        for transport in (Transport.UDP, Transport.TCP)
    ]
    assert all(data[0] == 2 or data == b"\0\0" for _, data in home.sent)


def test_a_gateway_that_speaks_natpmp_alone_is_asked_by_it_at_once() -> None:
    home = Home(Gateway(pcp=False))
    home.step()
    assert home.protocol() is Protocol.NAT_PMP
    assert home.endpoints() == BOTH_MAPPED
    assert home.map.errors == {Protocol.PCP: "version not supported"}


def test_natpmp_does_not_wait_long_for_a_pcp_that_never_answers() -> None:
    home = Home(Gateway())
    home.silent = True
    home.step()
    home.map.receive(natpmp_address(), SOURCE, home.now)
    home.silent, home.gateway.pcp = False, False
    home.run(portmap.GRACE)
    assert home.protocol() is Protocol.NAT_PMP


def test_a_gateway_that_speaks_pcp_alone_is_asked_by_it() -> None:
    home = Home(Gateway(natpmp=False))
    home.step()
    assert home.endpoints() == BOTH_MAPPED
    assert home.protocol() is Protocol.PCP
    home.run(200)
    assert all(data[0] == 2 for at, data in home.sent if at > 1000)


def test_pcp_that_answers_late_is_used_after_all() -> None:
    home = Home(Gateway(pcp=False))
    home.step()
    late = Home(Gateway())
    late.step()
    home.map.receive(pcp_mapped(nonce(late), PORT), SOURCE, home.now)
    assert home.protocol() is Protocol.PCP


def test_something_else_is_tried_when_nobody_answers_for_two_seconds() -> None:
    home = Home(Gateway(pcp=False, natpmp=False))
    home.run(1.9)
    assert not home.map.failed(home.now)
    home.run(0.1)
    assert home.map.failed(home.now)
    assert home.map.errors == {}


def test_something_else_is_tried_at_once_when_both_refuse() -> None:
    home = Home(Gateway(result=2))
    home.step()
    assert home.map.failed(home.now)
    assert set(home.map.errors.values()) == {"not authorized"}


def test_a_silent_gateway_is_asked_rarely_but_for_ever() -> None:
    home = Home(Gateway())
    home.silent = True
    home.run(3600)
    assert 20 < len(home.sent) < 80
    home.silent = False
    home.run(1100)
    assert home.endpoints() == BOTH_MAPPED


# Refusals


@pytest.mark.parametrize(("result", "word"), [(2, "not authorized"), (8, "no resources")])
def test_natpmp_is_tried_where_pcp_is_refused(result: int, word: str) -> None:
    home = Home(Gateway())
    gateway_pcp = home.gateway._pcp

    def refuse(request: bytes, epoch: int) -> list[bytes]:
        home.gateway.result = result
        try:
            return gateway_pcp(request, epoch)
        finally:
            home.gateway.result = 0

    home.gateway._pcp = refuse  # type: ignore[method-assign]
    home.step()
    assert home.protocol() is Protocol.NAT_PMP
    assert home.map.errors == {Protocol.PCP: word}


def test_a_refusal_is_heeded_for_a_while_and_tried_again() -> None:
    home = Home(Gateway(result=2))
    home.step()
    count = len(home.sent)
    home.run(portmap.REST_MIN - 1)
    assert len(home.sent) == count
    home.gateway.result = 0
    home.run(2)
    assert home.endpoints() == BOTH_MAPPED
    assert home.map.errors.get(Protocol.PCP) is None


def test_a_second_port_that_is_refused_takes_nothing_from_the_first() -> None:
    home = Home(Gateway())
    gateway_pcp = home.gateway._pcp

    def refuse_tcp(request: bytes, epoch: int) -> list[bytes]:
        home.gateway.result = 8 if len(request) == 60 and request[36] == 6 else 0
        return gateway_pcp(request, epoch)

    home.gateway._pcp = refuse_tcp  # type: ignore[method-assign]
    home.step()
    assert home.endpoints() == BOTH_MAPPED[:1]
    count = len(home.sent)
    home.run(portmap.REST_MIN - 1)
    assert len(home.sent) == count
    home.gateway._pcp = gateway_pcp  # type: ignore[method-assign]
    home.gateway.result = 0
    home.run(2)
    assert home.endpoints() == BOTH_MAPPED


def test_a_renewal_that_is_refused_ends_the_mapping() -> None:
    home = Home(Gateway())
    home.step()
    home.gateway.result = 8
    home.run(2300)
    assert home.endpoints() == []
    assert home.map.failed(home.now)


# Time


@pytest.mark.parametrize("speaks_pcp", [True, False])
def test_a_mapping_is_renewed_and_outlives_its_lifetime(speaks_pcp: bool) -> None:
    home = Home(Gateway(pcp=speaks_pcp, lifetime=120))
    home.run(5000)
    assert home.endpoints() == BOTH_MAPPED
    assert all(mapping.expires > home.now for mapping in home.map.mappings())


def test_lost_answers_do_not_end_a_mapping_before_its_time() -> None:
    home = Home(Gateway())
    home.step()
    home.silent = True
    home.run(3599)
    assert home.endpoints() == BOTH_MAPPED
    renewals = [at - 1000 for at, data in home.sent if data[0] == 2 and data[1] == 1 and at > 1000]
    assert 1800 <= renewals[0] <= 2250
    assert len(renewals) > 8
    home.run(1)
    assert home.endpoints() == []


def test_the_same_endpoint_is_asked_for_again() -> None:
    home = Home(Gateway())
    home.step()
    home.run(3000)
    renewal = [data for _, data in home.sent if data[0] == 2 and data[1] == 1][-1]
    assert renewal[42:44] == struct.pack(">H", PORT)
    assert renewal[56:60] == bytes(map(int, OUTSIDE.split(".")))
    assert renewal[24:36] != bytes(12)


def test_the_second_port_wants_the_number_that_the_first_one_got() -> None:
    home = Home(Gateway())
    home.silent = True
    home.step()
    home.map.receive(pcp_mapped(nonce(home), PORT, (OUTSIDE, 8443)), SOURCE, home.now)
    home.map.handle_timer(home.now)
    (request,) = home.map.drain()
    assert request[36] == Transport.TCP
    assert request[40:44] == struct.pack(">HH", PORT, 8443)


@pytest.mark.parametrize("speaks_pcp", [True, False])
def test_a_restart_of_the_gateway_is_noticed_and_all_is_made_again(speaks_pcp: bool) -> None:
    home = Home(Gateway(pcp=speaks_pcp))
    home.run(500)
    home.gateway.restart(home.now)
    assert not home.gateway.taken
    home.run(portmap.POLL_INTERVAL + 1)
    assert set(home.gateway.taken) == {(17, PORT), (6, PORT)}
    assert home.endpoints() == BOTH_MAPPED


def test_an_announcement_makes_it_look_at_once_and_believes_nothing() -> None:
    home = Home(Gateway())
    home.run(500)
    home.gateway.restart(home.now)
    home.map.nudge(home.now)
    home.step()
    assert set(home.gateway.taken) == {(17, PORT), (6, PORT)}
    count = len(home.sent)
    for _ in range(1000):
        home.map.nudge(home.now)
        home.step()
    assert len(home.sent) == count


@pytest.mark.parametrize("speaks_pcp", [True, False])
def test_an_announcement_is_followed_up_where_the_epoch_would_not_show_it(speaks_pcp: bool) -> None:
    home = Home(Gateway(pcp=speaks_pcp, started=999.0))
    home.run(1)
    home.gateway.restart(home.now)
    home.map.nudge(home.now)
    home.step()
    assert set(home.gateway.taken) == {(17, PORT), (6, PORT)}
    home.silent = True
    home.map.nudge(home.now)
    home.run(portmap.REMAKE_TIME + 10)
    assert home.endpoints() == BOTH_MAPPED


def test_a_gateway_that_restarted_and_does_not_answer_is_not_believed_for_long() -> None:
    home = Home(Gateway())
    home.run(500)
    home.map.receive(pcp_head(0, 0, 0, 1), SOURCE, home.now)
    assert home.endpoints() == BOTH_MAPPED
    home.silent = True
    home.run(portmap.REMAKE_TIME)
    assert home.endpoints() == []


def test_a_new_outer_address_is_noticed() -> None:
    home = Home(Gateway(pcp=False))
    home.run(500)
    home.gateway.outside = "203.0.113.99"
    home.run(portmap.POLL_INTERVAL)
    assert home.endpoints()[0] == (Transport.UDP, ("203.0.113.99", PORT))


def test_no_gateway_can_make_us_ask_often() -> None:
    home = Home(Gateway(lifetime=1))
    gateway_pcp = home.gateway._pcp
    home.gateway._pcp = lambda request, epoch: gateway_pcp(  # type: ignore[method-assign]
        request, 5000 if len(home.sent) % 2 else 1
    )
    home.run(600)
    assert len(home.sent) < 600


# Lies


@pytest.mark.parametrize("source", [("192.168.1.2", 5351), (GATEWAY, 5350), (OUTSIDE, 5351)])
def test_only_the_gateway_itself_is_heard(source: tuple[str, int]) -> None:
    home = Home(Gateway())
    home.silent = True
    home.step()
    with pytest.raises(RemoteError, match="portmap-source"):
        home.map.receive(pcp_mapped(nonce(home), PORT), source, home.now)
    assert home.endpoints() == []


@pytest.mark.parametrize(
    "answer",
    [
        pcp_mapped(b"x" * 12, PORT),
        pcp_mapped(b"x" * 12, PORT, result=2),
        pcp_mapped(b"x" * 12, PORT + 1),
        natpmp_mapped(PORT, PORT),
    ],
)
def test_what_was_not_asked_for_is_refused(answer: bytes) -> None:
    home = Home(Gateway())
    home.silent = True
    home.step()
    with pytest.raises(RemoteError, match="portmap-unasked"):
        home.map.receive(answer, SOURCE, home.now)
    assert (home.endpoints(), home.map.errors) == ([], {})


def test_another_transport_than_asked_for_is_refused() -> None:
    home = Home(Gateway(), BOTH[:1])
    home.silent = True
    home.step()
    with pytest.raises(RemoteError, match="portmap-unasked"):
        home.map.receive(pcp_mapped(nonce(home), PORT, transport=6), SOURCE, home.now)


@pytest.mark.parametrize("endpoint", [(OUTSIDE, 0), ("224.0.0.251", PORT), ("127.0.0.1", PORT)])
def test_an_impossible_endpoint_is_refused(endpoint: tuple[str, int]) -> None:
    home = Home(Gateway())
    home.silent = True
    home.step()
    with pytest.raises(RemoteError, match="portmap-malformed"):
        home.map.receive(pcp_mapped(nonce(home), PORT, endpoint), SOURCE, home.now)
    assert home.endpoints() == []


def test_a_huge_lifetime_is_not_believed() -> None:
    home = Home(Gateway())
    home.silent = True
    home.step()
    answer = pcp_mapped(nonce(home), PORT, lifetime=0xFFFFFFFF)
    home.map.receive(answer, SOURCE, home.now)
    assert home.map.mappings()[0].expires == home.now + portmap.LIFETIME


def test_a_success_that_lasts_no_time_is_a_refusal() -> None:
    home = Home(Gateway())
    home.step()
    home.map.receive(pcp_mapped(nonce(home), PORT, lifetime=0), SOURCE, home.now)
    assert home.endpoints() != BOTH_MAPPED
    count = len(home.sent)
    home.gateway.lifetime = 0
    home.run(600)
    assert len(home.sent) - count < 100


def test_versions_are_no_reason_to_leave_the_protocol_that_works() -> None:
    home = Home(Gateway())
    home.step()
    home.map.receive(pcp_head(0, 1, 0, 5), SOURCE, home.now)
    home.map.receive(struct.pack(">BBHI", 0, 129, 1, 5), SOURCE, home.now)
    assert home.endpoints() == BOTH_MAPPED


def test_a_mapping_is_known_again_after_a_restart_of_ours() -> None:
    homes = [Home(Gateway()) for _ in range(2)]
    for home in homes:
        home.step()
    assert nonce(homes[0]) == nonce(homes[1])
    other = Portmap(GATEWAY, CLIENT, BOTH, b"z" * 32, Random(1), 0.0)
    other.handle_timer(0.0)
    assert other.drain()[0][24:36] != nonce(homes[0])


# The end


@pytest.mark.parametrize("speaks_pcp", [True, False])
def test_mappings_are_taken_back_at_the_end(speaks_pcp: bool) -> None:
    home = Home(Gateway(pcp=speaks_pcp))
    home.step()
    assert home.gateway.taken
    home.map.close(home.now)
    assert not home.map.closed
    home.step()
    assert home.map.closed
    assert not home.gateway.taken
    home.run(10_000)
    assert home.gateway.asked[-1] == home.sent[-1][1]
    assert home.endpoints() == []


@pytest.mark.parametrize("speaks_pcp", [True, False])
def test_taking_back_is_repeated_until_it_is_answered(speaks_pcp: bool) -> None:
    home = Home(Gateway(pcp=speaks_pcp))
    home.step()
    home.map.close(home.now)
    home.silent = True
    home.run(0.3)
    home.silent = False
    home.run(0.5)
    assert home.map.closed


def test_a_gateway_that_will_not_take_back_is_left_alone() -> None:
    home = Home(Gateway())
    home.step()
    home.gateway.result = 2
    home.map.close(home.now)
    home.step()
    assert home.map.closed


def test_there_is_nothing_to_take_back_where_nothing_was_given() -> None:
    home = Home(Gateway(result=2))
    home.step()
    home.map.close(home.now)
    assert home.map.closed
    assert home.map.next_at(home.now) > home.now


# IPv6


def test_an_ipv6_gateway_is_asked_by_pcp_alone() -> None:
    client = "2001:db8::10"
    asking = Portmap("fe80::1", client, BOTH[:1], KEY, Random(1), 0.0)
    asking.handle_timer(0.0)
    (request,) = asking.drain()
    assert request[44:60] == bytes(16)
    asking.receive(pcp_mapped(request[24:36], PORT, (client, PORT)), ("fe80::1", 5351), 0.0)
    assert asking.mappings()[0].endpoint == (client, PORT)
