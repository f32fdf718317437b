"""What a mesh does when the network changes under it: each change measured beside its target.

              public      spare        in the open, both willing to relay
                 \\        /
                  internet             a few milliseconds away from everybody
                  /      \\
               left      right         behind NATs, which decide what the two start with
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from simulations.lab import transfer
from simulations.lab.beat import Beat
from simulations.lab.demo import Interrupted, interruptible
from simulations.lab.enrolled import LEFT, PUBLIC, RIGHT, Enrolled, enrol_once
from simulations.lab.host import Host
from simulations.lab.mesh import View, views
from simulations.lab.namespaces import Lab
from simulations.lab.nat import cut, mend
from simulations.lab.sites import NATS, Site
from simulations.lab.topology import Home, Internet
from simulations.lab.waiting import LabError, wait_until
from simulations.lab.wan import Line

SPARE = "spare"
NAMES = (PUBLIC, SPARE, LEFT, RIGHT)
LINE = Line(delay_ms=2.0)
FAR = Line(delay_ms=40.0)
"""Of a relay that a better one is to replace."""
NARROW = Line(delay_ms=2.0, rate_mbit=100.0, queue=80)
DISTANT = Line(delay_ms=98.0, rate_mbit=100.0, queue=800)
READY_S, SETTLE_S, QUIET_S = 25.0, 8.0, 15.0
"""Limits for a start, and how long things are left alone before a change: in use, and idle."""
WATCH_S = 60.0
BULK = 64 * transfer.MIB
DROP_UDP = "meta l4proto udp drop"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one change; None where it did not happen at all."""

    change: str
    what: str
    value: float | None
    limit: float
    unit: str = "s"

    @property
    def ok(self) -> bool:
        """Whether the target is met."""
        return self.value is not None and self.value <= self.limit

    def line(self) -> str:
        """For the table."""
        value = "never" if self.value is None else f"{self.value:.2f} {self.unit}"
        target = f"at most {self.limit:g} {self.unit}"
        verdict = "ok" if self.ok else "MISSED"
        return f"{self.change:<20} {self.what:<38} {value:>10}   {target:<15} {verdict}"


class Stage:
    """The four of them, up and connected."""

    def __init__(self, mesh: Enrolled, lab: Lab, sites: tuple[Site, Site], line: Line) -> None:
        self.mesh = mesh
        self.internet = Internet(lab, line=line)
        self.public, self.spare = (
            mesh.wake(lab, self.internet.host(name)) for name in (PUBLIC, SPARE)
        )
        self.homes: list[Home] = [
            self.internet.home(name, NATS[site], f"192.168.{number}.0/24")
            for number, (name, site) in enumerate(zip((LEFT, RIGHT), sites, strict=True), 1)
        ]
        self.left, self.right = (
            mesh.wake(lab, home.host(name))
            for name, home in zip((LEFT, RIGHT), self.homes, strict=True)
        )

    def start(self, *hosts: Host) -> None:
        """Start daemons, and wait until they can say how they are."""
        for host in hosts:
            host.start()
        for host in hosts:
            host.wait_up(READY_S)

    def meet(self, kind: str) -> None:
        """Wait until left and right use ways of this ``kind``, and for things to settle."""
        with self.beat():
            wait_until(
                lambda: self.kinds() == (kind, kind),
                f"a {kind} path between left and right",
                READY_S,
                interval_s=0.2,
                detail=lambda: "/".join(self.kinds()),
            )
            time.sleep(SETTLE_S)

    def beat(self, interval_s: float = 0.01) -> Beat:
        """Left pings right."""
        return Beat(self.left.namespace, self.mesh.addresses[RIGHT], interval_s)

    def view(self, host: Host, peer: str) -> View | None:
        """What ``host`` says of the member of this name."""
        status = host.status()
        return views(status).get(peer) if status else None

    def kinds(self) -> tuple[str, str]:
        """The kinds of path that left and right use to each other."""
        seen = (self.view(self.left, RIGHT), self.view(self.right, LEFT))
        return ((seen[0] and seen[0].kind) or "-", (seen[1] and seen[1].kind) or "-")

    def relay(self) -> Host:
        """Through whom left reaches right now. Raises LabError if through nobody."""
        view = self.view(self.left, RIGHT)
        for host in (self.public, self.spare):
            status = host.status()
            if view and status and status["self"]["id"] == view.via:
                return host
        raise LabError("left reaches right through no relay")


@contextlib.contextmanager
def staged(
    mesh: Enrolled, one: Site = Site.PORT_RESTRICTED, other: Site | None = None, line: Line = LINE
) -> Iterator[Stage]:
    """A stage in a lab of its own, nobody started yet."""
    with Lab() as lab:
        yield Stage(mesh, lab, (one, other or one), line)


def since(began: float, condition: Callable[[], bool], limit_s: float) -> float | None:
    """Seconds from ``began`` until ``condition``, None if it does not come about in time."""
    while not condition():
        if time.monotonic() - began > limit_s:
            return None
        time.sleep(0.05)
    return time.monotonic() - began


def relay_dies(mesh: Enrolled) -> Iterator[Row]:
    """``kill -9`` of the relay in use, while packets flow."""
    with staged(mesh, Site.RANDOM) as stage:
        stage.start(stage.public, stage.spare, stage.left, stage.right)
        stage.meet("relay")
        with stage.beat() as beat:
            time.sleep(SETTLE_S)
            began = time.monotonic()
            stage.relay().kill()
            time.sleep(SETTLE_S)
            yield Row("relay dies", "longest pause, packets flow", beat.gap(began), 1.0)


def relay_dies_idle(mesh: Enrolled) -> Iterator[Row]:
    """The same while none do: until another way is in use at both ends."""
    with staged(mesh, Site.RANDOM) as stage:
        stage.start(stage.public, stage.spare, stage.left, stage.right)
        stage.meet("relay")
        time.sleep(QUIET_S)
        relay = stage.relay()
        status = relay.status()
        gone = status["self"]["id"] if status else None
        began = time.monotonic()
        relay.kill()

        def elsewhere() -> bool:
            seen = (stage.view(stage.left, RIGHT), stage.view(stage.right, LEFT))
            return all(view and view.kind and view.via != gone for view in seen)

        yield Row("relay dies", "idle: until both use another way", since(began, elsewhere, 30), 7)


def direct_dies(mesh: Enrolled) -> Iterator[Row]:
    """The internet drops UDP between the two homes, first while packets flow, then idle."""
    with staged(mesh) as stage:
        stage.start(stage.public, stage.spare, stage.left, stage.right)
        one, other = (home.public_address for home in stage.homes)
        rule = f"ip saddr {{ {one}, {other} }} ip daddr {{ {one}, {other} }} drop"
        stage.meet("direct")
        with stage.beat() as beat:
            time.sleep(SETTLE_S)
            began = time.monotonic()
            cut(stage.internet.router, rule)
            time.sleep(SETTLE_S)
            yield Row("direct path dies", "longest pause, packets flow", beat.gap(began), 1.0)
        mend(stage.internet.router)
        stage.meet("direct")
        time.sleep(QUIET_S)
        began = time.monotonic()
        cut(stage.internet.router, rule)
        took = since(began, lambda: stage.kinds() == ("relay", "relay"), 30.0)
        yield Row("direct path dies", "idle: until both use a relay", took, 7.0)


def udp_blocked(mesh: Enrolled) -> Iterator[Row]:
    """A firewall before left drops UDP for half a minute, in mid-session with an open node."""
    with staged(mesh) as stage:
        stage.start(stage.public, stage.spare, stage.left, stage.right)
        stage.meet("direct")

        def kind() -> str | None:
            view = stage.view(stage.left, PUBLIC)
            return view.kind if view else None

        with Beat(stage.left.namespace, mesh.addresses[PUBLIC]) as beat:
            time.sleep(SETTLE_S)
            began = time.monotonic()
            cut(stage.homes[0].gateway, DROP_UDP)
            took = since(began, lambda: kind() == "stream", SETTLE_S)
            yield Row("UDP blocked", "until a stream is used", took, 3.0)
            time.sleep(SETTLE_S)
            yield Row("UDP blocked", "longest pause, packets flow", beat.gap(began), 3.0)
            time.sleep(QUIET_S)
            began = time.monotonic()
            mend(stage.homes[0].gateway)
            took = since(began, lambda: kind() == "direct", 40.0)
            yield Row("UDP is back", "until it is used", took, 15.0)
            yield Row("UDP is back", "longest pause meanwhile", beat.gap(began), 1.0)


def better_relay(mesh: Enrolled) -> Iterator[Row]:
    """The relay in use is far away; a near one comes up."""
    with staged(mesh, Site.RANDOM) as stage:
        stage.internet.change_line(stage.public.namespace, FAR)
        stage.start(stage.public, stage.left, stage.right)
        stage.meet("relay")
        with stage.beat(0.05):
            began = time.monotonic()
            stage.start(stage.spare)

            def taken() -> bool:
                with contextlib.suppress(LabError):
                    return stage.relay() is stage.spare
                return False

            yield Row("better relay", "until it is taken", since(began, taken, 60.0), 30.0)


def equal_relays(mesh: Enrolled) -> Iterator[Row]:
    """Two relays as near as each other, while packets flow for a minute."""
    with staged(mesh, Site.RANDOM) as stage:
        stage.start(stage.public, stage.spare, stage.left, stage.right)
        stage.meet("relay")
        with stage.beat(0.02):
            switches, end, before = 0, time.monotonic() + WATCH_S, stage.relay()
            while time.monotonic() < end:
                time.sleep(0.25)
                now = stage.relay()
                switches, before = switches + (now is not before), now
        yield Row("equal relays", "switches in a minute", switches, 1, "")


def bulk_on_a_stream(mesh: Enrolled) -> Iterator[Row]:
    """TCP to the public node over a stream, on a line of 100 Mbit/s, and a ping beside it."""
    yield from _bulk(mesh, "bulk on a stream", NARROW, 1.5)


def bulk_far_away(mesh: Enrolled) -> Iterator[Row]:
    """The same over a tenth of a second, where the line could hold as much again in its queue."""
    yield from _bulk(mesh, "bulk far away", DISTANT, 3.0)


def _bulk(mesh: Enrolled, change: str, line: Line, most: float) -> Iterator[Row]:
    """``most``: times the throughput that the line's rate may be."""
    with staged(mesh, Site.NO_UDP, Site.PORT_RESTRICTED) as stage:
        for home in stage.homes:
            stage.internet.change_line(home.gateway, line)
        stage.start(stage.public, stage.left)
        wait_until(
            lambda: (seen := stage.view(stage.left, PUBLIC)) is not None and seen.kind == "stream",
            "a stream to the public node",
            READY_S,
        )
        address = mesh.addresses[PUBLIC]
        with Beat(stage.left.namespace, address, 0.05) as beat:
            began = time.monotonic()
            time.sleep(SETTLE_S)
            idle = statistics.median(beat.round_trips(began))
            began, payload = time.monotonic(), transfer.Payload(BULK)
            moved = transfer.tcp(
                stage.left.namespace, stage.public.namespace, address, payload, 60.0
            )
            times = beat.round_trips(began)
            added = times[len(times) * 95 // 100] - idle if times else None
        rate = moved.gbit_per_s * 1e3
        yield Row(change, "ping's p95 above idle", added and added * 1e3, 100.0, "ms")
        yield Row(change, "line's rate over throughput", line.rate_mbit / rate, most, "x")


CHANGES: dict[str, Callable[[Enrolled], Iterator[Row]]] = {
    "relay-dies": relay_dies,
    "relay-dies-idle": relay_dies_idle,
    "direct-dies": direct_dies,
    "udp-blocked": udp_blocked,
    "better-relay": better_relay,
    "equal-relays": equal_relays,
    "bulk-on-a-stream": bulk_on_a_stream,
    "bulk-far-away": bulk_far_away,
}


def run(names: Sequence[str], output: TextIO) -> list[Row]:
    """Make the changes one after the other; a line for each figure. Raises LabError."""
    rows: list[Row] = []
    with Lab() as lab:
        mesh = enrol_once(lab, NAMES)
        for name in names:
            try:
                for row in CHANGES[name](mesh):
                    rows.append(row)
                    output.write(f"{row.line()}\n")
                    output.flush()
            except LabError as error:
                rows.append(Row(name, str(error), None, 0.0))
                output.write(f"{rows[-1].line()}\n")
    return rows


def main(argv: Sequence[str], stream: TextIO | None = None) -> int:
    """Run the changes and return the exit code: 0 when every target is met."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations.lab.changes", description="What a mesh does when things change."
    )
    parser.add_argument("--only", nargs="+", choices=CHANGES, metavar="CHANGE", default=[*CHANGES])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args(argv)
    output = stream or sys.stdout
    try:
        with interruptible() as check:
            rows = run(options.only, output)
            check()
    except LabError as error:
        output.write(f"changes: FAILED: {error}\n")
        return 1
    except Interrupted as error:
        output.write(f"changes: FAILED: {error}\n")
        return error.exit_code
    missed = [row for row in rows if not row.ok]
    if options.json:
        figures = [{**asdict(row), "ok": row.ok} for row in rows]
        options.json.write_text(json.dumps({"rows": figures, "ok": not missed}, indent=2) + "\n")
    output.write(f"changes: {f'{len(missed)} of {len(rows)} missed' if missed else 'ok'}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
