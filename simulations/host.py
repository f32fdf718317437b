"""One simulated host: who it is, where it is, what runs on it, and what was done to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from gossip.ids import NodeId
from simulations.clocks import HostClock
from simulations.machine import Disk, Machine
from simulations.nat import Endpoint, Nat
from simulations.processes import Process


@dataclass(slots=True, eq=False)
class Host:
    """One host. `alive` is what its machine reported as alive and not taken back."""

    number: int
    identity: NodeId
    endpoint: Endpoint
    nat: Nat | None = None
    honest: bool = True
    """Whether it runs what it should; what others do or see is not judged."""
    disk: Disk = field(default_factory=Disk)
    backup: Disk = field(default_factory=Disk)
    """The disk as it was at the last boot, or at the last `Cluster.back_up`."""
    machine: Machine | None = None
    boots: int = 0
    forgetful: bool = False
    """Whether it booted with less on its disk than it had: it may use sequences again."""
    alive: set[NodeId] = field(default_factory=set)
    seen_by: set[int] = field(default_factory=set)
    """Numbers of the running hosts in whose `alive` it is."""
    disturbed_at: float = -inf
    troubles: set[str] = field(default_factory=set)
    """What is being done to it: paused, held, slow, unplugged, lossy."""
    sent: int = 0
    sent_bytes: int = 0
    """Bytes of IP packets, with all headers and seals."""
    carried_bytes: int = 0
    """Those of them that are others', relayed."""
    clock: HostClock | None = None
    process: Process | None = None
    timer_at: float = inf
    """The world time at which it is woken; infinity for not at all."""
    turns: int = 0
    turn_at: float = -inf

    @property
    def own_bytes(self) -> int:
        """Bytes sent that are not others'."""
        return self.sent_bytes - self.carried_bytes

    def local(self, now: float) -> float:
        """What this host's clock reads at world time `now`."""
        return now if self.clock is None else self.clock.local(now)

    def world(self, local: float) -> float:
        """The world time at which this host's clock reads `local`."""
        return local if self.clock is None else self.clock.world(local)

    def set_clock(self, now: float, jump_s: float, drift: float) -> None:
        """Let this host's clock jump ahead, and gain `drift` seconds per second from now on.

        Raises ValueError for a clock that would go back or stand still.
        """
        clock = self.clock or HostClock()
        clock.adjust(now, jump_s, drift)
        self.clock = clock
