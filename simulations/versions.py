"""A host of the next protocol version, among those of today: what these must bear with.

How versions meet: a record of an unknown kind is verified, kept and passed on, never acted on. A
message of an unknown version or type, or with an item of an unknown type, is refused and counted,
and changes nothing. So the next version may publish new kinds of records at once; new messages it
may send to those only of whom it knows that they understand (by their records), and it must bear
with those who do not answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossip import messages
from simulations.adversaries import Adversary

FUTURE_KIND: Final = 9
FUTURE_TYPE: Final = 200
FUTURE_REASONS: Final = ("version", "message-type", "item-type")
"""How today's gossip counts what it does not understand."""

_FUTURE_ITEM: Final = bytes((77, 0, 3)) + b"new"


class NextVersion(Adversary):
    """Publishes records of a new kind, and forgets that not everyone knows its new messages.

    It is honest, but as much of a stranger to the others as an adversary.
    """

    def start(self, seeds: Sequence[int], now: float) -> None:
        """Join, and say something new."""
        super().start(seeds, now)
        self.inner.protocol.publish(FUTURE_KIND, b"a capability of the next version", now)

    def attack(self, now: float) -> None:
        """Send a new type, a new version and a new item to some."""
        known = messages.encode(0, messages.Gossip())
        strange = (
            bytes((known[0], FUTURE_TYPE)) + known[2:] + b"?",
            bytes((known[0] + 1,)) + known[1:],
            known + _FUTURE_ITEM,
        )
        for victim, payload in zip(self.victims(), strange, strict=False):
            self.send(victim, payload)
