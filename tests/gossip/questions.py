"""Lookup messages as tests write them, and a town of nodes that know each other."""

from __future__ import annotations

from gossip import messages
from gossip.events import LookupDone, SendMessage
from gossip.ids import NodeId
from gossip.items import RecordItem, encode_item
from gossip.members import MemberState
from gossip.protocol import GossipProtocol
from gossip.queries import Query
from gossip.records import Record, RecordKind

from .cluster import Cluster, id_of, key_of, record_of

KEY, OTHER = b"k" * 16, b"o" * 16
ALICE = id_of(key_of("alice"))


def items_of(records: list[Record]) -> list[bytes]:
    return [encode_item(RecordItem(record, MemberState.ALIVE)) for record in records]


def message(body: Query, *records: Record) -> bytes:
    return messages.encode(1, body, items_of(list(records)))


def owned(name: int | str, sequence: int = 1, key: bytes = KEY) -> list[Record]:
    return [record_of(name, sequence, RecordKind.CERTIFICATE, key), record_of(name, sequence)]


def sent(protocol: GossipProtocol, kind: type[Query]) -> list[tuple[NodeId, messages.Envelope]]:
    """What it has just sent of one kind; the other outputs are dropped."""
    found = []
    for output in protocol.drain():
        if isinstance(output, SendMessage):
            envelope = messages.decode(output.payload)
            if isinstance(envelope.body, kind):
                found.append((output.to, envelope))
    return found


def done(protocol: GossipProtocol) -> list[LookupDone]:
    return [output for output in protocol.drain() if isinstance(output, LookupDone)]


def town(count: int = 10) -> Cluster:
    """Nodes that know each other; number 7 owns KEY."""
    cluster = Cluster()
    cluster.boot(count)
    seven = cluster.node(7)
    seven.publish(RecordKind.CERTIFICATE, KEY, cluster.now)
    seven.announce([KEY], cluster.now)
    cluster.run(10)
    assert cluster.converged()
    return cluster
