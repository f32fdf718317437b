"""What certificates let nodes do."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from meshd.node.errors import LocalError
from meshd.node.grants import (
    EVERYTHING,
    Grants,
    Network,
    check_grants,
    parse_route,
    parse_uris,
    within,
)


def routes(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


FULL = Grants("web-1", ("exit", "relay"), routes("10.0.0.0/8", "fd00::/8"), ("web", "db"))


def test_uris_say_all_grants_and_read_back() -> None:
    assert FULL.uris() == [
        "aegisray:role:exit",
        "aegisray:role:relay",
        "aegisray:route:10.0.0.0/8",
        "aegisray:route:fd00::/8",
        "aegisray:group:web",
        "aegisray:group:db",
    ]
    assert parse_uris(FULL.uris()) == (FULL.roles, FULL.routes, FULL.groups)


def test_everything_is_one_uri() -> None:
    assert EVERYTHING.uris() == ["aegisray:*"]
    assert parse_uris(["aegisray:*"]) == (EVERYTHING.roles, EVERYTHING.routes, EVERYTHING.groups)


@pytest.mark.parametrize(
    "uri",
    [
        "aegisray:",
        "aegisray:role",
        "aegisray:power:all",
        "aegisray:route:10.0.0.1/8",
        "aegisray:route:10.0.0.0/255.0.0.0",
        "aegisray:route:*",
        "aegisray:group:a b",
        "aegisray:group:",
        "aegisray:role:EXIT",
        "https://role:exit",
        "role:exit",
        "Aegisray:role:exit",
    ],
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(ValueError):
        parse_uris([uri])


def test_a_repeated_uri_is_refused() -> None:
    with pytest.raises(ValueError, match="repeated"):
        parse_uris(["aegisray:role:exit", "aegisray:role:exit"])


def test_sixty_five_groups_are_too_many() -> None:
    with pytest.raises(ValueError, match="too many"):
        parse_uris([f"aegisray:group:g{number}" for number in range(65)])


@pytest.mark.parametrize(
    "wanted",
    [
        Grants(),
        Grants(roles=("exit",)),
        Grants(routes=routes("10.1.0.0/16", "fd00:1::/32")),
        Grants(groups=("db",)),
        FULL,
    ],
)
def test_an_issuer_covers_what_it_has_and_less(wanted: Grants) -> None:
    assert FULL.covers(wanted)
    assert EVERYTHING.covers(wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        Grants(roles=("issuer",)),
        Grants(routes=routes("11.0.0.0/8")),
        Grants(routes=routes("0.0.0.0/0")),
        Grants(routes=routes("::/0")),
        Grants(groups=("admin",)),
        Grants(roles=("*",)),
    ],
)
def test_an_issuer_covers_no_more_than_it_has(wanted: Grants) -> None:
    assert not FULL.covers(wanted)
    assert not Grants().covers(wanted)


def test_a_prefix_is_not_within_one_of_the_other_family() -> None:
    assert not within(ip_network("::a00:0/104"), routes("10.0.0.0/8"))
    assert not within(ip_network("10.0.0.0/8"), routes("::/0"))
    assert within(ip_network("10.0.0.0/8"), routes("::/0", "10.0.0.0/8"))


@pytest.mark.parametrize(
    ("grants", "said"),
    [
        (Grants("Web"), "name"),
        (Grants(roles=("emperor",)), "exit, relay, bootstrap, issuer"),
        (Grants(groups=("a b",)), "group"),
        (Grants(groups=("*",)), "group"),
        (Grants(groups=("a", "a")), "once"),
    ],
)
def test_a_persons_mistakes_are_named(grants: Grants, said: str) -> None:
    with pytest.raises(LocalError, match=said):
        check_grants(grants)


def test_sound_grants_pass() -> None:
    assert check_grants(FULL) is FULL


@pytest.mark.parametrize("text", ["10.0.0.1/8", "ten", "", "10.0.0.0/33"])
def test_a_wrong_route_is_named(text: str) -> None:
    with pytest.raises(LocalError, match="not a route"):
        parse_route(text)


def test_a_route_is_read() -> None:
    assert parse_route("fd00::/8") == ip_network("fd00::/8")
