"""Single measurements between the two hosts of a contender, by iperf3 and ping."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

from benchmarks.contenders import Contender
from benchmarks.rows import Figures
from simulations.lab.namespaces import Lab
from simulations.lab.waiting import LabError

Measure = Callable[[Lab, Contender, int], Figures]
UNITS = {
    "tcp1": "Gbit/s",
    "tcp1-back": "Gbit/s",
    "tcp4": "Gbit/s",
    "udp64": "kpps",
    "ping-idle": "us",
    "ping-loaded": "us",
    "lossy": "Mbit/s",
    "reorder": "Mbit/s",
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


def ping_us(contender: Contender, count: int, interval_s: float) -> float:
    """The mean round trip in microseconds."""
    line = ["ping", "-q", "-c", str(count), "-i", str(interval_s), contender.address]
    found = re.search(r"= [\d.]+/([\d.]+)/", contender.left.run(*line))
    if found is None:
        raise LabError(f"{contender.name}: no ping was answered")
    return float(found[1]) * 1e3


def ping_loaded_us(lab: Lab, contender: Contender, seconds: int) -> float:
    """The mean round trip in microseconds while one TCP stream runs."""
    line = ["iperf3", "-c", contender.address, "-t", str(seconds + 1)]
    load = lab.popen(contender.left.command(line))
    count = seconds * 50
    try:
        ping_us(contender, 10, 0.02)  # the stream has found its rate after this
        return ping_us(contender, count, seconds * 0.8 / count)
    finally:
        load.wait(seconds + 20)


MEASURES: dict[str, Measure] = {
    "tcp1": lambda lab, each, seconds: {"tcp1": tcp(each, seconds)},
    "tcp1-back": lambda lab, each, seconds: {"tcp1-back": tcp(each, seconds, "--reverse")},
    "tcp4": lambda lab, each, seconds: {"tcp4": tcp(each, seconds, "--parallel", "4")},
    "udp64": lambda lab, each, seconds: {"udp64": udp64(each, seconds)},
    "ping-idle": lambda lab, each, seconds: {"ping-idle": ping_us(each, 200, 0.005)},
    "ping-loaded": lambda lab, each, seconds: {"ping-loaded": ping_loaded_us(lab, each, seconds)},
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
        raise LabError(f"{contender.name}: iperf3 gave no result: {error}") from error
    if "error" in answer:
        raise LabError(f"{contender.name}: iperf3: {answer['error']}")
    return answer
