from __future__ import annotations

import struct

import pytest

from meshd.node import pcp
from meshd.node.errors import RemoteError
from meshd.node.pcp import Transport
from tests.node.gateways import natpmp_address, natpmp_mapped, pcp_head, pcp_mapped

NONCE = b"nonce of 12."


def test_a_pcp_request_has_the_bytes_of_the_rfc() -> None:
    request = pcp.ask_map("192.168.1.10", NONCE, Transport.UDP, 443, ("0.0.0.0", 8443), 3600)
    assert request == bytes.fromhex(
        "02 01 0000 00000e10 00000000000000000000ffffc0a8010a"
        + NONCE.hex()
        + "11 000000 01bb 20fb 00000000000000000000ffff00000000"
    )
    assert pcp.ask_announce("2001:db8::7") == bytes.fromhex(
        "02 00 0000 00000000 20010db8000000000000000000000007"
    )


def test_a_natpmp_request_has_the_bytes_of_the_rfc() -> None:
    assert pcp.ask_public_address() == b"\0\0"
    assert pcp.ask_port(Transport.TCP, 443, 8443, 3600) == bytes.fromhex(
        "00 02 0000 01bb 20fb 00000e10"
    )
    assert pcp.ask_port(Transport.UDP, 443, 0, 0)[1] == 1


def test_answers_are_read() -> None:
    assert pcp.decode(pcp_head(0, 0, 0, 77)) == pcp.Announced(77)
    answer = pcp.decode(pcp_mapped(NONCE, 443, ("203.0.113.5", 8443), 1800, 77))
    assert answer == pcp.Mapped(NONCE, 17, 443, ("203.0.113.5", 8443), 1800, 77)
    six = pcp.decode(pcp_mapped(NONCE, 443, ("2001:db8::5", 443)))
    assert isinstance(six, pcp.Mapped)
    assert six.external == ("2001:db8::5", 443)
    assert pcp.decode(natpmp_address("203.0.113.5", 77)) == pcp.PublicAddress("203.0.113.5", 77)
    assert pcp.decode(natpmp_mapped(443, 8443, 60, 77, opcode=2)) == pcp.PortMapped(
        Transport.TCP, 443, 8443, 60, 77
    )


def test_an_answer_may_end_with_options_that_nobody_asked_for() -> None:
    assert isinstance(pcp.decode(pcp_mapped(NONCE, 443) + bytes(8)), pcp.Mapped)


@pytest.mark.parametrize(
    ("number", "word"), [(2, "not authorized"), (8, "no resources"), (99, "error 99")]
)
def test_pcp_errors_are_told_in_words(number: int, word: str) -> None:
    answer = pcp.decode(pcp_mapped(NONCE, 443, ("0.0.0.0", 0), 30, result=number))
    assert isinstance(answer, pcp.Mapped)
    assert (answer.error, answer.lifetime) == (word, 30)


@pytest.mark.parametrize(
    ("number", "word"), [(2, "not authorized"), (4, "no resources"), (9, "error 9")]
)
def test_natpmp_errors_are_told_in_words(number: int, word: str) -> None:
    head = struct.pack(">BBHI", 0, 129, number, 5)
    for answer in (head, head + bytes(8)):
        assert pcp.decode(answer) == pcp.PortMapped(Transport.UDP, 0, 0, 0, 5, word)
    assert pcp.decode(natpmp_address(result=3)) == pcp.PublicAddress(None, 100, "network failure")


def test_versions_that_a_gateway_does_not_speak() -> None:
    assert pcp.decode(struct.pack(">BBHI", 0, 129, 1, 5)) == pcp.Unsupported(0)
    assert pcp.decode(pcp_head(1, 1, 0, 5, version=1)) == pcp.Unsupported(1)
    assert pcp.decode(pcp_head(0, 1, 0, 5)) == pcp.Unsupported(2)


@pytest.mark.parametrize(
    "endpoint",
    [
        ("203.0.113.5", 0),
        ("0.0.0.0", 443),
        ("0.1.2.3", 443),
        ("127.0.0.1", 443),
        ("169.254.1.1", 443),
        ("224.0.0.1", 443),
        ("255.255.255.255", 443),
        ("::1", 443),
        ("fe80::1", 443),
        ("ff02::1", 443),
    ],
)
def test_an_endpoint_that_nobody_can_send_to_is_refused(endpoint: tuple[str, int]) -> None:
    with pytest.raises(RemoteError, match="portmap-malformed"):
        pcp.decode(pcp_mapped(NONCE, 443, endpoint))
    assert isinstance(pcp.decode(pcp_mapped(NONCE, 443, endpoint, lifetime=0)), pcp.Mapped)
    if ":" not in endpoint[0] and endpoint[1]:
        with pytest.raises(RemoteError, match="portmap-malformed"):
            pcp.decode(natpmp_address(endpoint[0]))


def test_a_private_outer_address_is_taken_for_neighbours_of_the_gateway() -> None:
    assert pcp.decode(natpmp_address("10.0.0.7")) == pcp.PublicAddress("10.0.0.7", 100)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02\x81\x00",
        pcp.ask_announce("192.168.1.10"),
        pcp.ask_port(Transport.UDP, 1, 1, 1),
        pcp_head(1, 0, 5, 5),
        pcp_head(0, 2, 5, 5),
        pcp_head(2, 0, 5, 5),
        pcp_mapped(NONCE, 443)[:-1],
        pcp_mapped(NONCE, 443) + bytes(1100),
        pcp_head(0, 0, 0, 5, version=3),
        natpmp_address()[:7],
        natpmp_address() + b"x",
        natpmp_mapped(443, 443) + b"x",
        natpmp_mapped(443, 443, opcode=3),
        natpmp_mapped(443, 0),
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError, match="portmap-malformed"):
        pcp.decode(data)
