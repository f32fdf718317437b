"""A node in stealth mode beside a plain website: whether strangers can tell them apart.

Three servers show the same site with the same certificate: a real daemon, and twice the same
server without a mesh, so that one of these shows what is chance. A stranger visits them in turns.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks import plainsite
from benchmarks.eavesdropper import PORT as PROXY_PORT
from benchmarks.eavesdropper import Eavesdropper
from benchmarks.measure import percentile
from benchmarks.pairs import need
from benchmarks.report import Target, table
from benchmarks.visits import PORT, Answer, Kind, alike, kinds, visit
from simulations.lab.host import Host
from simulations.lab.mesh import admit, found, views, wait_connected
from simulations.lab.namespaces import Lab, Namespace
from simulations.lab.nat import cut
from simulations.lab.topology import Internet
from simulations.lab.waiting import LabError, wait_until

TRIES = 1000
SPREAD = 1.1
"""The most that a time may be of the plain website's, or that one's of it."""
NODE, PLAIN, CONTROL = "node", "plain", "control"
NO_UDP = "meta l4proto udp drop"
PAGE = "<!DOCTYPE html>\n<title>Gardening</title>\n<p>The beans are late this year.</p>\n"
CALLER: Mapping[str, str | bool] = {"security.use_tls": False}
"""Of a member that cannot be dialled, so that it dials."""
S_CLIENT = ("openssl", "s_client", "-brief", "-connect")
SCANS = {
    "curl": ("curl", "-sSki", "https://{}/"),
    "curl, a missing page": ("curl", "-sSki", "https://{}/.git/config"),
    "curl, plain HTTP": ("curl", "-sSi", "http://{}:443/"),
    "openssl": (*S_CLIENT, "{}:443", "-alpn", "h2,http/1.1"),
    "openssl, TLS 1.2": (*S_CLIENT, "{}:443", "-tls1_2"),
    "nmap": ("nmap", "-Pn", "-n", "-p443", "-sV", "--version-all", "{}"),
}
"""Programs that ask; their answers are compared as they print them."""
_CHANGING = re.compile(
    r"(?im)^date: .*$|\d{4}-\d\d-\d\d \d\d:\d\d.*$|[\d.]+ ?s(econds)?\b.*$|\(.*latency\)"
    r"|^[0-9A-F]+:(?=error)"
)


@dataclass(frozen=True, slots=True)
class Stage:
    """The servers' addresses and processes by name, where the stranger is, and what was
    overheard."""

    places: dict[str, str]
    processes: dict[str, int]
    stranger: Namespace
    wire: bytes
    flight: bytes


@dataclass(slots=True)
class Times:
    """Seconds of each try at each server, processor seconds of one in the mean, and how many
    answers were not the plain website's."""

    hello: dict[str, list[float]] = field(default_factory=dict)
    answer: dict[str, list[float]] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    different: int = 0


def stage(lab: Lab) -> Stage:
    """Start everything; a member is connected by a stream. Raises LabError."""
    need("curl", "openssl", "nmap")
    site = lab.directory / "site"
    site.mkdir()
    (site / "index.html").write_text(PAGE)
    internet = Internet(lab)
    spaces, at = {}, {}
    for name in (NODE, "member", "proxy", PLAIN, CONTROL, "stranger"):
        spaces[name] = lab.namespace(name)
        at[name] = internet.attach(spaces[name])
    node = Host(
        lab,
        spaces[NODE],
        {"security.stealth_mode": True, "security.fallback": str(site)},
    )
    member = Host(lab, spaces["member"], CALLER)
    found(node)
    admit(node, [member])
    wait_connected([node, member])
    cut(internet.router, NO_UDP)
    files = node.state / "tls.crt", node.state / "tls.key"
    ear = Eavesdropper(spaces["proxy"], *files)
    _restart(member, {**CALLER, "network.proxy": f"http://{at['proxy']}:{PROXY_PORT}"})
    if not ear.done.wait(30.0):
        raise LabError("no member's stream was overheard")
    ear.close()
    _restart(member, CALLER)
    wait_until(lambda: _by_stream(member), "the member to come by a stream", 20.0)
    command = [sys.executable, "-m", plainsite.__name__, *map(str, files), str(PORT), str(site)]
    servers = [lab.popen(spaces[name].command(command)) for name in (PLAIN, CONTROL)]
    processes = dict(zip((PLAIN, CONTROL), (server.pid for server in servers), strict=True))
    processes[NODE] = node.daemon.pid if node.daemon is not None else 0
    _share_a_processor(list(processes.values()))
    places = {name: at[name] for name in (NODE, PLAIN, CONTROL)}
    made = Stage(places, processes, spaces["stranger"], ear.wire, ear.flight)
    first = kinds(made.wire, made.flight)[-1]
    for name, place in places.items():
        wait_until(lambda p=place: _reached(made, p, first), f"{name} to answer", 10.0)  # type: ignore[misc]
    return made


def _share_a_processor(servers: Sequence[int]) -> None:
    """Give all servers the last processor, and this process the first: where two of them run on
    different ones, beside different neighbours, their times differ by half."""
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[0]})
    for server in servers:
        os.sched_setaffinity(server, {processors[-1]})


def _restart(host: Host, settings: Mapping[str, str | bool]) -> None:
    host.terminate()
    host.configure(settings)
    host.start()


def _by_stream(host: Host) -> bool:
    seen = views(host.status() or {"peers": []})
    return [view.kind for view in seen.values()] == ["stream"]


def _reached(made: Stage, place: str, kind: Kind) -> Answer | None:
    try:
        return visit(made.stranger, place, kind, 0)
    except OSError:
        return None


def idle(made: Stage, seconds: float = 3.0) -> dict[str, float]:
    """The processor seconds that each server takes per second while nobody visits it."""
    before = _worked(made)
    time.sleep(seconds)
    return {name: (after - before[name]) / seconds for name, after in _worked(made).items()}


def _worked(made: Stage) -> dict[str, float]:
    """Seconds that each server had the processor: that is told in nanoseconds, and does not grow
    while it waits for its turn on a busy machine."""
    return {
        name: int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9
        for name, process in made.processes.items()
    }


def watch(made: Stage, kind: Kind, tries: int, alone: Mapping[str, float]) -> Times:
    """Visit each server so often, in an order that chance decides. `alone`: what each works
    without that. Raises LabError."""
    rng, times = Random(kind.name), Times()
    names = [*made.places]
    before, began = _worked(made), time.monotonic()
    for name in names:
        times.hello[name], times.answer[name] = [], []
    gc.collect()
    gc.disable()
    try:
        for number in range(tries):
            rng.shuffle(names)
            got = {name: visit(made.stranger, made.places[name], kind, number) for name in names}
            for name, answer in got.items():
                times.hello[name].append(answer.hello)
                times.answer[name].append(answer.answer)
            times.different += not alike(got[NODE], got[PLAIN], kind)
    except OSError as error:
        raise LabError(f"{kind.name}: no answer: {error}") from error
    finally:
        gc.enable()
    took = time.monotonic() - began
    for name, after in _worked(made).items():
        times.work[name] = (after - before[name] - alone[name] * took) / tries
    return times


def scan(made: Stage) -> dict[str, dict[str, str]]:
    """What each program prints of each server, but for dates, durations and the address."""
    return {
        name: {server: _asked(made, line, place) for server, place in made.places.items()}
        for name, line in SCANS.items()
    }


def _asked(made: Stage, line: Sequence[str], place: str) -> str:
    words = [word.format(place) for word in line]
    done = subprocess.run(
        made.stranger.command(words), input="", capture_output=True, text=True, timeout=120
    )
    said = f"{done.returncode}\n{done.stdout}{done.stderr}".replace(place, "ADDRESS")
    return _CHANGING.sub("", said)


def judged(kind: str, what: str, seconds: Mapping[str, Sequence[float]]) -> Iterator[Target]:
    """Whether the node's times are the plain website's: p50 and p99."""
    for percent in (50, 99):
        ours, plain = (percentile(seconds[name], percent) for name in (NODE, PLAIN))
        most = max(ours / plain, plain / ours)
        yield Target(f"{kind}, {what} p{percent}, apart by a factor", most, most=SPREAD)


def row(kind: str, what: str, seconds: Mapping[str, Sequence[float]]) -> list[str]:
    """A line of the table: p50 and p99 of the plain website in ms, and the others' ratios to it."""
    cells = [f"{kind}, {what}"]
    for percent in (50, 99):
        plain = percentile(seconds[PLAIN], percent)
        cells.append(f"{plain * 1e3:.2f}")
        cells += [f"{percentile(seconds[n], percent) / plain:.2f}" for n in (NODE, CONTROL)]
    return cells


def work_row(kind: str, seconds: Mapping[str, float]) -> list[str]:
    """The same of the processor's time in the mean, where there is no p99."""
    ratios = [f"{seconds[name] / seconds[PLAIN]:.2f}" for name in (NODE, CONTROL)]
    return [f"{kind}, processor", f"{seconds[PLAIN] * 1e3:.2f}", *ratios, "", "", ""]


def main(argv: Sequence[str]) -> tuple[dict[str, object], list[Target]]:
    """Measure, print, and return the JSON's content and the targets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks stealth", description=__doc__)
    parser.add_argument("--tries", type=int, default=TRIES, help="of each kind at each server")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="of visits; all without")
    options = parser.parse_args(argv)
    if options.tries < 1:
        raise LabError("--tries takes a positive number")
    rows, targets, samples, work = [], [], {}, {}
    with Lab() as lab:
        made = stage(lab)
        alone = idle(made)
        for kind in kinds(made.wire, made.flight):
            if options.kinds and kind.name not in options.kinds:
                continue
            times = watch(made, kind, options.tries, alone)
            parts = (
                {"hello": times.hello, "answer": times.answer}
                if kind.tls
                else {"answer": times.answer}
            )
            samples[kind.name] = parts
            targets.append(Target(f"{kind.name}: answers that differ", times.different, most=0))
            for what, seconds in parts.items():
                rows.append(row(kind.name, what, seconds))
                targets += judged(kind.name, what, seconds)
            rows.append(work_row(kind.name, times.work))
            work[kind.name] = times.work
        scans = scan(made)
    for name, said in scans.items():
        targets.append(Target(f"{name}: answers that differ", said[NODE] != said[PLAIN], most=0))
    header = ["", "p50 ms", "node /", "control /", "p99 ms", "node /", "control /"]
    print(table(header, rows))
    return {"tries": options.tries, "seconds": samples, "work": work, "scans": scans}, targets
