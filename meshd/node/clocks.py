"""Whether clocks are too far apart for streams, and whose is wrong.

Tokens of streams have a time (see `visiting`), and who is wrong about it gets the website: nothing
there says so. UDP minds no clock, but the counter of an initiation is the Unix time in nanoseconds
of whoever calls, or a little more after a restart. So members that call by UDP tell the time.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Final

from gossip import NodeId
from meshd.node.visiting import TOLERANCE

MAX_CLOCKS: Final = 64
"""Members whose last word counts."""
NANOSECOND: Final = 1e-9


class Clocks:
    """What members say, by their calls."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[NodeId, tuple[int, float]] = {}
        """Their last counter, and when it came; the last who called is the last."""

    def heard(self, node: NodeId, counter: int, now: float) -> None:
        """A member has called with this counter, just now. Where it goes on counting from a time
        that its clock once had by mistake, it tells nothing."""
        last, at = self._calls.pop(node, (0, now))
        if (counter - last) * NANOSECOND < (now - at) / 2:
            return
        if len(self._calls) >= MAX_CLOCKS:
            del self._calls[next(iter(self._calls))]
        self._calls[node] = counter, now

    def notices(self, unix_offset: float, name: Callable[[NodeId], str]) -> list[str]:
        """For `status`, where our Unix time less our monotonic time is `unix_offset`: a sentence if
        our clock is wrong, or else about somebody's."""
        ahead = {
            node: counter * NANOSECOND - at - unix_offset
            for node, (counter, at) in self._calls.items()
        }
        wrong = [node for node, by in ahead.items() if abs(by) > TOLERANCE]
        if not wrong:
            return []
        if len(wrong) * 2 > len(ahead) > 1:
            by = median(ahead[node] for node in wrong)
            return [
                f"this host's clock is {_seconds(-by)} those of {len(wrong)} of {len(ahead)} "
                "members: set it, or no stream (TLS) joins it to them where UDP is blocked"
            ]
        worst = max(wrong, key=lambda node: abs(ahead[node]))
        return [
            f'the clock of "{name(worst)}" is {_seconds(ahead[worst])} that of this host: while '
            "they differ, no stream (TLS) joins the two where UDP is blocked"
        ]


def _seconds(by: float) -> str:
    return f"{abs(by):.0f} s {'ahead of' if by > 0 else 'behind'}"
