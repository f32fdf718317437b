"""Simulated hosts, each with a machine: starts, crashes and splits them, and pumps their outputs.

The pump is the daemon's: an input, then everything in `drain`, then one timer at `next_wakeup`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from gossip.events import MemberDown, MemberLeft, MemberUp, SequenceChanged
from gossip.ids import NodeId
from simulations.machine import Disk, Machine, Refused, Seen, Send
from simulations.nat import Endpoint, Nat
from simulations.network import Network
from simulations.world import Event, World

TURNS_PER_INSTANT_MAX = 100


class SimulationError(Exception):
    """A machine broke the contract of the pump, so that the run cannot go on."""


@dataclass(slots=True)
class Host:
    """One host. `alive` is what its machine reported as alive and not taken back."""

    number: int
    identity: NodeId
    endpoint: Endpoint
    nat: Nat | None = None
    disk: Disk = field(default_factory=Disk)
    machine: Machine | None = None
    boots: int = 0
    alive: set[NodeId] = field(default_factory=set)
    expected: set[NodeId] = field(default_factory=set)
    disturbed_at: float = -inf
    sent: int = 0
    sent_bytes: int = 0
    _timer: Event | None = None
    _timer_at: float = inf
    _turns: int = 0
    _turn_at: float = -inf


class Observer:
    """Sees everything that happens in a cluster; `simulations.checkers` has those that judge."""

    def started(self, host: Host) -> None:
        """`host` has just booted."""

    def saw(self, host: Host, seen: Seen) -> None:
        """The machine of `host` reported something."""

    def sent(self, host: Host, send: Send) -> None:
        """The machine of `host` sent a datagram."""

    def refused(self, host: Host, reason: str) -> None:
        """The machine of `host` refused a datagram."""


MakeMachine = Callable[[Host], Machine]


class Cluster:
    """Hosts on one network. `wrong` counts the (host, member) views that are not right yet."""

    def __init__(
        self, world: World, network: Network, hosts: Sequence[Host], make: MakeMachine
    ) -> None:
        self.world = world
        self.network = network
        self.hosts = list(hosts)
        self.by_identity = {host.identity: host for host in self.hosts}
        self.observers: list[Observer] = []
        self.wrong = 0
        self.disturbed_at = -inf
        self._make = make
        for host in self.hosts:
            network.place(host.endpoint[0], host.nat)

    @property
    def running(self) -> list[Host]:
        """The hosts whose machine runs."""
        return [host for host in self.hosts if host.machine is not None]

    def start(self, host: Host, seeds: Sequence[Host]) -> None:
        """Boot a host that knows `seeds`, and what its disk holds."""
        host.boots += 1
        host.machine = self._make(host)
        self._attach(host)
        self._joined(host)
        self.world.trace.record(self.world.now, "start", host.number, host.boots)
        for observer in self.observers:
            observer.started(host)
        host.machine.start([seed.number for seed in seeds], self.world.now)
        self._pump(host)

    def crash(self, host: Host) -> None:
        """Stop a host as `kill -9` does: only what was on its disk remains."""
        if host.machine is not None:
            host.disk.records = host.machine.records()
        self._stop(host)
        self.world.trace.record(self.world.now, "crash", host.number)

    def leave(self, host: Host) -> None:
        """Let a host say goodbye, then stop it."""
        if host.machine is not None:
            host.machine.leave(self.world.now)
            self._pump(host)
            host.disk.records = host.machine.records()
        self._stop(host)
        self.world.trace.record(self.world.now, "leave", host.number)

    def act(self, host: Host, action: Callable[[float], None]) -> None:
        """Make a person's call to a running host's machine, then carry what comes of it."""
        action(self.world.now)
        self._pump(host)

    def split(self, groups: Sequence[Sequence[Host]]) -> None:
        """Cut the network into groups of hosts."""
        self.network.split([[host.endpoint[0] for host in group] for group in groups])
        self._cut_changed("split")

    def heal(self) -> None:
        """Undo every cut."""
        self.network.heal()
        self._cut_changed("heal")

    def reachable(self, one: Host, other: Host) -> bool:
        """Whether both run and no cut stands between them."""
        running = one.machine is not None and other.machine is not None
        return running and self.network.reachable(one.endpoint[0], other.endpoint[0])

    def undisturbed_s(self, *hosts: Host) -> float:
        """For how long nothing was done to these hosts or to the network."""
        return self.world.now - max(self.disturbed_at, *(host.disturbed_at for host in hosts))

    def agreed(self) -> bool:
        """Whether every running host sees exactly the hosts that it can reach as alive."""
        return self.wrong == 0

    def _attach(self, host: Host) -> None:
        def receive(payload: bytes, source: Endpoint) -> None:
            if host.machine is None:
                return
            try:
                host.machine.receive(payload, source, self.world.now)
            except Refused as refusal:
                for observer in self.observers:
                    observer.refused(host, str(refusal))
            self._pump(host)

        self.network.attach(host.endpoint[0], receive)

    def _stop(self, host: Host) -> None:
        host.machine = None
        self.network.detach(host.endpoint[0])
        if host._timer is not None:
            host._timer.cancel()
        host._timer, host._timer_at = None, inf
        self._gone(host)

    def _pump(self, host: Host) -> None:
        machine = host.machine
        if machine is None:
            return
        for output in machine.drain():
            if isinstance(output, Send):
                self._send(host, output)
            else:
                self._see(host, output)
        wakeup = machine.next_wakeup()
        at = inf if wakeup is None else wakeup.at
        if at < host._timer_at or host._timer is None:
            if host._timer is not None:
                host._timer.cancel()
            host._timer_at = at
            host._timer = None if at == inf else self.world.at(at, lambda: self._timer(host))

    def _timer(self, host: Host) -> None:
        """The armed time has come; what was armed for may have moved to later meanwhile."""
        host._timer, host._timer_at = None, inf
        machine, now = host.machine, self.world.now
        if machine is None:
            return
        wakeup = machine.next_wakeup()
        if wakeup is not None and wakeup.at <= now:
            host._turns = host._turns + 1 if host._turn_at == now else 1
            host._turn_at = now
            if host._turns > TURNS_PER_INSTANT_MAX:
                raise SimulationError(
                    f"at {now:.3f} s host {host.number} asks for ever to be woken: {wakeup.reason}"
                )
            self.world.trace.record(now, "timer", host.number, wakeup.reason)
            machine.handle_timer(now)
        self._pump(host)

    def _send(self, host: Host, send: Send) -> None:
        host.sent += 1
        host.sent_bytes += len(send.payload)
        for observer in self.observers:
            observer.sent(host, send)
        self.network.send(host.endpoint, send.destination, send.payload)

    def _see(self, host: Host, seen: Seen) -> None:
        self.world.trace.record(self.world.now, "saw", host.number, _line(seen))
        if isinstance(seen, SequenceChanged):
            host.disk.sequence = seen.sequence
        elif isinstance(seen, MemberUp | MemberDown | MemberLeft) and seen.id != host.identity:
            self._update(host, seen.id, alive=isinstance(seen, MemberUp))
        for observer in self.observers:
            observer.saw(host, seen)

    def _joined(self, host: Host) -> None:
        host.disturbed_at = self.world.now
        for other in self.running:
            if other is not host and self.reachable(host, other):
                self._update(host, other.identity, expected=True)
                self._update(other, host.identity, expected=True)

    def _gone(self, host: Host) -> None:
        host.disturbed_at = self.world.now
        self.wrong -= len(host.alive ^ host.expected)
        host.alive, host.expected = set(), set()
        for other in self.running:
            self._update(other, host.identity, expected=False)

    def _cut_changed(self, what: str) -> None:
        self.disturbed_at = self.world.now
        self.world.trace.record(self.world.now, what)
        running = self.running
        for host in running:
            for other in running:
                if other is not host:
                    reachable = self.reachable(host, other)
                    self._update(host, other.identity, expected=reachable)

    def _update(
        self,
        host: Host,
        member: NodeId,
        *,
        alive: bool | None = None,
        expected: bool | None = None,
    ) -> None:
        """Change what `host` sees or should see of `member`, and keep `wrong` in step."""
        before = (member in host.alive) != (member in host.expected)
        for members, belongs in ((host.alive, alive), (host.expected, expected)):
            if belongs:
                members.add(member)
            elif belongs is not None:
                members.discard(member)
        self.wrong += ((member in host.alive) != (member in host.expected)) - before


def _line(seen: Seen) -> str:
    """One line that prints the same in each run, and is shorter than a record's repr."""
    name = type(seen).__name__
    if isinstance(seen, SequenceChanged):
        return f"{name} {seen.sequence}"
    if isinstance(seen, MemberUp) or not hasattr(seen, "record"):
        return f"{name} {seen.id.hex()}"
    record = seen.record
    return f"{name} {record.subject.hex()} {record.kind} {record.sequence}"
