"""One agent: `GossipProtocol` on a UDP socket. `python -m benchmarks.gossip.agent` is a process.

What it sees it writes to stdout at once, a line for each event, with the instant by the monotonic
clock (one for all processes of a host)::

    SECONDS ready|up|down|event SUBJECT

A `SUBJECT` is the number of an agent, or of a published event. It reads from stdin::

    join NUMBER          publish EVENT          (the end of stdin ends it)
"""

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence
from random import Random

from benchmarks.gossip.directory import Directory, Keys
from benchmarks.gossip.sealing import Sealer
from gossip import (
    GossipConfig,
    GossipError,
    GossipProtocol,
    MemberDown,
    MemberUp,
    Output,
    RecordChanged,
    RecordKind,
    SendMessage,
)

EVENT_KIND = 8
"""A kind that gossip does not know: kept by all and passed on, like any news."""

BODY_SIZE = 100
"""Bytes of a MEMBER body: the endpoints of a usual node."""

BATCH = 64
"""Datagrams read before timers have their turn."""

Observe = Callable[[float, int, str, int], None]
"""Called with seconds (monotonic), the observer's number, what it saw, and of whom or what."""


class Agent:
    """Reads its socket, keeps its deadlines, and tells `observe` what it sees."""

    def __init__(
        self, number: int, directory: Directory, config: GossipConfig, observe: Observe, seed: str
    ) -> None:
        self.number = number
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(directory.endpoints[number])
        self._directory = directory
        self._sealer = Sealer(number, directory.count)
        self._observe = observe
        now = time.monotonic()
        identity, key = directory.identities[number], directory.public[number]
        rng = Random(f"{seed}/{number}")
        self._protocol = GossipProtocol(identity, key, config, Keys(number), rng, now, 1)
        body = f"agent {number}".encode().ljust(BODY_SIZE)
        self._protocol.publish(RecordKind.MEMBER, body, now)
        self._perform()

    def join(self, seeds: Sequence[int]) -> None:
        """Contact these agents."""
        self._protocol.join([self._directory.identities[seed] for seed in seeds], time.monotonic())
        self._perform()

    def publish(self, event: int) -> None:
        """Spread a record that says so."""
        now = time.monotonic()
        self._protocol.publish(EVENT_KIND, event.to_bytes(4, "big"), now)
        self._perform()

    def deadline(self) -> float:
        """When `on_timer` wants to be called (monotonic seconds)."""
        wakeup = self._protocol.next_wakeup()
        return float("inf") if wakeup is None else wakeup.at

    def on_timer(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if self.deadline() <= now:
            self._protocol.handle_timer(now)
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
                self._protocol.receive(opened[1], sender, time.monotonic())
            except GossipError as error:
                print(f"agent {self.number}: refused: {error.reason}", file=sys.stderr)
            self._perform()

    def close(self) -> None:
        """Vanish, as a crash does."""
        self.socket.close()

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
        elif isinstance(output, RecordChanged) and output.record.kind == EVENT_KIND:
            event = int.from_bytes(output.record.body, "big")
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


def _say(at: float, observer: int, what: str, subject: int) -> None:
    os.write(sys.stdout.fileno(), f"{at!r} {what} {subject}\n".encode())


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
    agent = Agent(options.number, directory, config, _say, options.seed)
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
        _say(time.monotonic(), agent.number, "ready", agent.number)
        while running:
            turn(selector, [agent], time.monotonic() + 60)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
