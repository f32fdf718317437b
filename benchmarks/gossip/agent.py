"""One agent: `GossipProtocol` on a UDP socket. `python -m benchmarks.gossip.agent` is a process.

What it sees it writes to stdout, a line for each event, with the instant by the monotonic clock
(one for all processes of a host)::

    SECONDS ready|up|down|event SUBJECT

A `SUBJECT` is the number of an agent, or of a published event. It reads from stdin::

    join NUMBER          publish EVENT          (the end of stdin ends it)
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence
from random import Random

from benchmarks.gossip.directory import Directory
from benchmarks.gossip.sealing import Sealer
from gossip import (
    GossipConfig,
    GossipError,
    GossipProtocol,
    MemberDown,
    MemberUp,
    Output,
    Record,
    RecordChanged,
    RecordKind,
    SendMessage,
)
from simulations.authority import Ed25519Authority
from simulations.clocks import HostClock

EVENT_KINDS = range(8, 16)
"""Kinds that gossip does not know: kept by all and passed on, like any news."""

BODY_SIZE = 100
"""Bytes of a MEMBER body: the endpoints of a usual node."""

BATCH = 64
"""Datagrams read before timers have their turn."""

Observe = Callable[[float, int, str, int], None]
"""Called with seconds (monotonic), the observer's number, what it saw, and of whom or what."""


def kind_of(event: int) -> int:
    """The kind of the record that says so: of one kind, a node's next record replaces the last."""
    return EVENT_KINDS[event % len(EVENT_KINDS)]


def event_in(record: Record) -> int | None:
    """The event that a record tells of, if it does."""
    return int.from_bytes(record.body, "big") if record.kind in EVENT_KINDS else None


class Agent:
    """Reads its socket, keeps its deadlines, and tells `observe` what it sees.

    Its clock gains `drift` seconds per second; what it sees is timed by the host's.
    """

    def __init__(
        self,
        number: int,
        directory: Directory,
        config: GossipConfig,
        observe: Observe,
        seed: str,
        drift: float = 0.0,
    ) -> None:
        self.number = number
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(directory.endpoints[number])
        self._directory = directory
        self._sealer = Sealer(number, directory.count)
        self._keys = Ed25519Authority.of(number)
        self._observe = observe
        self._clock = HostClock()
        self._clock.adjust(time.monotonic(), 0.0, drift)
        now = self._now()
        identity, key = directory.identities[number], directory.public[number]
        rng = Random(f"{seed}/{number}")
        self._protocol = GossipProtocol(identity, key, config, self._keys, rng, now, 1)
        body = f"agent {number}".encode().ljust(BODY_SIZE)
        self._protocol.publish(RecordKind.MEMBER, body, now)
        self._perform()

    def prepare(self) -> None:
        """Have the keys ready, as sessions have them, and the code loaded that uses them."""
        key, identity = self._directory.public[self.number], self._directory.identities[self.number]
        signature = self._keys.sign(b"")
        self._keys.verify(key, identity, b"", signature)
        for other in range(self._directory.count):
            self._sealer.open(self._sealer.prepare(other))
        gc.collect()
        gc.freeze()

    def join(self, seeds: Sequence[int]) -> None:
        """Contact these agents."""
        self._protocol.join([self._directory.identities[seed] for seed in seeds], self._now())
        self._perform()

    def publish(self, event: int) -> None:
        """Spread a record that says so."""
        now = self._now()
        self._protocol.publish(kind_of(event), event.to_bytes(4, "big"), now)
        self._perform()

    def deadline(self) -> float:
        """When `on_timer` wants to be called (monotonic seconds)."""
        wakeup = self._protocol.next_wakeup()
        return float("inf") if wakeup is None else self._clock.world(wakeup.at)

    def on_timer(self) -> None:
        """Do what is due."""
        if self.deadline() <= time.monotonic():
            self._protocol.handle_timer(self._now())
            self._perform()

    def on_readable(self) -> None:
        """Take in the datagrams that wait, up to `BATCH`."""
        for _ in range(BATCH):
            try:
                datagram = self.socket.recv(65_535)
            except BlockingIOError:
                return
            opened = self._sealer.open(datagram)
            if opened is None:
                continue
            sender = self._directory.identities[opened[0]]
            try:
                self._protocol.receive(opened[1], sender, self._now())
            except GossipError as error:
                print(f"agent {self.number}: refused: {error.reason}", file=sys.stderr)
            self._perform()

    def close(self) -> None:
        """Vanish, as a crash does."""
        self.socket.close()

    def _now(self) -> float:
        return self._clock.local(time.monotonic())

    def _perform(self) -> None:
        for output in self._protocol.drain():
            if isinstance(output, SendMessage):
                receiver = self._directory.number_of[output.to]
                datagram = self._sealer.seal(receiver, output.payload)
                # A full buffer or a closed port is as good as a loss on the way.
                with contextlib.suppress(OSError):
                    self.socket.sendto(datagram, self._directory.endpoints[receiver])
            else:
                self._tell(output)

    def _tell(self, output: Output) -> None:
        now = time.monotonic()
        if isinstance(output, MemberUp | MemberDown):
            what = "up" if isinstance(output, MemberUp) else "down"
            self._observe(now, self.number, what, self._directory.number_of[output.id])
        elif isinstance(output, RecordChanged) and (event := event_in(output.record)) is not None:
            self._observe(now, self.number, "event", event)


def turn(selector: selectors.BaseSelector, agents: Sequence[Agent], until: float) -> None:
    """Wait for datagrams or deadlines, but not beyond `until`, and serve them.

    `selector` holds the agents' sockets, each with its agent's `on_readable` as data; whatever
    else it holds is served in the same way.
    """
    wait = min([until, *(agent.deadline() for agent in agents)]) - time.monotonic()
    for key, _ in selector.select(max(0.0, wait)):
        key.data()
    for agent in agents:
        agent.on_timer()


class Report:
    """Lines for stdout, written together when a turn is over: each carries its own instant."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def say(self, at: float, observer: int, what: str, subject: int) -> None:
        """One more line."""
        self._lines.append(f"{at!r} {what} {subject}\n")

    def flush(self) -> None:
        """Write what there is."""
        if self._lines:
            os.write(sys.stdout.fileno(), "".join(self._lines).encode())
            self._lines.clear()


def main(argv: Sequence[str]) -> int:
    """Run one agent until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gossip.agent", description=__doc__)
    parser.add_argument("number", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--user", type=int, help="the numeric user to run as, once all is loaded")
    parser.add_argument("--seed", default="1")
    options = parser.parse_args(argv)
    directory = Directory(options.count)
    if options.user is not None:
        os.setgid(options.user)
        os.setuid(options.user)
    config = GossipConfig.lan()
    report = Report()
    agent = Agent(options.number, directory, config, report.say, options.seed)
    running = True
    rest = b""

    def obey() -> None:
        nonlocal running, rest
        data = os.read(sys.stdin.fileno(), 4096)
        running = running and bool(data)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            verb, number = line.split()
            if verb == b"join":
                agent.join([int(number)])
            else:
                agent.publish(int(number))

    with selectors.DefaultSelector() as selector:
        selector.register(agent.socket, selectors.EVENT_READ, agent.on_readable)
        selector.register(sys.stdin, selectors.EVENT_READ, obey)
        agent.prepare()
        report.say(time.monotonic(), agent.number, "ready", agent.number)
        while running:
            report.flush()
            turn(selector, [agent], time.monotonic() + 60)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
