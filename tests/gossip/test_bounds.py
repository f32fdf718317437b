"""Whatever others send, nothing that a node keeps grows beyond its bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sized
from dataclasses import fields, is_dataclass
from random import Random

from gossip import messages
from gossip.config import GossipConfig
from gossip.errors import GossipError
from gossip.ids import NodeId
from gossip.items import Item, RecordItem, accuse, encode_item, equivocation
from gossip.members import MemberState
from gossip.messages import Ack, Body, Buckets, Gossip, Nack, Ping, PingRequest, Records, Want
from gossip.protocol import GossipProtocol
from gossip.records import RecordKind

from .cluster import FakeAuthority, id_of, key_of, protocol_of, record_of

LIMIT = 24
CONFIG = GossipConfig(
    max_members=LIMIT,
    queue_limit=LIMIT,
    max_outputs=LIMIT,
    max_relayed_probes=LIMIT,
    packet_size=1150,
)
LARGEST = 16 * LIMIT
"""Above every bound of the configuration, and what follows from it (kinds per subject)."""
FIXED = {"_strangers": 1024, "_heap": 3 * 1024, "_order": 1024, "hashes": 128, "_hashes": 128}
"""Bounds that no configuration moves: constants of the modules."""


def containers(value: object, path: str, seen: dict[int, object]) -> Iterator[tuple[str, int]]:
    """Every list, dict, set and deque that can be reached, by path, with its size."""
    marker = builtin_id(value)
    if marker in seen or isinstance(value, str | bytes | int | float | type(None)):
        return
    seen[marker] = value
    if isinstance(value, list | dict | set | deque) and isinstance(value, Sized):
        yield path, len(value)
    if isinstance(value, dict):
        for key, inner in list(value.items()):
            yield from containers(inner, f"{path}[{type(key).__name__}]", seen)
    elif isinstance(value, list | tuple | set | deque):
        for inner in value:
            yield from containers(inner, f"{path}[]", seen)
    elif type(value).__module__.startswith("gossip"):
        names = list(getattr(value, "__dict__", {}))
        if is_dataclass(value):
            names += [field.name for field in fields(value)]
        for name in names:
            yield from containers(getattr(value, name), f"{path}.{name}", seen)


builtin_id = id


def anything(rng: Random, attackers: int) -> tuple[Body, list[Item]]:
    """A well-formed message of somebody who means no good."""
    name = rng.randrange(attackers)
    node = id_of(key_of(rng.randrange(attackers)))
    some = NodeId(rng.randbytes(16))
    bodies: list[Body] = [
        Ping(rng.getrandbits(32)),
        Ack(rng.getrandbits(32), rng.getrandbits(64)),
        PingRequest(rng.getrandbits(32), rng.choice([node, some])),
        Nack(rng.getrandbits(32)),
        Gossip(),
        Records(),
        Want(((rng.randrange(16), rng.choice([node, some])),)),
        Buckets(tuple(rng.getrandbits(2) for _ in range(128))),
    ]
    body = rng.choice(bodies)
    if isinstance(body, Want | Buckets):
        return body, []
    kind, sequence = rng.randrange(16), rng.randrange(1, 2000)
    gone = rng.random() < 0.3
    items: list[Item] = [
        RecordItem(
            record_of(name, sequence, kind, rng.randbytes(4), withdrawn=gone),
            rng.choice(list(MemberState)),
        ),
        RecordItem(record_of(name, sequence + 1, RecordKind.MEMBER), MemberState.ALIVE),
        accuse(FakeAuthority(key_of(name)), id_of(key_of(name)), node, rng.randrange(2000)),
    ]
    proof = equivocation(*(record_of(name, sequence, kind, body) for body in (b"x", b"y")))
    if proof is not None:
        items.append(proof)
    return body, items


def flood(protocol: GossipProtocol, count: int, seed: int) -> None:
    rng = Random(seed)
    attackers = 6 * LIMIT
    now = 0.0
    for turn in range(count):
        now += rng.choice([0.0, 0.001, 0.3])
        sender = id_of(key_of(rng.randrange(attackers)))
        body, items = anything(rng, attackers)
        message = messages.encode(rng.randrange(2000), body, [encode_item(i) for i in items])
        try:
            protocol.receive(message, sender, now)
        except GossipError as error:
            raise AssertionError(f"turn {turn}: {error}") from error
        protocol.handle_timer(now)
        if turn % 7 == 0:
            protocol.drain()


def test_a_flood_of_well_formed_messages_fills_nothing_beyond_its_bound() -> None:
    protocol = protocol_of("victim", CONFIG)
    protocol.publish(RecordKind.MEMBER, b"here", 0.0)
    flood(protocol, 3000, seed=1)
    protocol.drain()
    sizes = list(containers(protocol, "protocol", {}))
    assert len(sizes) > 50
    beyond = [
        (path, size)
        for path, size in sizes
        if size > FIXED.get(path.rpartition(".")[2].partition("[")[0], LARGEST)
    ]
    assert beyond == []
    statistics = protocol.statistics()
    members = statistics.alive + statistics.suspect + statistics.dead + statistics.left
    assert members <= LIMIT
    assert statistics.records <= 16 * LIMIT
    assert max(statistics.queued) <= LIMIT
    assert statistics.refused["table-full"] > 0


def test_messages_that_wait_to_be_drained_are_bounded_and_the_rest_is_counted() -> None:
    protocol = protocol_of("victim", CONFIG)
    for count in range(20 * LIMIT):
        protocol.receive(messages.encode(0, Ping(count)), id_of(key_of(1)), 0.0)
    assert len(protocol.drain()) == LIMIT
    assert protocol.statistics().outputs_dropped >= 19 * LIMIT
