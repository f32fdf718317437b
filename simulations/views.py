"""Who sees whom as alive, against who should: how many views are wrong, known at every event.

A host should see every other that runs on its side of all splits. One with a partial view need not
see them all, but nobody else, and somebody. One-way blocks are left out: whoever is blocked from
one host only is alive to it, by others' help.

Nothing is kept by pair of hosts but what they see: how many should be seen follows from how many
run on each side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gossip.ids import NodeId
from simulations.host import Host


@dataclass(slots=True)
class _Side:
    running: int = 0
    full: int = 0
    """Those with a full view."""
    lonely: int = 0
    """Those with a partial view who see nobody that is there."""

    @property
    def owed(self) -> int:
        """The views that are wrong if nobody with a full view sees anyone."""
        return self.full * (self.running - 1) + (self.lonely if self.running > 1 else 0)


@dataclass(slots=True)
class _View:
    host: Host
    side: int
    right: int = 0
    """How many of `host.alive` it should see."""
    partial: bool = False


class Views:
    """Told of every start, stop, sight and cut; `side(host)` is a number per side of the splits."""

    def __init__(self, hosts: Mapping[NodeId, Host], side: Callable[[Host], int]) -> None:
        self._hosts = hosts
        self._side_of = side
        self._views: dict[int, _View] = {}  # of running hosts, by number
        self._sides: dict[int, _Side] = {}
        self._balance = 0

    @property
    def wrong(self) -> int:
        """Pairs of a host and another that it should see and does not, or sees and should not."""
        return self._balance + sum(side.owed for side in self._sides.values())

    def started(self, host: Host) -> None:
        """`host` runs now, and sees nobody yet."""
        view = self._views[host.number] = _View(host, self._side_of(host))
        self._sides.setdefault(view.side, _Side()).running += 1
        self._count(view, 1)
        self._shift(host, view.side, 1)

    def stopped(self, host: Host) -> None:
        """`host` runs no more."""
        view = self._views.pop(host.number, None)
        if view is None:
            return
        self._count(view, -1)
        self._sides[view.side].running -= 1
        for identity in host.alive:
            if identity in self._hosts:
                self._hosts[identity].seen_by.discard(host.number)
        host.alive.clear()
        self._shift(host, view.side, -1)

    def saw(self, host: Host, member: NodeId, alive: bool) -> None:
        """`host` takes `member` to be alive, or no longer."""
        view = self._views[host.number]
        self._count(view, -1)
        view.partial = host.machine is not None and host.machine.is_partial
        if alive is not (member in host.alive):
            (host.alive.add if alive else host.alive.discard)(member)
            other = self._hosts.get(member)
            if other is not None:
                (other.seen_by.add if alive else other.seen_by.discard)(host.number)
                seen = self._views.get(other.number)
                if seen is not None and seen.side == view.side:
                    view.right += 1 if alive else -1
        self._count(view, 1)

    def cut(self) -> None:
        """The sides have changed."""
        self._balance = 0
        self._sides.clear()
        for view in self._views.values():
            view.side = self._side_of(view.host)
            self._sides.setdefault(view.side, _Side()).running += 1
        for view in self._views.values():
            others = (self._hosts.get(identity) for identity in view.host.alive)
            seen = (self._views.get(other.number) for other in others if other is not None)
            view.right = sum(other is not None and other.side == view.side for other in seen)
            self._count(view, 1)

    def expected(self, host: Host) -> list[Host]:
        """Whom a running host should see, or may see if its view is partial."""
        own = self._views.get(host.number)
        if own is None:
            return []
        same = (view for view in self._views.values() if view.side == own.side)
        return [view.host for view in same if view is not own]

    def _shift(self, host: Host, side: int, change: int) -> None:
        """`host` has come to a side, or has gone: those who see it are right, or no longer."""
        for number in host.seen_by:
            view = self._views.get(number)
            if view is not None and view.side == side:
                self._count(view, -1)
                view.right += change
                self._count(view, 1)

    def _count(self, view: _View, sign: int) -> None:
        """Add what `view` contributes to `wrong`, or take it away before it changes."""
        side, alive = self._sides[view.side], len(view.host.alive)
        if view.partial:
            self._balance += sign * (alive - view.right)
            side.lonely += sign * (not view.right)
        else:
            self._balance += sign * (alive - 2 * view.right)
            side.full += sign
