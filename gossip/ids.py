"""The name of a node, as gossip sees it: 16 bytes that nobody but their owner can sign for."""

from __future__ import annotations

from typing import Final, NewType

NodeId = NewType("NodeId", bytes)
"""16 bytes. Its text form is 32 lowercase hexadecimal digits (`node.hex()`)."""

NODE_ID_SIZE: Final = 16
KEY_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64

MAX_SEQUENCE: Final = 2**63 - 1
"""No record goes above it, so that `accused + 1` always fits the u64 on the wire."""

MAX_JUMP: Final = 2**40
"""No record is taken whose sequence is further above the last one known (0 where none is).

Unix times in seconds fit below it for 30,000 years, and who wants to use up the number space of a
key, be it a thief's, needs 8 million records that all others have taken."""
