"""The queue of news: limits, order, shares."""

from __future__ import annotations

import pytest

from gossip.dissemination import NewsClass, NewsQueue, transmit_limit

MEMBERSHIP, ROUTES, OTHER = NewsClass


@pytest.mark.parametrize(("members", "times"), [(1, 4), (9, 4), (10, 8), (99, 8), (1000, 16)])
def test_the_limit_grows_with_the_logarithm(members: int, times: int) -> None:
    assert transmit_limit(4, members) == times


def test_a_piece_is_sent_so_often_and_then_is_gone() -> None:
    queue = NewsQueue(10)
    queue.add(MEMBERSHIP, "a", b"a" * 10)
    assert [len(queue.fill(100, 3)) for _ in range(4)] == [1, 1, 1, 0]
    assert len(queue) == 0


def test_newer_news_of_the_same_replaces_older() -> None:
    queue = NewsQueue(10)
    queue.add(MEMBERSHIP, "a", b"old")
    queue.fill(100, 4)
    queue.add(MEMBERSHIP, "a", b"new")
    assert queue.fill(100, 4) == [b"new"]
    assert queue.sizes() == (1, 0, 0)


def test_those_sent_least_go_first_and_the_newest_before_all() -> None:
    queue = NewsQueue(10)
    queue.add(MEMBERSHIP, "a", b"a" * 50)
    queue.fill(50, 4)
    queue.add(MEMBERSHIP, "b", b"b" * 50)
    queue.add(MEMBERSHIP, "c", b"c" * 50)
    assert [queue.fill(50, 4)[0][:1] for _ in range(3)] == [b"c", b"b", b"a"]


def test_what_does_not_fit_lets_smaller_pieces_by() -> None:
    queue = NewsQueue(10)
    queue.add(MEMBERSHIP, "small", b"s" * 20)
    queue.add(MEMBERSHIP, "large", b"l" * 200)
    assert queue.fill(100, 4) == [b"s" * 20]


def test_a_small_piece_is_sent_in_a_small_room_whatever_was_queued_before() -> None:
    queue = NewsQueue(10)
    queue.add(MEMBERSHIP, "large", b"l" * 200)
    queue.fill(200, 1)
    queue.add(MEMBERSHIP, "larger", b"L" * 300)
    queue.add(MEMBERSHIP, "small", b"s" * 20)
    queue.discard("larger")
    assert queue.fill(19, 4) == []
    assert queue.fill(20, 4) == [b"s" * 20]


def test_membership_does_not_starve_a_large_route_record() -> None:
    queue = NewsQueue(100)
    for name in range(100):
        queue.add(MEMBERSHIP, name, b"m" * 300)
    queue.add(ROUTES, "r", b"r" * 1100)
    sent = [item[:1] for _ in range(5) for item in queue.fill(1128, 8)]
    assert b"r" in sent
    assert sent.count(b"m") >= 9


def test_a_flood_of_other_news_leaves_membership_its_half() -> None:
    queue = NewsQueue(500)
    for name in range(500):
        queue.add(OTHER, ("o", name), b"o" * 100)
        queue.add(MEMBERSHIP, ("m", name), b"m" * 100)
    sent = [item[:1] for _ in range(20) for item in queue.fill(1000, 8)]
    assert sent.count(b"m") >= len(sent) / 2


def test_a_class_is_bounded_and_drops_what_was_sent_most() -> None:
    queue = NewsQueue(3)
    queue.add(MEMBERSHIP, "old", b"old")
    queue.fill(100, 4)
    for name in ("a", "b", "c"):
        queue.add(MEMBERSHIP, name, name.encode())
    assert queue.sizes() == (3, 0, 0)
    assert b"old" not in queue.fill(100, 4)


def test_the_number_of_items_of_a_message_is_bounded() -> None:
    queue = NewsQueue(100)
    for name in range(100):
        queue.add(MEMBERSHIP, name, b"x")
    assert len(queue.fill(1000, 4, slots=5)) == 5
    queue.discard(99)
    queue.discard(99)
    assert len(queue) == 99
