"""Fifty agents of `gossip`, a process each."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.gossip.swarm import Observation, Swarm
from simulations.lab.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent


class Lines:
    """Turns what an agent writes into observations."""

    def __init__(self, observer: int) -> None:
        self._observer = observer
        self._rest = b""

    def parse(self, data: bytes) -> list[Observation]:
        """The lines that are complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in lines:
            at, what, subject = line.decode().split()
            found.append(Observation(float(at), self._observer, what, int(subject)))
        return found


class Ours(Swarm):
    """AegisRay's gossip, `GossipConfig.lan()`, Ed25519 records, AES-256-GCM datagrams."""

    name = "aegisray"

    def start(self) -> None:
        """Start the processes and wait for their sockets."""
        for number in range(self.count):
            line = [sys.executable, "-m", "benchmarks.gossip.agent", str(number), str(self.count)]
            line += ["--user", str(self.user_of(number))]
            agent = subprocess.Popen(
                self.namespace.command(line),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                start_new_session=True,
            )
            self.lab.on_close(partial(_end, agent))
            self.agents[number] = agent
            assert agent.stdout is not None
            self.watcher.watch(agent.stdout, Lines(number).parse)

        def ready() -> bool:
            self.check()
            return sum(seen.what == "ready" for seen in list(self.watcher.seen)) == self.count

        wait_until(ready, "our agents to start", 120.0)

    def join(self) -> None:
        """Tell each to join through agent 0."""
        for number in range(1, self.count):
            self._tell(number, "join 0")

    def publish(self, origin: int, event: int) -> None:
        """Have a record published."""
        self._tell(origin, f"publish {event}")

    def _tell(self, number: int, line: str) -> None:
        stdin = self.agents[number].stdin
        assert stdin is not None
        stdin.write(f"{line}\n".encode())
        stdin.flush()


def _end(agent: subprocess.Popen[bytes]) -> None:
    for pipe in (agent.stdin, agent.stdout):
        if pipe is not None:
            pipe.close()
    agent.wait()
