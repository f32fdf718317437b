"""Who answers a stream. An address may front several nodes, so the one that accepts says which it
is; whoever dialled checks that by its certificate, and then shakes hands with that node.

     0      1            3                        n            n + 2
    +------+------------+------------------------+------------+-------------------+
    | 6    | size u16   | CERTIFICATE record     | size u16   | MEMBER record     |
    +------+------------+------------------------+------------+-------------------+

Both are gossip's records, signed by the node. They are as good as if gossip had brought them: an
old or a stolen introduction gives whoever shows it nothing, since the handshake follows.
"""

from __future__ import annotations

import struct

from gossip import DecodeError, GossipProtocol, NodeId, Record, RecordKind
from gossip.records import decode
from meshd.node.errors import RemoteError
from meshd.node.wire import INTRODUCTION

_SIZE = struct.Struct(">H")
_KINDS = (RecordKind.CERTIFICATE, RecordKind.MEMBER)


def introduce(gossip: GossipProtocol, own: NodeId) -> bytes | None:
    """Our introduction; None where our certificate is too large for a record."""
    records = [gossip.record(own, kind) for kind in _KINDS]
    encoded = [record.encode() for record in records if record is not None]
    if len(encoded) < len(_KINDS):
        return None
    return bytes((INTRODUCTION,)) + b"".join(_SIZE.pack(len(one)) + one for one in encoded)


def read_introduction(datagram: bytes) -> tuple[Record, Record]:
    """The certificate record and the node record. Raises RemoteError("introduction") unless they
    are these two of one subject and nothing more; judges no signature."""
    records, at = [], 1
    try:
        for _ in _KINDS:
            (size,) = _SIZE.unpack_from(datagram, at)
            at += _SIZE.size + size
            records.append(decode(datagram[at - size : at]))
    except (struct.error, DecodeError):
        raise RemoteError("introduction") from None
    certificate, member = records
    kinds = (certificate.kind, member.kind)
    if at != len(datagram) or kinds != _KINDS or certificate.subject != member.subject:
        raise RemoteError("introduction")
    return certificate, member
