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
