"""A few nodes, and anything that a network and their owners can do to them, in any order.

Whatever happens: nobody raises but `GossipError`, no sequence regresses, no input makes a node send
without bound; and once all is delivered again, everyone agrees.
"""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gossip import (
    GossipConfig,
    GossipError,
    GossipProtocol,
    MemberState,
    NodeId,
    RecordKind,
    SendMessage,
    SequenceChanged,
)
from tests.gossip.cluster import FakeAuthority, id_of, key_of

NODES = 4
KINDS = (RecordKind.ROUTES, 8)
WAITING_MAX = 400
"""Messages kept on the way; when there are more, the oldest are lost."""
OUTPUTS_MAX = 200
"""Of one input: a burst of comparisons, the news of three members, and what is told of them."""
CONFIG = GossipConfig.lan()
numbers = st.integers(0, NODES - 1)
"""Of nodes."""
places = st.integers(0, WAITING_MAX - 1)
"""Of messages on the way."""


class Message:
    """On the way, or delivered already and kept by the network to do it again."""

    def __init__(self, source: int, target: int, payload: bytes) -> None:
        self.source, self.target, self.payload = source, target, payload


class GossipMachine(RuleBasedStateMachine):
    """The world of the nodes: their clock, their disks, and the messages between them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.nodes: dict[int, GossipProtocol] = {}
        self.disk: dict[int, int] = {}
        self.used: dict[int, int] = {}
        """The highest sequence that each has used in its present life."""
        self.identity = [id_of(key_of(number)) for number in range(NODES)]
        self.way: list[Message] = []
        self.lives = 0
        self.highest: dict[tuple[int, NodeId, int], int] = {}

    @initialize()
    def boot(self) -> None:
        for number in range(NODES):
            self.begin(number)

    def begin(self, number: int, first: int = 1) -> None:
        """A node starts with what is left of its disk, and joins through the next one."""
        self.lives += 1
        key = key_of(number)
        rng = Random(f"{number}/{self.lives}")
        protocol = GossipProtocol(
            self.identity[number], key, CONFIG, FakeAuthority(key), rng, self.now, first
        )
        self.nodes[number], self.used[number] = protocol, first - 1
        for pair in [pair for pair in self.highest if pair[0] == number]:
            del self.highest[pair]
        protocol.publish(RecordKind.MEMBER, b"node %d" % number, self.now)
        protocol.join([self.identity[(number + 1) % NODES], self.identity[0]], self.now)
        self.perform(number)

    def perform(self, number: int) -> None:
        """Act upon the outputs of one input."""
        outputs = self.nodes[number].drain()
        assert len(outputs) <= OUTPUTS_MAX
        for output in outputs:
            if isinstance(output, SendMessage):
                assert output.to != self.identity[number]
                assert len(output.payload) <= CONFIG.packet_size
                self.way.append(Message(number, self.identity.index(output.to), output.payload))
            elif isinstance(output, SequenceChanged):
                assert output.sequence > self.used[number]
                self.used[number] = output.sequence
                self.disk[number] = max(output.sequence, self.disk.get(number, 0))
        del self.way[:-WAITING_MAX]

    def hand_over(self, message: Message) -> None:
        """Honest nodes' messages are never refused, however late they are."""
        protocol = self.nodes.get(message.target)
        if protocol is not None:
            protocol.receive(message.payload, self.identity[message.source], self.now)
            self.perform(message.target)

    @precondition(lambda self: self.way)
    @rule(place=places, again=st.booleans())
    def deliver(self, place: int, again: bool) -> None:
        """Any message, in any order, perhaps not for the last time."""
        index = place % len(self.way)
        self.hand_over(self.way[index] if again else self.way.pop(index))

    @precondition(lambda self: self.way)
    @rule(count=st.integers(1, 40))
    def deliver_the_oldest(self, count: int) -> None:
        for message in [self.way.pop(0) for _ in range(min(count, len(self.way)))]:
            self.hand_over(message)

    @precondition(lambda self: self.way)
    @rule(place=places, count=st.integers(1, 40))
    def lose(self, place: int, count: int) -> None:
        del self.way[place % len(self.way) :][:count]

    @precondition(lambda self: self.way)
    @rule(place=places, at=st.integers(0, 2000), mask=st.integers(1, 255))
    def spoil(self, place: int, at: int, mask: int) -> None:
        """A neighbour sends nonsense: refused, or taken as what it says, without an exception."""
        message = self.way[place % len(self.way)]
        protocol = self.nodes.get(message.target)
        if protocol is None:
            return
        changed = bytearray(message.payload)
        changed[at % len(changed)] ^= mask
        # The sequence in the header is the sender's own word; a false one is another test's.
        if 2 <= at % len(changed) < 10:
            return
        held = protocol.records()
        try:
            protocol.receive(bytes(changed), self.identity[message.source], self.now)
        except GossipError:
            assert protocol.records() == held
            assert protocol.drain() == []
            return
        self.perform(message.target)

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.5, 1.0, 5.0, 60.0]))
    def wait(self, seconds: float) -> None:
        """Time passes; who is called late serves all that is due."""
        self.now += seconds
        for number, protocol in self.nodes.items():
            protocol.handle_timer(self.now)
            self.perform(number)

    @rule(number=numbers, kind=st.sampled_from(KINDS), body=st.binary(max_size=300))
    def publish(self, number: int, kind: int, body: bytes) -> None:
        if number in self.nodes:
            record = self.nodes[number].publish(kind, body, self.now)
            assert self.nodes[number].record(self.identity[number], kind) == record
            self.perform(number)

    @rule(number=numbers, kind=st.sampled_from(KINDS))
    def withdraw(self, number: int, kind: int) -> None:
        if number in self.nodes:
            gone = self.nodes[number].withdraw(kind, self.now)
            assert gone is None or gone.withdrawn
            self.perform(number)

    @rule(number=numbers)
    def crash(self, number: int) -> None:
        self.nodes.pop(number, None)

    @rule(number=numbers, remembers=st.booleans())
    def restart(self, number: int, remembers: bool) -> None:
        """With its sequence, or with a disk that is empty."""
        self.begin(number, self.disk.get(number, 0) + 1 if remembers else 1)

    @invariant()
    def no_sequence_regresses(self) -> None:
        for number, protocol in self.nodes.items():
            for record in protocol.records():
                place = (number, record.subject, record.kind)
                assert record.sequence >= self.highest.get(place, 0)
                self.highest[place] = record.sequence

    @invariant()
    def bounds_hold(self) -> None:
        for protocol in self.nodes.values():
            assert len(protocol.members()) < NODES
            assert len(protocol.records()) <= NODES * (1 + len(KINDS))
            assert sum(protocol.statistics().queued) <= 64
            assert protocol.next_wakeup() is not None

    def teardown(self) -> None:
        """Everyone runs and every message arrives: soon all hold the same, and see all alive."""
        if not self.nodes and not self.lives:
            return
        for number in range(NODES):
            if number not in self.nodes:
                self.begin(number, self.disk.get(number, 0) + 1)
        limit = self.now + 300
        while not self.converged():
            assert self.now < limit, "no agreement within 300 s"
            while self.way:
                self.hand_over(self.way.pop(0))
            self.now += 0.05
            for number, protocol in self.nodes.items():
                protocol.handle_timer(self.now)
                self.perform(number)

    def converged(self) -> bool:
        """Whether all see all others alive, and hold the same records."""
        views = [
            {record.digest() for record in protocol.records()} for protocol in self.nodes.values()
        ]
        return all(view == views[0] for view in views) and all(
            [member.state for member in protocol.members()] == [MemberState.ALIVE] * (NODES - 1)
            for protocol in self.nodes.values()
        )


TestGossipMachine = GossipMachine.TestCase
TestGossipMachine.settings = settings(max_examples=20, stateful_step_count=40)
