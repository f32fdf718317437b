"""Simulated hosts, each with a machine: starts, crashes and splits them, and pumps their outputs.

The pump is the daemon's: an input, then everything in `drain`, then one timer at `next_wakeup`.
What is done to a host is remembered, so that nobody is blamed for it (`undisturbed_s`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf

from gossip.events import MemberDown, MemberForgotten, MemberLeft, MemberUp, SequenceChanged
from simulations.host import Host as Host
from simulations.machine import Carried, Disk, Machine, Refused, Seen, Send, line
from simulations.nat import Endpoint
from simulations.network import Network
from simulations.processes import INPUT_S, Process
from simulations.views import Views
from simulations.world import World

TURNS_PER_INSTANT_MAX = 100

_VIEWS = (MemberUp, MemberDown, MemberLeft, MemberForgotten)


class SimulationError(Exception):
    """A machine broke the contract of the pump, so that the run cannot go on."""


class Observer:
    """Sees everything that happens in a cluster; `simulations.checkers` has those that judge."""

    def started(self, host: Host) -> None:
        """`host` has just booted."""

    def saw(self, host: Host, seen: Seen) -> None:
        """The machine of `host` reported something."""

    def sent(self, host: Host, send: Send) -> None:
        """The machine of `host` sent a datagram."""

    def refused(self, host: Host, reason: str, source: Endpoint) -> None:
        """The machine of `host` refused a datagram that came from `source`."""


MakeMachine = Callable[[Host], Machine]


class Cluster:
    """Hosts on one network. `observers` may be added at any time, and taken away."""

    def __init__(
        self, world: World, network: Network, hosts: Sequence[Host], make: MakeMachine
    ) -> None:
        self.world = world
        self.network = network
        self.hosts = list(hosts)
        self.by_identity = {host.identity: host for host in self.hosts}
        self.observers: list[Observer] = []
        self.disturbed_at = -inf
        self.make = make
        """Makes a host's machine at each boot; may be wrapped before that."""
        self._views = Views(self.by_identity, lambda host: network.side(host.endpoint[0]))
        self._known: list[Observer] = []
        self._told_of_sends: list[Observer] = []
        for host in self.hosts:
            network.place(host.endpoint[0], host.nat)

    @property
    def running(self) -> list[Host]:
        """The hosts whose machine runs, if only slowly or not at the moment."""
        return [host for host in self.hosts if host.machine is not None]

    @property
    def wrong(self) -> int:
        """How many (host, member) views are not right yet; see `simulations.views`."""
        return self._views.wrong

    # Starts and ends

    def start(self, host: Host, seeds: Sequence[Host]) -> None:
        """Boot a host that knows `seeds`, and what its disk holds."""
        host.boots += 1
        host.backup = host.disk.copy()
        host.machine = self.make(host)
        self.network.attach(host.endpoint[0], partial(self._arrived, host))
        self._disturb(host, "start", host.boots)
        self._views.started(host)
        for observer in self.observers:
            observer.started(host)
        host.machine.start([seed.number for seed in seeds], host.local(self.world.now))
        self._pump(host)

    def crash(self, host: Host, disk: str = "kept") -> None:
        """Stop a host as `kill -9` does: only what was on its disk remains.

        `disk` may be "lost", or "old": put back from `Host.backup`. Raises ValueError for another.
        """
        if disk not in ("kept", "lost", "old"):
            raise ValueError(f"a disk is kept, lost or old, not {disk!r}")
        if host.machine is not None:
            host.disk.records = host.machine.records()
        host.forgetful = disk != "kept"
        if host.forgetful:
            host.disk = host.backup.copy() if disk == "old" else Disk()
        self._stop(host)
        self._disturb(host, "crash", disk)

    def back_up(self, host: Host) -> None:
        """Keep a copy of a host's disk, for a crash with an old one."""
        if host.machine is not None:
            host.disk.records = host.machine.records()
        host.backup = host.disk.copy()

    def leave(self, host: Host) -> None:
        """Let a host say goodbye, then stop it."""
        if host.machine is not None:
            host.machine.leave(host.local(self.world.now))
            self._pump(host)
            host.disk.records = host.machine.records()
        host.forgetful = False
        self._stop(host)
        self._disturb(host, "leave")

    def act(self, host: Host, action: Callable[[float], None]) -> None:
        """Make a person's call to a running host's machine, then carry what comes of it."""
        action(host.local(self.world.now))
        self._pump(host)

    # The network

    def split(self, groups: Sequence[Sequence[Host]]) -> None:
        """Cut the network into groups of hosts."""
        self.network.split([[host.endpoint[0] for host in group] for group in groups])
        self._cut_changed("split")

    def heal(self) -> None:
        """Undo every cut and block."""
        self.network.heal()
        self._cut_changed("heal")

    def block(self, sources: Sequence[Host], destinations: Sequence[Host]) -> None:
        """Lose all that these sources send to these destinations, one way."""
        for source in sources:
            for destination in destinations:
                if source is not destination:
                    self.network.block(source.endpoint[0], destination.endpoint[0])
        self._cut_changed("block")

    def plug(self, host: Host, plugged: bool) -> None:
        """Pull a host's cable, or put it back."""
        self.network.plug(host.endpoint[0], plugged)
        self._trouble(host, "unplugged", not plugged)
        self._views.cut()

    def impair(self, host: Host, loss: float) -> None:
        """Lose this part of what a host sends and is sent; 0 ends that."""
        self.network.impair(host.endpoint[0], loss)
        self._trouble(host, "lossy", loss > 0)

    def move(self, host: Host, endpoint: Endpoint) -> None:
        """Give a host another address: its machine is told, others find out as they do."""
        address = host.endpoint[0]
        self.network.detach(address)
        host.endpoint = endpoint
        self.network.place(endpoint[0], host.nat)
        self._disturb(host, "move", *endpoint)
        if host.machine is not None:
            self.network.attach(endpoint[0], partial(self._arrived, host))
            host.machine.moved(endpoint, host.local(self.world.now))
            self._pump(host)
        self._views.cut()

    # Processes and clocks

    def pause(self, host: Host) -> None:
        """Stop a host's process, as SIGSTOP does."""
        self._process(host).stopped = True
        self._trouble(host, "paused", True)

    def resume(self, host: Host) -> None:
        """Let a paused process go on, with what has come meanwhile."""
        self._change(host, "paused", "stopped")

    def hold(self, host: Host) -> None:
        """Keep back what a host's process sends and receives; it runs, and its timers too."""
        self._process(host).held = True
        self._trouble(host, "held", True)

    def release(self, host: Host) -> None:
        """Let a held process send and receive, at once what was kept back."""
        self._change(host, "held", "held")

    def slow(self, host: Host, factor: float) -> None:
        """Let each input cost `factor` times 50 us before it has an effect; 0 ends that."""
        self._process(host).cost_s = factor * INPUT_S
        self._trouble(host, "slow", factor > 0)
        self._go_on(host)

    def skew(self, host: Host, jump_s: float = 0.0, drift: float = 0.0) -> None:
        """Let a host's clock jump ahead, and from now on gain `drift` seconds per second."""
        host.set_clock(self.world.now, jump_s, drift)
        self._disturb(host, "skew", jump_s, drift)
        host.timer_at = inf
        self._pump(host)

    # Verdicts

    def reachable(self, one: Host, other: Host) -> bool:
        """Whether both run and no cut stands between them."""
        running = one.machine is not None and other.machine is not None
        return running and self.network.reachable(one.endpoint[0], other.endpoint[0])

    def undisturbed_s(self, *hosts: Host) -> float:
        """For how long nothing was done to these hosts or to the network; 0 while it is done."""
        if any(host.troubles for host in hosts):
            return 0.0
        return self.world.now - max(self.disturbed_at, *(host.disturbed_at for host in hosts))

    def expected(self, host: Host) -> list[Host]:
        """Whom a running host should see as alive, or may see if its view is partial."""
        return self._views.expected(host)

    def agreed(self) -> bool:
        """Whether every running host sees exactly the hosts that it can reach as alive."""
        return not self._views.wrong

    # The pump

    def _arrived(self, host: Host, payload: bytes, source: Endpoint) -> None:
        if host.process is None:
            self._receive(host, payload, source)
        else:
            host.process.receive(payload, source)

    def _receive(self, host: Host, payload: bytes, source: Endpoint) -> None:
        machine, now = host.machine, self.world.now
        if machine is None:
            return
        try:
            machine.receive(payload, source, now if host.clock is None else host.clock.local(now))
        except Refused as refusal:
            for observer in self.observers:
                observer.refused(host, str(refusal), source)
        self._pump(host)

    def _stop(self, host: Host) -> None:
        host.machine = None
        self.network.detach(host.endpoint[0])
        host.timer_at = inf
        if host.process is not None:
            host.process.end()
            host.process = None
        for trouble in ("paused", "held", "slow"):
            host.troubles.discard(trouble)
        self._views.stopped(host)

    def _pump(self, host: Host) -> None:
        machine = host.machine
        if machine is None:
            return
        for output in machine.drain():
            if isinstance(output, Send):
                self._send(host, output)
            else:
                self._see(host, output)
        at = machine.next_deadline()
        if host.clock is not None:
            at = host.clock.world(at)
        if at != host.timer_at:
            self._arm(host, at)

    def _arm(self, host: Host, at: float) -> None:
        """Set the timer to another time; the event of the old one stays, and does nothing."""
        now = self.world.now
        host.timer_at = at = at if at > now else now
        if at < inf:
            self.world.post(at, self._timer, host, at)

    def _timer(self, host: Host, at: float) -> None:
        """A time that was set has come; another may have been set since."""
        if at != host.timer_at:
            return
        if host.process is None:
            self._wake(host)
        else:
            host.process.due()

    def _wake(self, host: Host) -> None:
        host.timer_at = inf
        machine = host.machine
        if machine is None:
            return
        wakeup, now = machine.next_wakeup(), self.world.now
        if wakeup is None:
            return
        due, reason = wakeup
        at = due if host.clock is None else host.clock.world(due)
        if at > now:  # a process that stood still or was slow comes late
            self._arm(host, at)
            return
        self.world.trace.event(now, "timer", host.number, reason)
        host.turns = host.turns + 1 if host.turn_at == now else 1
        host.turn_at = now
        if host.turns > TURNS_PER_INSTANT_MAX:
            raise SimulationError(
                f"at {now:.3f} s host {host.number} asks for ever to be woken: {reason}"
            )
        if host.clock is not None:
            # The way to the world's time and back may round to just before what is due.
            now = max(due, host.clock.local(now))
        machine.handle_timer(now)
        self._pump(host)

    def _send(self, host: Host, send: Send) -> None:
        destination, payload, overhead = send
        host.sent += 1
        host.sent_bytes += len(payload) + overhead
        if type(send) is Carried:
            host.carried_bytes += len(payload) + overhead
        if self._known != self.observers:
            self._known = list(self.observers)
            told = [observer for observer in self._known if type(observer).sent != Observer.sent]
            self._told_of_sends = told
        for observer in self._told_of_sends:
            observer.sent(host, send)
        if host.process is not None:
            host.process.send(partial(self.network.send, host.endpoint, *send))
        else:
            self.network.send(host.endpoint, destination, payload, overhead)

    def _see(self, host: Host, seen: Seen) -> None:
        self.world.trace.record(self.world.now, "saw", host.number, line(seen))
        if isinstance(seen, SequenceChanged):
            host.disk.sequence = seen.sequence
        elif isinstance(seen, _VIEWS) and seen.id != host.identity:
            self._views.saw(host, seen.id, isinstance(seen, MemberUp))
        for observer in self.observers:
            observer.saw(host, seen)

    # What is done to hosts

    def _disturb(self, host: Host, what: str, *details: object) -> None:
        host.disturbed_at = self.world.now
        self.world.trace.record(self.world.now, what, host.number, *details)

    def _trouble(self, host: Host, what: str, begins: bool) -> None:
        (host.troubles.add if begins else host.troubles.discard)(what)
        self._disturb(host, what, begins)

    def _process(self, host: Host) -> Process:
        if host.process is None:
            host.process = Process(
                self.world, partial(self._receive, host), partial(self._wake, host)
            )
        return host.process

    def _change(self, host: Host, trouble: str, attribute: str) -> None:
        if host.process is not None:
            setattr(host.process, attribute, False)
        self._trouble(host, trouble, False)
        self._go_on(host)

    def _go_on(self, host: Host) -> None:
        process = host.process
        if process is not None:
            process.go_on()
            if process.normal:
                host.process = None

    def _cut_changed(self, what: str) -> None:
        self.disturbed_at = self.world.now
        self.world.trace.record(self.world.now, what)
        self._views.cut()
