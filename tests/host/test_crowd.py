"""Who may stay, and who has to go."""

from __future__ import annotations

import pytest

from meshd.host.crowd import Crowd, origin


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_an_origin_is_an_ipv4_address_or_an_ipv6_subnet(host: str, place: str) -> None:
    assert origin(host) == place


def enter(crowd: Crowd[int], member: int, host: str, room: int = 100) -> list[int]:
    gone = crowd.enter(member, room)
    crowded = crowd.place(member, host)
    return gone if crowded is None else [*gone, crowded]


def test_the_oldest_of_one_origin_goes_when_that_has_too_many() -> None:
    crowd: Crowd[int] = Crowd(2)
    assert [enter(crowd, member, "192.0.2.1") for member in (1, 2)] == [[], []]
    assert enter(crowd, 3, "192.0.2.2") == []
    assert enter(crowd, 4, "192.0.2.1") == [1]
    assert crowd.members() == [2, 3, 4]


def test_the_oldest_of_all_goes_when_there_is_no_room() -> None:
    crowd: Crowd[int] = Crowd(10)
    for member in range(3):
        enter(crowd, member, f"192.0.2.{member}")
    assert enter(crowd, 3, "192.0.2.9", room=2) == [0, 1]
    assert crowd.oldest() == 2
    assert len(crowd) == 2


def test_who_has_no_origin_yet_is_counted_nevertheless() -> None:
    crowd: Crowd[int] = Crowd(1)
    assert crowd.enter(1, 2) == []
    assert crowd.enter(2, 2) == []
    assert crowd.enter(3, 2) == [1]
    assert crowd.place(2, "192.0.2.1") is None
    assert crowd.place(3, "192.0.2.1") == 2
    assert crowd.members() == [3]


def test_who_left_leaves_nothing() -> None:
    crowd: Crowd[int] = Crowd(1)
    enter(crowd, 1, "192.0.2.1")
    crowd.leave(1)
    crowd.leave(1)
    assert len(crowd) == 0
    assert crowd.oldest() is None
    assert enter(crowd, 2, "192.0.2.1") == []
