"""Perhaps they are not dead; perhaps it is this node that is cut off.

SWIM takes failures to be independent. When many members turn suspect at once, or nothing at all
is heard any more, a failure of this node's own network is the likelier cause: verdicts then wait,
for at most one longest suspicion, while healing begins. (consul#5567 and dskit#1034 tell what
happens otherwise.)
"""

from __future__ import annotations

from gossip import suspicion
from gossip.config import GossipConfig
from gossip.members import MemberState, MemberTable


class IsolationGuard:
    """Fed with every probe that ends and every message that arrives."""

    def __init__(self, config: GossipConfig, members: MemberTable) -> None:
        self._config = config
        self._members = members
        self._failures = 0
        self._since: float | None = None

    @property
    def isolated(self) -> bool:
        """Whether this node takes itself to be cut off."""
        return self._since is not None

    def heard(self) -> None:
        """A message of another node arrived."""
        self._failures = 0

    def probe_failed(self) -> None:
        """A probe ended without any answer, not even a nack."""
        self._failures += 1

    def evaluate(self, now: float) -> bool:
        """Judge anew; whether isolation begins at this instant."""
        if not self._looks_isolated():
            self._since = None
        elif self._since is None:
            self._since = now
            return True
        return False

    def verdicts_wait_until(self) -> float | None:
        """When verdicts may be spoken again, or None if they need not wait."""
        if self._since is None:
            return None
        return self._since + suspicion.longest(self._config, self._members.live + 1)

    def _looks_isolated(self) -> bool:
        if not self._config.policy.isolation_guard:
            return False
        live = self._members.live
        suspects = self._members.count(MemberState.SUSPECT)
        many = suspects >= self._config.isolation_min_suspects
        if many and suspects > self._config.isolation_fraction * live:
            return True
        return live >= 2 and self._failures >= self._config.isolation_failures
