"""Single measurements between the two hosts of a contender: iperf3, ping, and a C program."""

from __future__ import annotations

import json
import math
import os
import re
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pairs import Contender, compiled, serve
from benchmarks.rows import Figures
from simulations.lab.namespaces import Lab
from simulations.lab.waiting import LabError

Measure = Callable[[Lab, Contender, int], Figures]
ROUND_TRIPS_PORT = 5301
SPACING_S = 0.005
"""Between the pings under load; it takes 80 % of the time, as the stream first has to start."""
UNITS = {
    "tcp1": "Gbit/s",
    "tcp1-back": "Gbit/s",
    "tcp4": "Gbit/s",
    "udp64": "kpps",
    "ping-idle": "us",
    "round-trips": "thousand/s",
    "ping-loaded": "us",
    "ping-loaded-p99": "us",
    "cpu-sender": "s/GB",
    "cpu-receiver": "s/GB",
    "lossy": "Mbit/s",
    "bursty": "Mbit/s",
    "reorder": "Mbit/s",
    "news-mean": "us",
    "news-p99.9": "us",
    "news-lost": "of pings",
    "news-messages": "received",
    "crash": "s",
    "relay-tcp1": "Gbit/s",
    "stream-tcp1": "Gbit/s",
    "stream-ping": "us",
    "relay-ping": "us",
    "bottleneck-inside": "Mbit/s",
    "bottleneck-beside": "Mbit/s",
    "bottleneck-share": "of both",
    "bottleneck-parity": "of segments",
}
"""By the first word of a figure's name; less is better of times, more of the others."""


def unit(figure: str) -> str:
    """The unit of a figure."""
    return UNITS[figure.partition(" ")[0]]


def tcp(contender: Contender, seconds: int, *options: str) -> float:
    """TCP payload received, in Gbit/s."""
    end = iperf(contender, seconds, *options)["end"]
    return float(end["sum_received"]["bits_per_second"]) / 1e9


def udp64(contender: Contender, seconds: int) -> float:
    """UDP datagrams of 64 bytes received per second, in thousands, sent as fast as possible."""
    options = ["--udp", "--length", "64", "--bandwidth", "0"]
    total = iperf(contender, seconds, *options)["end"]["sum"]
    return float((total["packets"] - total["lost_packets"]) / total["seconds"] / 1e3)


def round_trips(lab: Lab, contender: Contender, seconds: int) -> float:
    """One byte there and one back over one TCP connection, in thousands per second."""
    command = [str(compiled(lab, "roundtrips")), str(ROUND_TRIPS_PORT)]
    server = serve(lab, contender.right, command, ROUND_TRIPS_PORT)
    try:
        line = [*command, contender.address, str(seconds)]
        return float(contender.left.run(*line, timeout_s=seconds + 20)) / 1e3
    finally:
        server.kill()
        server.wait()


def pings_us(contender: Contender, count: int, interval_s: float) -> list[float]:
    """Round trips in microseconds, of those that were answered."""
    line = ["ping", "-c", str(count), "-i", f"{interval_s:.4f}", "-W", "1", contender.address]
    said = contender.left.run(*line, timeout_s=count * interval_s + 20)
    times = [float(text) * 1e3 for text in re.findall(r" time=([\d.]+) ms", said)]
    if not times:
        raise LabError(f"no ping to {contender.address} was answered")
    return times


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that ``percent`` of them do not exceed (nearest rank)."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100), 1) - 1]


def pings_loaded_us(lab: Lab, contender: Contender, seconds: int) -> list[float]:
    """Round trips in microseconds while one TCP stream runs."""
    line = ["iperf3", "-c", contender.address, "-t", str(seconds + 1)]
    load = lab.popen(contender.left.command(line))
    try:
        pings_us(contender, 10, 0.02)  # the stream has found its rate after this
        return pings_us(contender, round(seconds * 0.8 / SPACING_S), SPACING_S)
    finally:
        load.wait(seconds + 20)


def cpu_seconds(process: int) -> float:
    """User and system time that a process has used so far (proc(5), stat fields 14 and 15)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stream(contender: Contender, seconds: int) -> Figures:
    """One TCP stream, and what its forwarding cost the sender and the receiver per 10^9 bytes."""
    before = [cpu_seconds(process) for process in contender.forwarders]
    received = iperf(contender, seconds)["end"]["sum_received"]
    used = [cpu_seconds(process) for process in contender.forwarders]
    costs = [(b - a) / received["bytes"] * 1e9 for a, b in zip(before, used, strict=True)]
    rate = received["bits_per_second"] / 1e9
    return {"tcp1": rate, **dict(zip(("cpu-sender", "cpu-receiver"), costs, strict=False))}


def _loaded(lab: Lab, contender: Contender, seconds: int) -> Figures:
    times = pings_loaded_us(lab, contender, seconds)
    return {"ping-loaded": statistics.fmean(times), "ping-loaded-p99": percentile(times, 99)}


MEASURES: dict[str, Measure] = {
    "tcp1": lambda lab, each, seconds: stream(each, seconds),
    "tcp1-back": lambda lab, each, seconds: {"tcp1-back": tcp(each, seconds, "--reverse")},
    "tcp4": lambda lab, each, seconds: {"tcp4": tcp(each, seconds, "--parallel", "4")},
    "udp64": lambda lab, each, seconds: {"udp64": udp64(each, seconds)},
    "round-trips": lambda lab, each, seconds: {"round-trips": round_trips(lab, each, seconds)},
    "ping-idle": lambda lab, each, _: {"ping-idle": statistics.fmean(pings_us(each, 200, 0.005))},
    "ping-loaded": _loaded,
}
"""What is measured over a cable."""


def iperf(contender: Contender, seconds: int, *options: str) -> dict[str, Any]:
    """One run of the iperf3 client at the left host: its whole JSON."""
    line = ["iperf3", "--json", "-c", contender.address, "-t", str(seconds), *options]
    try:
        done = subprocess.run(
            contender.left.command(line), capture_output=True, text=True, timeout=seconds + 30
        )
        answer = dict(json.loads(done.stdout))
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise LabError(f"iperf3 gave no result: {error}") from error
    if "error" in answer:
        raise LabError(f"iperf3: {answer['error']}")
    return answer
