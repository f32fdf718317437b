"""``meshd demo``: five hosts, two NATs and a crash, on one machine.

            berlin     tokyo          in the open, a line each
                \\       /
                internet              a router
                /       \\
      port-restricted  symmetric      nftables, the kernel's own connection tracking
         cone NAT         NAT
         /      \\          |
     laptop     nas      phone

``laptop`` and ``nas`` share a LAN; neither can reach ``phone`` but through a relay.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import FrameType
from typing import TextIO

from simulations.lab import transfer
from simulations.lab.host import Host, addresses
from simulations.lab.mesh import View, admit, found, views, wait_connected
from simulations.lab.namespaces import STOP_SIGNALS, Lab
from simulations.lab.nat import Nat
from simulations.lab.ping import Pinger
from simulations.lab.table import LiveTable, Rows
from simulations.lab.topology import Internet
from simulations.lab.waiting import LabError, wait_until

NAMES = ("berlin", "tokyo", "laptop", "nas", "phone")
FOUNDER, VICTIM = "berlin", "tokyo"
POLL_S = 0.2
PINGS = 3
LOG_TAIL = 15
MAX_MIB = 4096


class Interrupted(BaseException):
    """A signal asked the demo to stop; like KeyboardInterrupt it is no Exception."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


@dataclass
class Figures:
    """What the last line shows; seconds, milliseconds, 10^9 bits per second."""

    pairs: int = 0
    join_s: float = 0.0
    rtt_ms: float = 0.0
    tcp4: float = 0.0
    tcp6: float = 0.0
    detect_s: float = 0.0
    total_s: float = 0.0

    def line(self) -> str:
        """The one line that says it all."""
        return (
            f"demo: ok pairs={self.pairs} join={self.join_s:.1f}s rtt={self.rtt_ms:.1f}ms "
            f"tcp4={self.tcp4:.2f}Gbit/s tcp6={self.tcp6:.2f}Gbit/s "
            f"detect={self.detect_s:.1f}s total={self.total_s:.0f}s"
        )


@dataclass
class Demo:
    """One run; `run` raises LabError with what failed."""

    lab: Lab
    table: LiveTable
    size: int
    check: Callable[[], None]
    """Raises `Interrupted` when a signal has come."""
    figures: Figures = field(default_factory=Figures)
    hosts: dict[str, Host] = field(default_factory=dict)
    known: dict[str, tuple[str, str]] = field(default_factory=dict)

    def run(self) -> Figures:
        """All steps, in order."""
        began = time.monotonic()
        self.build()
        self.gather()
        self.ping_pairs()
        self.move_bytes()
        self.crash()
        self.come_back()
        self.figures.total_s = time.monotonic() - began
        return self.figures

    def build(self) -> None:
        """Make the network of the module's drawing."""
        self.table.step("building an internet, two open hosts, a home and a mobile network")
        internet = Internet(self.lab)
        home = internet.home("home", Nat.PORT_RESTRICTED_CONE, "192.168.1.0/24")
        mobile = internet.home("mobile", Nat.SYMMETRIC_RANDOM, "10.64.0.0/24")
        places = {
            "berlin": internet.host,
            "tokyo": internet.host,
            "laptop": home.host,
            "nas": home.host,
            "phone": mobile.host,
        }
        self.hosts = {name: Host(self.lab, places[name](name)) for name in NAMES}

    def gather(self) -> None:
        """One host makes the mesh, the others join it with a token each, all at once."""
        self.table.step(f"{FOUNDER}: meshd init, meshd up, meshd invite")
        founder = self.hosts[FOUNDER]
        found(founder)
        joiners = [host for host in self.hosts.values() if host is not founder]
        self.table.step("tokyo, laptop, nas, phone: meshd join, meshd up")
        began = time.monotonic()
        admit(founder, joiners)
        self.until_all(all_alive, "every node to see every other", 20)
        self.figures.join_s = time.monotonic() - began

    def ping_pairs(self) -> None:
        """Every node pings every other over IPv4 and IPv6."""
        self.known = wait_connected(list(self.hosts.values()), 15.0)
        rtts: list[float] = []
        for a in NAMES:
            targets = [ip for b in NAMES if b != a for ip in self.known[b]]
            with Pinger(self.hosts[a].namespace) as pinger:
                rounds = [pinger.ping_all(targets, 2.0) for _ in range(PINGS)]
            for target in targets:
                answers = [rtt for each in rounds if (rtt := each[target]) is not None]
                if not answers:
                    raise LabError(f"{a} lost {target} after it had answered once")
                rtts.append(statistics.median(answers) * 1e3)
        self.figures.pairs = len(pairs())
        self.figures.rtt_ms = statistics.median(rtts)
        self.table.show(self.rows())
        self.table.step(
            f"all {len(pairs())} pairs answer over IPv4 and IPv6: "
            f"median {self.figures.rtt_ms:.2f} ms, worst {max(rtts):.2f} ms"
        )

    def move_bytes(self) -> None:
        """Random bytes over TCP, over both families, and their hashes."""
        payload = transfer.Payload(self.size)
        source, target = self.hosts[FOUNDER].namespace, self.hosts[VICTIM].namespace
        rates = []
        for family, address in zip(("IPv4", "IPv6"), self.known[VICTIM], strict=True):
            moved = transfer.tcp(source, target, address, payload)
            if not moved.intact:
                raise LabError(f"what arrived over {family} is not what was sent")
            rates.append(moved.gbit_per_s)
            self.table.step(
                f"{self.size / transfer.MIB:.0f} MiB {FOUNDER} to {VICTIM} over {family}: "
                f"{moved.gbit_per_s:.2f} Gbit/s, SHA-256 {moved.sent_sha256[:12]}... equal"
            )
        self.figures.tcp4, self.figures.tcp6 = rates

    def crash(self) -> None:
        """Kill one daemon and wait until every other one has declared it dead."""
        self.table.step(f"kill -9 of {VICTIM}'s meshd")
        self.hosts[VICTIM].kill()
        began = time.monotonic()
        others = [name for name in NAMES if name != VICTIM]
        times: dict[str, float] = {}

        def all_noticed(rows: Rows) -> bool:
            for name in others:
                if seen(rows, name, VICTIM, "dead"):
                    times.setdefault(name, time.monotonic() - began)
            return len(times) == len(others)

        self.until_all(all_noticed, f"all to notice that {VICTIM} is dead", 15)
        self.figures.detect_s = max(times.values())
        said = ", ".join(f"{name} {after:.1f} s" for name, after in times.items())
        self.table.step(f"{VICTIM} is dead to all: {said}")

    def come_back(self) -> None:
        """Start the daemon again: same addresses, and every pair talks again."""
        began = time.monotonic()
        victim = self.hosts[VICTIM]
        victim.start()
        again = addresses(victim.wait_up())
        if again != self.known[VICTIM]:
            raise LabError(f"{VICTIM} came back as {again} instead of {self.known[VICTIM]}")
        self.until_all(all_alive, f"every node to see {VICTIM} again", 15)
        wait_connected(list(self.hosts.values()), 15.0)
        took = time.monotonic() - began
        back = ", ".join(again)
        self.table.step(f"{VICTIM} is back as {back} after {took:.1f} s; all pairs talk")

    def until_all(self, condition: Callable[[Rows], bool], what: str, deadline_s: float) -> None:
        """Show the table until ``condition`` of its rows holds."""

        def check() -> bool:
            rows = self.rows()
            self.table.show(rows)
            return condition(rows)

        wait_until(check, what, deadline_s, interval_s=POLL_S)

    def rows(self) -> dict[str, dict[str, View]]:
        """What every running daemon says of the others, asked at the same time."""
        self.check()
        running = [host for host in self.hosts.values() if host.daemon is not None]
        with ThreadPoolExecutor(len(running)) as pool:
            answers = list(pool.map(lambda host: host.status(), running))
        return {
            host.name: views(status)
            for host, status in zip(running, answers, strict=True)
            if status is not None
        }


def pairs() -> list[tuple[str, str]]:
    """Every ordered pair of nodes."""
    return [(a, b) for a in NAMES for b in NAMES if a != b]


def seen(rows: Rows, a: str, b: str, state: str) -> bool:
    """Whether ``a`` says of ``b`` that it is in ``state``."""
    view = rows.get(a, {}).get(b)
    return view is not None and view.state == state


def all_alive(rows: Rows) -> bool:
    """Whether every node says of every other that it is alive."""
    return all(seen(rows, a, b, "alive") for a, b in pairs())


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Turn the signals that end a program into `Interrupted`, so that ``with`` blocks clean up.

    Python drops what a handler raises inside a finalizer: the function that this gives raises it
    again, if a signal has come.
    """
    came: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        raise Interrupted(number)

    def check() -> None:
        if came:
            raise Interrupted(came[0])

    before = {number: signal.signal(number, stop) for number in sorted(STOP_SIGNALS)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Sequence[str], stream: TextIO | None = None) -> int:
    """Run the demo and return the exit code; the last line is ``demo: ok ...`` or why not."""
    parser = argparse.ArgumentParser(prog="meshd demo", description="Five hosts, a crash.")
    parser.add_argument("--size", type=_mib, default=256, metavar="MIB", help="how much to move")
    options = parser.parse_args(argv)
    output = stream or sys.stdout
    logs: list[str] = []
    try:
        with interruptible() as check, Lab() as lab:
            demo = Demo(lab, LiveTable(NAMES, output), options.size * transfer.MIB, check)
            try:
                figures = demo.run()
                check()
            except LabError:
                logs = [tail(host) for host in demo.hosts.values()]
                raise
    except LabError as error:
        sys.stderr.write("".join(logs))
        output.write(f"demo: FAILED: {error}\n")
        return 1
    except Interrupted as error:
        output.write(f"demo: FAILED: {error}\n")
        return error.exit_code
    output.write(figures.line() + "\n")
    return 0


def _mib(text: str) -> int:
    """A size that both ends can hold in memory."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MAX_MIB:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {MAX_MIB}")
    return int(text)


def tail(host: Host) -> str:
    """The end of a daemon's log, with its name before every line."""
    lines = host.log_text().splitlines()[-LOG_TAIL:]
    return "".join(f"{host.name}: {line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
