"""A process that does not get the time it needs: stopped, cut off from its sockets, or slow.

Without one of these a host's machine handles each input at the instant it comes. What happens in a
real host meanwhile (Lifeguard's anomalies, Dadgar et al. 2017, section 5; `kill -STOP`):

- stopped: datagrams wait in the socket's buffer until it is full, timers fire late. Then it takes
  turns as the daemon's pump does: a few datagrams, what is due, the next few.
- held: it runs, and its timers are on time, but what it sends and receives waits.
- slow: each input costs time before it has any effect; others wait behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from simulations.nat import Endpoint
from simulations.world import World

BUFFER_BYTES = 212_992
"""What waits for a stopped process: Linux' net.core.rmem_default."""
DATAGRAM_COST = 768
"""What a waiting datagram is charged besides its bytes: about Linux' `struct sk_buff`."""
TURN = 8
"""Datagrams that are taken before the timers are looked at again, as the pump does."""
INPUT_S = 0.000_05
"""What one input costs a process of speed 1: about what gossip takes for a message here."""


class Process:
    """Stands before a machine: `handle` gives it a datagram, `wake` does what is due."""

    def __init__(
        self,
        world: World,
        handle: Callable[[bytes, Endpoint], None],
        wake: Callable[[], None],
    ) -> None:
        self.stopped = False
        self.held = False
        self.cost_s = 0.0
        self.dropped = 0
        """Datagrams that found the socket's buffer full."""
        self._world = world
        self._handle = handle
        self._wake = wake
        self._waiting: deque[tuple[bytes, Endpoint]] = deque()
        self._waiting_bytes = 0
        self._outbox: deque[Callable[[], None]] = deque()
        self._overdue = False
        self._turn = 0
        self._busy = False
        self._ended = False

    @property
    def normal(self) -> bool:
        """Whether inputs are handled as they come: nothing is wrong, and nothing waits."""
        ill = self.stopped or self.held or self.cost_s
        return not (ill or self._waiting or self._outbox or self._overdue or self._busy)

    @property
    def waiting(self) -> int:
        """Datagrams in the socket's buffer."""
        return len(self._waiting)

    def receive(self, payload: bytes, source: Endpoint) -> None:
        """A datagram has arrived at the socket; a full buffer drops it."""
        charge = len(payload) + DATAGRAM_COST
        if self._waiting_bytes + charge > BUFFER_BYTES:
            self.dropped += 1
            return
        self._waiting.append((payload, source))
        self._waiting_bytes += charge
        self.go_on()

    def due(self) -> None:
        """The time has come that a timer was set for."""
        self._overdue = True
        self.go_on()

    def send(self, action: Callable[[], None]) -> None:
        """Let a datagram out, or keep it while the sockets are held."""
        if self.held and (len(self._outbox) + 1) * DATAGRAM_COST <= BUFFER_BYTES:
            self._outbox.append(action)
        elif not self.held:
            action()

    def end(self) -> None:
        """The process was killed: nothing that waits is handled."""
        self._ended = True
        self._outbox.clear()

    def go_on(self) -> None:
        """Handle what waits, as far as the process may run now."""
        while self._outbox and not self.held:
            self._outbox.popleft()()
        while not (self.stopped or self._busy or self._ended) and self._pending():
            if self.cost_s:
                self._busy = True
                self._world.post(self._world.now + self.cost_s, self._finish)
            else:
                self._take()

    def _pending(self) -> bool:
        return self._overdue or (bool(self._waiting) and not self.held)

    def _finish(self) -> None:
        self._busy = False
        if not (self.stopped or self._ended) and self._pending():
            self._take()
        self.go_on()

    def _take(self) -> None:
        readable = self._waiting and not self.held
        if readable and (self._turn < TURN or not self._overdue):
            self._turn += 1
            payload, source = self._waiting.popleft()
            self._waiting_bytes -= len(payload) + DATAGRAM_COST
            self._handle(payload, source)
        else:
            self._turn, self._overdue = 0, False
            self._wake()
