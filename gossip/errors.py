"""What a gossip library can refuse.

GossipError           a message, a record or a call was refused; nothing was changed
└── DecodeError       bytes that are not what they should be

`reason` is a short key of `a-z` and `-` from a fixed set, fit to be a counter's label: it never
holds anything that a peer chose.
"""

from __future__ import annotations


class GossipError(ValueError):
    """Refused, and no state was changed."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class DecodeError(GossipError):
    """Bytes that do not decode."""

    def __init__(self, detail: str, reason: str = "malformed") -> None:
        super().__init__(reason, detail)
