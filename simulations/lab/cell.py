"""One cell of the matrix: two nodes, each at its site, and how soon they reach each other by what.

              public             in the open: the mesh's founder, and whom to relay through
                |
            internet             a few milliseconds away from everybody
            /      \\
         site      site
          |          |
        left       right         left is up; the clock runs from right's ``meshd up``
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from simulations.lab.enrolled import LEFT, PUBLIC, RIGHT, Enrolled
from simulations.lab.host import Host
from simulations.lab.mesh import views
from simulations.lab.namespaces import Lab
from simulations.lab.ping import Pinger
from simulations.lab.sites import Site, expected, settle
from simulations.lab.topology import Internet
from simulations.lab.waiting import LabError, wait_until
from simulations.lab.wan import Line

LINE = Line(delay_ms=2.0)
"""Of everybody: a round trip takes four times that."""
READY_S = 15.0
"""How long left may take to reach the public node."""
FIRST_S, DIRECT_S = 3.0, 5.0
"""Targets, counted from right's ``meshd up``: the first answer, and the direct path."""
GIVE_UP_S = 15.0
PING_S, LOOK_S = 0.03, 0.2
"""Seconds between two looks: while it is measured, and afterwards."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of it. `way` is what both ends say, or the left one's and the right one's."""

    left: Site
    right: Site
    way: str
    first_s: float | None = None
    """Until the first ping was answered, either way."""
    settled_s: float | None = None
    """Until both ends used the way that they used at the end."""
    problem: str = ""

    @property
    def expected(self) -> str:
        """The kind of path that there is to be."""
        return expected(self.left, self.right)

    def faults(self, patience: float = 1.0) -> list[str]:
        """What is not as it is to be, in words; times may be ``patience`` times as long."""
        if self.problem:
            return [self.problem]
        faults = []
        if self.way != self.expected:
            faults.append(f"{self.way} instead of {self.expected}")
        if self.first_s is None:
            faults.append("no ping was answered")
        elif self.first_s > FIRST_S * patience:
            faults.append(f"first answer after {self.first_s:.1f} s")
        late = self.settled_s is not None and self.settled_s > DIRECT_S * patience
        if self.way == self.expected == "direct" and late:
            faults.append(f"direct after {self.settled_s:.1f} s")
        return faults


class Play:
    """One cell as it is played: `prepare`, `measure`, `observe`, `close`. No step raises: what
    fails is the cell's problem, and the steps after it do nothing.

    Only `measure` needs the machine for itself, so that no other start is part of its times.
    """

    def __init__(self, mesh: Enrolled, left: Site, right: Site) -> None:
        self._mesh = mesh
        self._sites = left, right
        self._wanted = (expected(left, right),) * 2
        self._closing = contextlib.ExitStack()
        self._problem = ""
        self._began = 0.0
        self._first: float | None = None
        self._settled: float | None = None
        self._ways = ("-", "-")
        self.stopped = False
        """Set when nobody waits for the cell any more: it ends soon."""

    @property
    def cell(self) -> Cell:
        """What came of it so far."""
        one, other = self._ways
        used = one if one == other else f"{one}/{other}"
        return Cell(*self._sites, used, self._first, self._settled, self._problem)

    def prepare(self) -> None:
        """Build the network; the public node and left come up and meet."""
        with self._failing():
            lab = self._closing.enter_context(Lab())
            internet = Internet(lab, ipv6=True, line=LINE)
            public = self._mesh.wake(lab, internet.host(PUBLIC))
            places = settle(internet, *self._sites)
            self._left, self._right = (self._mesh.wake(lab, place) for place in places)
            for host in (public, self._left):
                host.start()
            for host in (public, self._left):
                host.wait_up(READY_S)
            wait_until(self._is_ready, "left to reach the public node", READY_S, interval_s=0.2)
            self._here = self._closing.enter_context(Pinger(self._left.namespace))
            self._there = self._closing.enter_context(Pinger(self._right.namespace))

    def measure(self) -> None:
        """Start right; until there is an answer and the wanted way, or both are late."""
        if self._problem:
            return
        self._right.start()
        self._began = time.monotonic()
        while not self.stopped and not self._is_there and (now := self._look()) < DIRECT_S:
            if self._first is None and now > FIRST_S + 1:
                return

    def observe(self) -> None:
        """Go on until there is the wanted way, and as long as a better one may yet come."""
        with self._failing():
            if self._problem:
                return
            patience = 0.0 if self._wanted[0] == "direct" else DIRECT_S
            now = self._look()
            while not self.stopped and now < (patience if self._is_there else GIVE_UP_S):
                time.sleep(LOOK_S)
                now = self._look()
            if self._right.daemon is not None and self._right.daemon.poll() is not None:
                raise LabError(f"right: meshd up ended: {self._right.last_log_line()}")

    def close(self) -> None:
        """Take everything down."""
        self._closing.close()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except LabError as error:
            self._problem = str(error)

    def _is_ready(self) -> bool:
        if self.stopped:
            raise LabError("stopped")
        return way(self._left, PUBLIC) != "-"

    @property
    def _is_there(self) -> bool:
        return self._first is not None and self._ways == self._wanted

    def _look(self) -> float:
        """Ping both ways once, ask both ends for their way; the seconds since the start."""
        asked = ((self._there, LEFT), (self._here, RIGHT))
        answers = [pinger.ping(self._mesh.addresses[name], PING_S) for pinger, name in asked]
        if self._first is None and any(answer is not None for answer in answers):
            self._first = time.monotonic() - self._began
        before, self._ways = self._ways, (way(self._left, RIGHT), way(self._right, LEFT))
        if self._ways != before:
            self._settled = time.monotonic() - self._began
        time.sleep(PING_S)
        return time.monotonic() - self._began


def way(host: Host, peer: str) -> str:
    """The kind of path that ``host`` uses to the member of this name, or ``-``."""
    status = host.status()
    view = views(status).get(peer) if status else None
    return (view.kind if view else None) or "-"
