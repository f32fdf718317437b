"""What a gossip message costs on the network when `meshd` carries it: bytes of IP.

    IPv4 20 | UDP 8 | data header 16 | sealed: entry 4, CBOR [1, message], tag 16
                                                         array 1, type 1, length 1, 2 or 3

The message is one CONTROL entry of a frame of its own (`meshd.node.dialogue`), on a direct path. A
test compares this with the frame that a real session seals.
"""

from __future__ import annotations

from meshd.node.wire import ENTRY_SIZE, HEADER_SIZE, TAG_SIZE
from simulations.conditions import UDP_HEADERS

GOSSIP_OVERHEAD = UDP_HEADERS + HEADER_SIZE + ENTRY_SIZE + 3 + TAG_SIZE
"""Bytes besides a message of less than 24 bytes: 67. One more from 24, two more from 256 bytes."""


def gossip_overhead(size: int) -> int:
    """Bytes of IP that a gossip message of `size` bytes costs besides itself."""
    return GOSSIP_OVERHEAD + (size >= 24) + (size >= 256)
