"""How long a suspicion lasts (Lifeguard, section IV.B)."""

from __future__ import annotations

import math

from gossip.config import GossipConfig


def shortest(config: GossipConfig, members: int) -> float:
    """Min = alpha * max(1, log10 n) * T, in seconds."""
    return config.suspicion_alpha * max(1.0, math.log10(max(1, members))) * config.probe_period


def longest(config: GossipConfig, members: int) -> float:
    """Max = beta * Min, in seconds."""
    return config.suspicion_beta * shortest(config, members)


def timeout(config: GossipConfig, members: int, confirmations: int) -> float:
    """max(Min, Max - (Max - Min) * ln(C + 1) / ln(K + 1)), in seconds.

    `members` counts this node and the suspect; `confirmations` (C) the independent accusers after
    the first. With too few others to confirm anything, it is Min at once, as in memberlist.
    """
    low = shortest(config, members)
    enough = config.suspicion_confirmations
    if enough == 0 or members - 2 < enough:
        return low
    high = config.suspicion_beta * low
    return max(low, high - (high - low) * math.log(confirmations + 1) / math.log(enough + 1))
