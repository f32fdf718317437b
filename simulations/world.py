"""A virtual clock with one queue of events, and randomness by name.

Nothing here, or in anything that it runs, reads a real clock or real entropy: a seed decides a run
wholly. Events at the same time run in the order in which they were scheduled.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

from simulations.trace import Trace


class Event:
    """A scheduled action; `cancel` makes it do nothing."""

    __slots__ = ("_action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Forget the action; a second call, or one after it ran, changes nothing."""
        self._action = None

    @property
    def cancelled(self) -> bool:
        """Whether nothing is left to do: it was cancelled, or has run."""
        return self._action is None

    def run(self) -> bool:
        """Run the action once; False if it was cancelled or has run."""
        action, self._action = self._action, None
        if action is None:
            return False
        action()
        return True


class World:
    """Virtual time in seconds from 0, the queue of what is to happen, and the streams of chance."""

    def __init__(self, seed: int, trace: Trace | None = None) -> None:
        self.seed = seed
        self.now = 0.0
        self.trace = trace or Trace()
        self.events_run = 0
        # An entry is (time, order, action, its arguments); None for arguments: the action is an
        # `Event`. Orders differ, so that a comparison never comes to the actions.
        self._queue: list[tuple[float, int, Any, tuple[Any, ...] | None]] = []
        self.horizon = 0.0
        """Until when it has been asked to run, so far."""
        self._scheduled = 0

    def stream(self, name: str) -> Random:
        """A source of randomness that depends on the seed and `name` alone.

        Each part draws from its own, so that a new draw in one shifts nothing in another.
        """
        return Random(f"{self.seed}/{name}")

    def at(self, time: float, action: Callable[[], None]) -> Event:
        """Run `action` at virtual `time`, or next if that has passed."""
        event = Event(action)
        self._scheduled = order = self._scheduled + 1
        heapq.heappush(self._queue, (max(time, self.now), order, event, None))
        return event

    def after(self, delay_s: float, action: Callable[[], None]) -> Event:
        """Run `action` after `delay_s` seconds."""
        return self.at(self.now + delay_s, action)

    def post(self, time: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call `action` with `arguments` at virtual `time`, which has not passed; for good.

        The cheap way, for what happens once per datagram.
        """
        self._scheduled = order = self._scheduled + 1
        heapq.heappush(self._queue, (time, order, action, arguments))

    def step(self) -> bool:
        """Run the next event; False if nothing is left to happen."""
        while self._queue:
            self.now, _, action, arguments = heapq.heappop(self._queue)
            if arguments is not None:
                action(*arguments)
            elif not action.run():
                continue
            self.events_run += 1
            return True
        return False

    def run_until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Run until `condition` holds, tested after every event, or until time `deadline`.

        Returns whether it holds. If not, the clock stands at `deadline`.
        """
        self.horizon = max(self.horizon, deadline)
        while not condition():
            self._discard_cancelled()
            if not self._queue or self._queue[0][0] > deadline:
                self.now = max(self.now, deadline)
                return False
            self.step()
        return True

    def run_for(self, duration_s: float) -> None:
        """Run everything of the next `duration_s` seconds."""
        deadline = self.now + duration_s
        self.horizon = max(self.horizon, deadline)
        queue, pop = self._queue, heapq.heappop
        while queue:
            event = pop(queue)
            time, _, action, arguments = event
            if time > deadline:
                heapq.heappush(queue, event)
                break
            self.now = time
            if arguments is not None:
                action(*arguments)
            elif not action.run():
                continue
            self.events_run += 1
        self.now = max(self.now, deadline)

    def _discard_cancelled(self) -> None:
        while self._queue and self._queue[0][3] is None and self._queue[0][2].cancelled:
            heapq.heappop(self._queue)
