"""Nodes on an in-memory network under virtual time: no socket, no clock, no sleep."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Sequence
from random import Random

from gossip import records
from gossip.config import GossipConfig
from gossip.errors import GossipError
from gossip.events import Output, SendMessage
from gossip.ids import NodeId
from gossip.members import MemberState
from gossip.protocol import GossipProtocol
from gossip.records import Record, RecordKind


def key_of(name: int | str) -> bytes:
    """The fake key of a node."""
    return hashlib.blake2b(str(name).encode(), digest_size=32).digest()


def id_of(key: bytes) -> NodeId:
    """A node's id is the hash of its key."""
    return NodeId(hashlib.blake2b(key, digest_size=16).digest())


class FakeAuthority:
    """Signs with a keyed hash whose key everyone may know: cheap, and wrong bytes still fail."""

    def __init__(self, key: bytes, domain: bytes = b"mesh") -> None:
        self.domain = domain
        self.refused: list[NodeId] = []
        self._key = key

    def sign(self, message: bytes) -> bytes:
        return hashlib.blake2b(message, key=self._key, digest_size=64).digest()

    def verify(self, key: bytes, subject: NodeId, message: bytes, signature: bytes) -> bool:
        good = hashlib.blake2b(message, key=key, digest_size=64).digest()
        return id_of(key) == subject and good == signature

    def admits(self, record: Record) -> bool:
        return record.subject not in self.refused

    def keys(self, record: Record) -> tuple[bytes, ...]:
        body = record.body
        return tuple(body[at : at + 16] for at in range(0, len(body) - 15, 16))

    def grants(self, node: NodeId, prefix: str) -> bool:
        return not prefix.startswith("0.0.0.0")


def record_of(
    name: int | str,
    sequence: int = 1,
    kind: int = RecordKind.MEMBER,
    body: bytes = b"hello",
    withdrawn: bool = False,
) -> Record:
    """A well signed record of a node that need not exist."""
    key = key_of(name)
    body = b"" if withdrawn else body
    return records.signed(FakeAuthority(key), kind, key, id_of(key), sequence, body, withdrawn)


def protocol_of(
    name: int | str, config: GossipConfig | None = None, now: float = 0.0, first: int = 1
) -> GossipProtocol:
    """One node on its own."""
    key = key_of(name)
    authority = FakeAuthority(key)
    rng = Random(f"{name}")
    return GossipProtocol(id_of(key), key, config or GossipConfig(), authority, rng, now, first)


class Cluster:
    """Any number of nodes, with latency, loss, partitions, crashes and returns."""

    def __init__(self, config: GossipConfig | None = None, seed: int = 1) -> None:
        self.config = config or GossipConfig.lan()
        self.rng = Random(seed)
        self.now = 100.0
        self.nodes: dict[NodeId, GossipProtocol] = {}
        self.outputs: dict[NodeId, list[tuple[float, Output]]] = {}
        self.names: list[NodeId] = []
        self.reachable: Callable[[NodeId, NodeId], bool] = lambda a, b: True
        self.loss = 0.0
        self.sent = 0
        self.largest = 0
        self.errors: list[str] = []
        self._seed = seed
        self._heap: list[tuple[float, int, NodeId, NodeId, bytes]] = []
        self._wakeups: list[tuple[float, int, NodeId]] = []
        self._order = 0
        self._lives: dict[int, int] = {}
        self._trace = hashlib.blake2b(digest_size=16)

    def start(
        self, name: int, seeds: Sequence[int] = (), first: int = 1, body: bytes = b"hello"
    ) -> GossipProtocol:
        """A node begins (again), with nothing but its key and its first sequence."""
        key = key_of(name)
        node = id_of(key)
        self._lives[name] = self._lives.get(name, 0) + 1
        rng = Random(f"{self._seed}/{name}/{self._lives[name]}")
        authority = FakeAuthority(key)
        protocol = GossipProtocol(node, key, self.config, authority, rng, self.now, first)
        if node not in self.outputs:
            self.names.append(node)
        self.nodes[node] = protocol
        self.outputs.setdefault(node, [])
        protocol.publish(RecordKind.MEMBER, body, self.now)
        protocol.join([id_of(key_of(seed)) for seed in seeds], self.now)
        self.pump(node)
        return protocol

    def boot(self, count: int) -> None:
        """Nodes 0 to count-1, which all join through node 0."""
        for name in range(count):
            self.start(name, [0] if name else [])

    def node(self, name: int) -> GossipProtocol:
        return self.nodes[id_of(key_of(name))]

    def crash(self, name: int) -> None:
        del self.nodes[id_of(key_of(name))]

    def pump(self, node: NodeId) -> None:
        """Act on a node's outputs, and note when it wants to be called."""
        protocol = self.nodes[node]
        for output in protocol.drain():
            self.outputs[node].append((self.now, output))
            self._trace.update(repr((self.now, node, output)).encode())
            if isinstance(output, SendMessage):
                self._carry(node, output)
        wakeup = protocol.next_wakeup()
        if wakeup is not None:
            self._order += 1
            heapq.heappush(self._wakeups, (max(wakeup.at, self.now), self._order, node))

    def run(self, seconds: float) -> None:
        """Let so much virtual time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, condition: Callable[[], bool], seconds: float) -> float | None:
        """Until `condition` holds, tried every 50 ms: the seconds it took, None if it did not."""
        begun, step = self.now, self.now
        while step <= begun + seconds:
            if condition():
                return self.now - begun
            step += 0.05
            while self._step(step):
                pass
            self.now = step
        return None

    def trace(self) -> str:
        return self._trace.hexdigest()

    def states(self, name: int) -> dict[NodeId, MemberState]:
        """How one node sees the others."""
        return {member.id: member.state for member in self.node(name).members()}

    def sees(self, observer: NodeId, name: int, state: MemberState) -> bool:
        member = self.nodes[observer].member(id_of(key_of(name)))
        return member is not None and member.state is state

    def all_see(self, name: int, state: MemberState) -> bool:
        subject = id_of(key_of(name))
        return all(self.sees(node, name, state) for node in self.nodes if node != subject)

    def converged(self) -> bool:
        """Whether everyone running sees everyone else running as alive."""
        count = len(self.nodes) - 1
        return all(
            sum(m.state is MemberState.ALIVE and m.id in self.nodes for m in p.members()) == count
            for p in self.nodes.values()
        )

    def events(self, name: int, kind: type[Output]) -> list[Output]:
        found = self.outputs[id_of(key_of(name))]
        return [output for _, output in found if isinstance(output, kind)]

    def _carry(self, source: NodeId, message: SendMessage) -> None:
        self.sent += 1
        self.largest = max(self.largest, len(message.payload))
        if self.rng.random() < self.loss or not self.reachable(source, message.to):
            return
        self._order += 1
        at = self.now + self.rng.uniform(0.001, 0.02)
        heapq.heappush(self._heap, (at, self._order, message.to, source, message.payload))

    def _step(self, until: float) -> bool:
        message = self._heap[0][0] if self._heap else float("inf")
        wakeup = self._wakeups[0][0] if self._wakeups else float("inf")
        if min(message, wakeup) > until:
            return False
        self.now = max(self.now, min(message, wakeup))
        if message <= wakeup:
            _, _, to, source, payload = heapq.heappop(self._heap)
            if to in self.nodes:
                try:
                    self.nodes[to].receive(payload, source, self.now)
                except GossipError as error:
                    self.errors.append(error.reason)
                self.pump(to)
            return True
        _, _, node = heapq.heappop(self._wakeups)
        protocol = self.nodes.get(node)
        due = protocol.next_wakeup() if protocol is not None else None
        if protocol is not None and due is not None and due.at <= self.now:
            protocol.handle_timer(self.now)
            self.pump(node)
        return True
