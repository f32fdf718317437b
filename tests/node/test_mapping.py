"""What peers tell of the NAT before us: one port for all, a port each, counted or not."""

from __future__ import annotations

import pytest

from meshd.node.mapping import (
    FORGOTTEN_AFTER,
    FRESH,
    MAX_DESTINATIONS,
    Kind,
    Mapping,
    Mappings,
    is_inside,
    is_public,
)
from meshd.node.wire import STREAM, Endpoint

PUBLIC = "203.0.113.1"
OWN = (("192.168.1.10", 443), ("2001:db8::7", 443))


def at(number: int) -> Endpoint:
    return f"198.51.100.{number}", 443


def told(*ports: int, gap: int = 0) -> Mappings:
    """One destination after the other, seen at these ports; `gap` others sent to between them."""
    mappings = Mappings()
    for number, port in enumerate(ports):
        mappings.sent(at(number), 0.0)
        mappings.seen(at(number), (PUBLIC, port), 0.0)
        for other in range(gap):
            mappings.sent(("192.0.2.1", 1000 * number + other + 1), 0.0)
    return mappings


@pytest.mark.parametrize(
    ("ports", "gap", "expected"),
    [
        ((), 0, Mapping(Kind.UNKNOWN)),
        ((443,), 0, Mapping(Kind.UNKNOWN)),
        ((5000,), 0, Mapping(Kind.UNKNOWN, 1, True)),
        ((5000, 5000, 5000), 0, Mapping(Kind.INDEPENDENT)),
        ((5000, 5001, 5002), 0, Mapping(Kind.SEQUENTIAL, 1)),
        ((5000, 5004, 5008), 3, Mapping(Kind.SEQUENTIAL, 1)),
        ((5000, 5002, 5004), 0, Mapping(Kind.SEQUENTIAL, 2)),
        ((5000, 4998, 4996), 0, Mapping(Kind.SEQUENTIAL, -2)),
        ((5000, 5001, 5009), 0, Mapping(Kind.SEQUENTIAL, 1)),
        ((5000, 51234, 20011), 0, Mapping(Kind.RANDOM)),
        ((5000, 5001, 4999), 0, Mapping(Kind.RANDOM)),
        ((5000, 5001, 40000), 0, Mapping(Kind.RANDOM)),
    ],
)
def test_ports_tell_the_kind(ports: tuple[int, ...], gap: int, expected: Mapping) -> None:
    assert told(*ports, gap=gap).judge(OWN, 0.0) == expected


def test_the_next_port_is_foretold_from_how_many_were_sent_to() -> None:
    mappings = told(5000, 5001)
    assert mappings.forecast(1, 0.0) == (PUBLIC, 5002)
    for number in range(10, 15):
        mappings.sent(at(number), 0.0)
    mappings.sent(at(12), 1.0)
    assert mappings.forecast(1, 0.0) == (PUBLIC, 5007)
    assert mappings.forecast(2, 0.0) == (PUBLIC, 5013)
    assert mappings.forecast(1, 0.0, [at(11), at(99)]) == (PUBLIC, 5003)
    assert mappings.forecast(1, 0.0, [at(99)]) is None
    assert Mappings().forecast(1, 0.0) is None
    assert told(65535).forecast(1, 0.0) is None


def test_a_mapping_that_a_nat_may_have_forgotten_counts_as_new() -> None:
    mappings = told(5000)
    mappings.sent(at(50), 0.0)
    mappings.sent(at(50), FORGOTTEN_AFTER)
    assert mappings.forecast(1, 0.0) == (PUBLIC, 5003)
    mappings.sent(at(0), 1000.0)  # it was answered: the NAT keeps it longer
    assert mappings.forecast(1, 0.0) == (PUBLIC, 5003)


def test_who_is_seen_at_an_address_of_its_own_has_no_nat() -> None:
    own = (*OWN, (PUBLIC, 443))
    assert told(443).judge(own, 0.0) == Mapping(Kind.NONE)
    assert told(443, 443).judge(own, 0.0) == Mapping(Kind.NONE)
    assert told(443, 5000, 5001).judge(own, 0.0) == Mapping(Kind.SEQUENTIAL, 1)


def test_of_two_nats_that_of_the_newest_destination_counts() -> None:
    mappings = told(5000, 51234)
    for number in (5, 6):
        mappings.sent(at(number), 0.0)
        assert mappings.judge(OWN, 0.0).kind is (Kind.RANDOM if number == 5 else Kind.UNKNOWN)
        mappings.seen(at(number), ("198.18.0.1", 443), 0.0)
    assert mappings.judge(OWN, 0.0) == Mapping(Kind.INDEPENDENT)


def test_who_is_behind_the_same_nat_tells_nothing_of_it_and_takes_no_port() -> None:
    mappings = told(5000)
    for number in range(1, 6):
        mappings.sent((f"192.168.1.{number}", 443), 0.0)
        mappings.seen((f"192.168.1.{number}", 443), OWN[0], 0.0)
    assert mappings.judge(OWN, 0.0) == Mapping(Kind.UNKNOWN, 1, True)
    assert mappings.forecast(1, 0.0) == (PUBLIC, 5001)


def test_old_news_and_what_was_not_asked_do_not_count() -> None:
    mappings = told(5000, 5001)
    assert mappings.judge(OWN, FRESH) == Mapping(Kind.UNKNOWN)
    mappings.seen(at(99), (PUBLIC, 7), 0.0)
    mappings.seen(at(0), ("2001:db8::1", 7), 0.0)
    assert mappings.judge(OWN, 0.0) == Mapping(Kind.SEQUENTIAL, 1)
    mappings.forget()
    assert mappings.judge(OWN, 0.0) == Mapping(Kind.UNKNOWN)


def test_other_families_and_streams_are_left_out_and_destinations_are_bounded() -> None:
    mappings = told(5000)
    mappings.sent(("2001:db8::1", 443), 0.0)
    mappings.sent((f"{STREAM}198.51.100.7", 443), 0.0)
    assert mappings.forecast(1, 0.0) == (PUBLIC, 5001)
    for number in range(MAX_DESTINATIONS + 5):
        mappings.sent(("192.0.2.1", number + 1), 0.0)
    assert mappings.forecast(1, 0.0) is None
    assert len(mappings._destinations) == MAX_DESTINATIONS


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("172.32.0.1", False),
        ("192.168.1.1", True),
        ("100.64.0.1", True),
        ("169.254.3.4", True),
        ("198.51.100.1", False),
    ],
)
def test_addresses_inside_and_in_the_open(host: str, inside: bool) -> None:
    assert is_inside((host, 443)) is inside
    assert is_public((host, 443)) is not inside
    assert not is_public(("2001:db8::1", 443))
    assert not is_inside((f"{STREAM}{host}", 443))
