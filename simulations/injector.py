"""Does to the hosts what a plan says, and undoes it.

What hosts suffer follows from the faults in force alone, so that faults may overlap: a host runs
again when the last of its crashes is over, and reaches another when no cut is left between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from simulations.cluster import Cluster, Host
from simulations.plan import Fault

KINDS: Final = {
    "crash": "killed, and started again in the end; what was on disk remains",
    "crash-lost": "the same, but the disk is lost",
    "crash-old": "the same, but the disk is as it was at the last boot",
    "leave": "says goodbye, and is started again in the end",
    "split": "the hosts are dealt into `value` groups that cannot reach each other",
    "cut": "the hosts reach each other, but nobody else",
    "mute": "nothing arrives that the hosts send to `others`, or to anyone",
    "lossy": "this share of all datagrams that the hosts send or are sent is lost",
    "pause": "the process stands still, as after SIGSTOP",
    "hold": "the process runs, but what it sends and receives waits",
    "slow": "every input costs `value` times 50 us",
    "jump": "the clock jumps ahead by `value` seconds",
    "drift": "the clock gains `value` seconds per second",
    "move": "the host has another address from now on",
}
"""Every kind of fault, and what it does. No hosts means all."""

_DOWN: Final = ("crash", "crash-lost", "crash-old", "leave")
_CUTS: Final = ("split", "cut", "mute")


class FaultInjector:
    """Begins and ends faults by the clock of a cluster; `start` boots a host again."""

    def __init__(self, cluster: Cluster, start: Callable[[Host], None]) -> None:
        self.ended_at: dict[int, float] = {}
        """When the last fault of a host ended, by its number."""
        self._cluster = cluster
        self._start = start
        self._calm = cluster.network.conditions
        self._active: dict[int, Fault] = {}
        self._healing = 0
        self._moves = 0

    @property
    def active(self) -> dict[int, Fault]:
        """The faults in force, by their place in the plan."""
        return dict(self._active)

    def strike(self, faults: Mapping[int, Fault]) -> None:
        """Begin each fault at its time from now on, those at 0 at once.

        Raises ValueError for an unknown kind.
        """
        for number, fault in faults.items():
            if fault.kind not in KINDS:
                raise ValueError(f"no fault is called {fault.kind!r}")
            self._later(fault.at, self._beginning(number, fault))
            if fault.at + fault.lasts < float("inf"):
                self._later(fault.at + fault.lasts, partial(self._end, number))

    def heal(self) -> None:
        """End every fault that is not final, and begin no other."""
        self._healing += 1
        for number in [n for n, fault in self._active.items() if not fault.final]:
            self._end(number)

    def is_ill(self, host: Host) -> bool:
        """Whether a fault of its own is upon `host`; a fault that strikes everyone is nobody's."""
        return any(host.number in fault.hosts for fault in self._active.values())

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do it after so many seconds, unless the world was healed before."""
        healing = self._healing

        def act() -> None:
            if self._healing == healing:
                action()

        if delay_s > 0:
            self._cluster.world.after(delay_s, act)
        else:
            act()

    def _beginning(self, number: int, fault: Fault) -> Callable[[], None]:
        def begin() -> None:
            self._active[number] = fault
            self._apply(number, fault, "fault")
            if fault.kind == "jump":
                self._skew(fault)
            elif fault.kind == "move":
                self._move(fault)

        return begin

    def _end(self, number: int) -> None:
        fault = self._active.pop(number, None)
        if fault is not None:
            self.ended_at.update(dict.fromkeys(fault.hosts, self._cluster.world.now))
            self._apply(number, fault, "end of fault")

    def _apply(self, number: int, fault: Fault, what: str) -> None:
        """Make the hosts of `fault` suffer what is in force now, of its kind."""
        world, kind = self._cluster.world, fault.kind
        world.trace.record(world.now, what, number, fault)
        if kind in _DOWN:
            self._stop_or_start(fault)
        elif kind in _CUTS:
            self._cut()
        elif kind == "lossy":
            self._lose(fault)
        elif kind in ("pause", "hold", "slow"):
            self._hamper(fault)
        elif kind == "drift":
            self._skew(fault)

    def _hosts(self, fault: Fault) -> list[Host]:
        hosts = self._cluster.hosts
        return [hosts[number] for number in fault.hosts] if fault.hosts else list(hosts)

    def _upon(self, host: Host, *kinds: str) -> Iterator[Fault]:
        """The faults of these kinds in force upon a host."""
        for fault in self._active.values():
            if fault.kind in kinds and (not fault.hosts or host.number in fault.hosts):
                yield fault

    def _stop_or_start(self, fault: Fault) -> None:
        cluster = self._cluster
        for host in self._hosts(fault):
            if not any(self._upon(host, *_DOWN)):
                if host.machine is None:
                    self._start(host)
                    for other in self._upon(host, "pause", "hold", "slow"):
                        self._hamper(replace(other, hosts=(host.number,)))
            elif host.machine is None:
                continue
            elif fault.kind == "leave":
                cluster.leave(host)
            else:
                cluster.crash(host, fault.kind.partition("-")[2] or "kept")

    def _hamper(self, fault: Fault) -> None:
        cluster = self._cluster
        for host in self._hosts(fault):
            values = [other.value for other in self._upon(host, fault.kind)]
            if host.machine is None:
                continue
            if fault.kind == "slow":
                cluster.slow(host, max(values, default=0.0))
            elif fault.kind == "pause":
                (cluster.pause if values else cluster.resume)(host)
            else:
                (cluster.hold if values else cluster.release)(host)

    def _skew(self, fault: Fault) -> None:
        for host in self._hosts(fault):
            drift = sum(other.value for other in self._upon(host, "drift"))
            jump_s = fault.value if fault.kind == "jump" else 0.0
            self._cluster.skew(host, jump_s, drift)

    def _move(self, fault: Fault) -> None:
        for host in self._hosts(fault):
            self._moves += 1
            place = f"10.255.{self._moves >> 8 & 255}.{self._moves & 255}"
            self._cluster.move(host, (place, host.endpoint[1]))

    def _lose(self, fault: Fault) -> None:
        network = self._cluster.network
        if not fault.hosts:
            shares = [f.value for f in self._active.values() if f.kind == "lossy" and not f.hosts]
            loss = max([self._calm.loss, *shares])
            network.conditions = replace(network.conditions, loss=loss)
            return
        for host in self._hosts(fault):
            shares = [other.value for other in self._upon(host, "lossy") if other.hosts]
            self._cluster.impair(host, max(shares, default=0.0))

    def _cut(self) -> None:
        """Cut the network by all splits and cuts at once: two hosts meet if all let them."""
        hosts = self._cluster.hosts
        sides: dict[int, tuple[int, ...]] = {host.number: () for host in hosts}
        self._cluster.heal()
        for fault in self._active.values():
            if fault.kind == "split":
                place = {number: at for at, number in enumerate(fault.hosts)}
                for number in sides:
                    sides[number] += (place.get(number, 0) % max(1, int(fault.value)),)
            elif fault.kind == "cut":
                for number in sides:
                    sides[number] += (int(number in fault.hosts),)
            elif fault.kind == "mute":
                others = [hosts[number] for number in fault.others] or hosts
                self._cluster.block(self._hosts(fault), others)
        groups: dict[tuple[int, ...], list[Host]] = {}
        for number, side in sides.items():
            groups.setdefault(side, []).append(hosts[number])
        if len(groups) > 1:
            self._cluster.split(list(groups.values()))
