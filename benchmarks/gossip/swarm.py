"""What a benchmark asks of fifty agents, whoever made them, and how it watches them."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.gossip.directory import GROUP_PREFIXES, group_of
from simulations.lab.namespaces import Lab, Namespace
from simulations.lab.waiting import LabError

GROUP_USERS = (61_501, 61_502)
"""Numeric users that the two groups run as, so that a filter can tell their packets apart."""

SPLIT = """
table ip split {
    chain mark_sender {
        type filter hook output priority mangle;
        meta skuid %(first)d meta mark set 1
        meta skuid %(second)d meta mark set 2
    }
    chain drop_crossing {
        type filter hook input priority filter;
        meta mark 1 ip daddr %(beyond)s.0.0/16 counter drop
        meta mark 2 ip daddr %(here)s.0.0/16 counter drop
    }
}
"""
"""Packets across are lost without a word, TCP's too, whose source addresses tell nothing here."""


@dataclass(frozen=True, slots=True)
class Observation:
    """At `at` (monotonic seconds) `observer` saw `what` ("up", "down", "event") of `subject`."""

    at: float
    observer: int
    what: str
    subject: int


class HasFileno(Protocol):
    """A pipe or a socket."""

    def fileno(self) -> int:
        """Its descriptor."""


class Watcher:
    """Reads what agents report, in a thread of its own, and keeps it in order."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []
        self.error: Exception | None = None
        """Why the thread ended early, if it did."""
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def watch(self, source: HasFileno, parse: Callable[[bytes], list[Observation]]) -> None:
        """Hand what comes out of `source` to `parse`, until it ends."""
        self._selector.register(source, selectors.EVENT_READ, parse)
        os.write(self._wake_write, b".")

    def close(self) -> None:
        """End the thread."""
        os.close(self._wake_write)
        self._thread.join()
        self._selector.close()
        os.close(self._wake_read)

    def first(self, what: str, subject: int, since: float = 0.0) -> dict[int, float]:
        """When each observer first saw this, at or after `since`."""
        found: dict[int, float] = {}
        for seen in list(self.seen):
            if (seen.what, seen.subject) == (what, subject) and seen.at >= since:
                found.setdefault(seen.observer, seen.at)
        return found

    def alive(self) -> dict[int, dict[int, float]]:
        """For each observer, whom it now sees alive, and since when."""
        views: dict[int, dict[int, float]] = {}
        for seen in list(self.seen):
            view = views.setdefault(seen.observer, {})
            if seen.what == "up":
                view.setdefault(seen.subject, seen.at)
            elif seen.what == "down":
                view.pop(seen.subject, None)
        return views

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:
            self.error = error

    def _read(self) -> None:
        while True:
            for key, _ in self._selector.select():
                data = os.read(key.fd, 65_536)
                if key.data is None:
                    if not data:
                        return
                    continue
                if not data:
                    self._selector.unregister(key.fileobj)
                    continue
                self.seen.extend(key.data(data))


class Swarm(ABC):
    """`count` agents in a namespace of their own, half of them as one user and half as another."""

    name: str

    def __init__(self, lab: Lab, count: int) -> None:
        self.lab = lab
        self.count = count
        self.namespace: Namespace = lab.namespace(self.name)
        self.watcher = Watcher()
        self.agents: dict[int, subprocess.Popen[bytes]] = {}
        """The processes that run."""

    @abstractmethod
    def start(self) -> None:
        """Start all agents, each on its own, and return when they are ready."""

    @abstractmethod
    def join(self) -> None:
        """Make all join through agent 0, at once."""

    @abstractmethod
    def publish(self, origin: int, event: int) -> None:
        """Make agent `origin` tell everyone of `event`."""

    def crash(self, number: int) -> None:
        """Kill one agent."""
        agent = self.agents.pop(number)
        agent.send_signal(signal.SIGKILL)
        agent.wait()

    def split(self) -> None:
        """Let nothing through between the two halves."""
        here, beyond = GROUP_PREFIXES
        users = {"first": GROUP_USERS[0], "second": GROUP_USERS[1]}
        rules = SPLIT % {**users, "here": here, "beyond": beyond}
        self.namespace.run("nft", "-f", "-", text=rules)

    def heal(self) -> None:
        """Let everything through again."""
        self.namespace.run("nft", "delete", "table", "ip", "split")

    def user_of(self, number: int) -> int:
        """The numeric user that an agent runs as."""
        return GROUP_USERS[group_of(number, self.count)]

    def sent_bytes(self) -> int:
        """Bytes of all IP packets sent in the namespace so far."""
        for line in self.namespace.run("cat", "/proc/net/dev").splitlines():
            name, _, numbers = line.partition(":")
            if name.strip() == "lo":
                return int(numbers.split()[8])
        raise LabError(f"{self.name}: the namespace has no loopback")

    def cpu_seconds(self) -> float:
        """User and system time of all running agents."""
        ticks = 0
        for agent in self.agents.values():
            fields = Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """The mean memory of an agent."""
        total = 0
        for agent in self.agents.values():
            for line in Path(f"/proc/{agent.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
        return total / 1024 / len(self.agents)

    def check(self) -> None:
        """Raise LabError if an agent died that nobody killed, or the watching failed."""
        for number, agent in self.agents.items():
            if agent.poll() is not None:
                raise LabError(f"{self.name}: agent {number} ended with {agent.returncode}")
        if self.watcher.error is not None:
            raise LabError(f"{self.name}: {self.watcher.error}")

    def agreed(self) -> bool:
        """Whether every running agent sees all the other running ones, and no others, alive."""
        self.check()
        views = self.watcher.alive()
        running = set(self.agents)
        return all(set(views.get(n, ())) - {n} == running - {n} for n in self.agents)

    def agreed_at(self) -> float:
        """When the last of them came to see the last of the others, if they all agree now."""
        views = self.watcher.alive()
        return max(at for n in self.agents for other, at in views[n].items() if other != n)
