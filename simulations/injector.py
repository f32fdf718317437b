"""Does to the hosts what a plan says, and undoes it.

What hosts suffer follows from the faults in force alone, so that faults may overlap: a host runs
again when the last of its crashes is over, and reaches another when no cut is left between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from simulations.cluster import Cluster, Host
from simulations.plan import Fault
from simulations.world import Event

KINDS = {
    "crash": "killed, and started again in the end; what was on disk remains",
    "leave": "says goodbye, and is started again in the end",
    "split": "the hosts are dealt into `value` groups that cannot reach each other",
    "cut": "the hosts reach each other, but nobody else",
    "mute": "nothing arrives that the hosts send to `others`, or to anyone",
    "lossy": "everyone: this share of all datagrams is lost",
}
"""Every kind of fault, and what it does. No hosts means all."""


class FaultInjector:
    """Begins and ends faults by the clock of a cluster; `start` boots a host again."""

    def __init__(self, cluster: Cluster, start: Callable[[Host], None]) -> None:
        self.ended_at: dict[int, float] = {}
        """When the last fault of a host ended, by its number."""
        self._cluster = cluster
        self._start = start
        self._calm = cluster.network.conditions
        self._active: dict[int, Fault] = {}
        self._events: list[Event] = []

    @property
    def active(self) -> dict[int, Fault]:
        """The faults in force, by their place in the plan."""
        return dict(self._active)

    def strike(self, faults: Mapping[int, Fault]) -> None:
        """Begin each fault at its time from now on, those at 0 at once.

        Raises ValueError for an unknown kind.
        """
        world = self._cluster.world
        for number, fault in faults.items():
            if fault.kind not in KINDS:
                raise ValueError(f"no fault is called {fault.kind!r}")
            begin = self._beginning(number, fault)
            if fault.at > 0:
                self._events.append(world.after(fault.at, begin))
            else:
                begin()
            if fault.at + fault.lasts < float("inf"):
                event = world.after(fault.at + fault.lasts, self._ending(number))
                self._events.append(event)

    def heal(self) -> None:
        """End every fault that is not final, and begin no other."""
        for event in self._events:
            event.cancel()
        self._events.clear()
        for number in [n for n, fault in self._active.items() if not fault.final]:
            self._end(number)

    def is_ill(self, host: Host) -> bool:
        """Whether a fault of its own is upon `host`; a fault that strikes everyone is nobody's."""
        return any(host.number in fault.hosts for fault in self._active.values())

    def _beginning(self, number: int, fault: Fault) -> Callable[[], None]:
        def begin() -> None:
            self._active[number] = fault
            self._apply(number, fault, "fault")

        return begin

    def _ending(self, number: int) -> Callable[[], None]:
        return lambda: self._end(number)

    def _end(self, number: int) -> None:
        fault = self._active.pop(number, None)
        if fault is not None:
            self.ended_at.update(dict.fromkeys(fault.hosts, self._cluster.world.now))
            self._apply(number, fault, "end of fault")

    def _apply(self, number: int, fault: Fault, what: str) -> None:
        world = self._cluster.world
        world.trace.record(world.now, what, number, fault)
        if fault.kind in ("crash", "leave"):
            self._stop_or_start(fault)
        elif fault.kind == "lossy":
            self._lose()
        else:
            self._cut()

    def _hosts(self, fault: Fault) -> list[Host]:
        hosts = self._cluster.hosts
        return [hosts[number] for number in fault.hosts] if fault.hosts else list(hosts)

    def _stop_or_start(self, fault: Fault) -> None:
        down = {
            number
            for other in self._active.values()
            if other.kind in ("crash", "leave")
            for number in other.hosts
        }
        for host in self._hosts(fault):
            if host.number not in down:
                if host.machine is None:
                    self._start(host)
            elif host.machine is not None:
                (self._cluster.leave if fault.kind == "leave" else self._cluster.crash)(host)

    def _lose(self) -> None:
        network = self._cluster.network
        shares = [fault.value for fault in self._active.values() if fault.kind == "lossy"]
        loss = max([self._calm.loss, *shares])
        network.conditions = replace(network.conditions, loss=loss)

    def _cut(self) -> None:
        """Cut the network by all splits and cuts at once: two hosts meet if all let them."""
        sides: dict[int, tuple[int, ...]] = {host.number: () for host in self._cluster.hosts}
        self._cluster.heal()
        muted = False
        for fault in self._active.values():
            if fault.kind == "split":
                place = {number: at for at, number in enumerate(fault.hosts)}
                for number in sides:
                    sides[number] += (place.get(number, 0) % max(1, int(fault.value)),)
            elif fault.kind == "cut":
                for number in sides:
                    sides[number] += (int(number in fault.hosts),)
            elif fault.kind == "mute":
                muted = True
                self._mute(fault)
        groups: dict[tuple[int, ...], list[Host]] = {}
        for number, side in sides.items():
            groups.setdefault(side, []).append(self._cluster.hosts[number])
        if muted or len(groups) > 1:
            self._cluster.split(list(groups.values()))

    def _mute(self, fault: Fault) -> None:
        hosts = self._cluster.hosts
        others = [hosts[number] for number in fault.others] or hosts
        for host in self._hosts(fault):
            for other in others:
                if other is not host:
                    self._cluster.network.block(host.endpoint[0], other.endpoint[0])
