from __future__ import annotations

from gossip import NodeId
from meshd.node.backlog import MAX_BYTES, MAX_OF_PEER, Backlog

ONE, TWO = NodeId(bytes(16)), NodeId(bytes([1] * 16))


class Actor:
    """A backlog, and what it had acted on."""

    def __init__(self) -> None:
        self.done: list[tuple[NodeId, bytes]] = []
        self.backlog = Backlog(lambda peer, payload, now: self.done.append((peer, payload)))

    def work_off(self) -> list[bytes]:
        """Work until nothing waits; what was acted on."""
        while (wakeup := self.backlog.wakeup) is not None:
            self.backlog.work(wakeup.at)
        return [payload for _, payload in self.done]


def test_a_message_that_comes_alone_is_acted_on_at_once() -> None:
    actor = Actor()
    assert actor.backlog.add(ONE, b"a", 1.0)
    assert actor.done == [(ONE, b"a")]
    assert actor.backlog.wakeup is None
    actor.backlog.add(ONE, b"b", 2.0)
    assert actor.done == [(ONE, b"a"), (ONE, b"b")]


def test_those_that_come_with_it_wait_in_order() -> None:
    actor = Actor()
    for text in (b"a", b"b", b"c"):
        actor.backlog.add(ONE, text, 1.0)
    assert actor.done == [(ONE, b"a")]
    wakeup = actor.backlog.wakeup
    assert wakeup is not None
    assert wakeup.at == 1.0
    actor.backlog.work(1.5)
    assert actor.done == [(ONE, b"a"), (ONE, b"b")]
    assert actor.work_off() == [b"a", b"b", b"c"]


def test_peers_take_turns() -> None:
    actor = Actor()
    for text in (b"a", b"b", b"c", b"d"):
        actor.backlog.add(ONE, text, 1.0)
    actor.backlog.add(TWO, b"x", 1.0)
    assert actor.work_off() == [b"a", b"b", b"x", b"c", b"d"]
    assert actor.done[2] == (TWO, b"x")


def test_a_peer_has_so_many_and_no_more() -> None:
    actor = Actor()
    assert all(actor.backlog.add(ONE, b"a", 1.0) for _ in range(MAX_OF_PEER + 1))
    assert not actor.backlog.add(ONE, b"a", 1.0)
    assert actor.backlog.add(TWO, b"a", 1.0)
    assert len(actor.work_off()) == MAX_OF_PEER + 2


def test_all_messages_have_so_many_bytes_and_no_more() -> None:
    actor = Actor()
    half = bytes(MAX_BYTES // 2)
    assert [actor.backlog.add(peer, half, 1.0) for peer in (ONE, ONE, TWO)] == [True] * 3
    assert not actor.backlog.add(TWO, b"a", 1.0)
    actor.backlog.work(1.0)
    assert actor.backlog.add(TWO, half, 1.0)


def test_working_without_a_message_does_nothing() -> None:
    actor = Actor()
    actor.backlog.work(1.0)
    assert actor.done == []
