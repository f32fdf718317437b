"""Single measurements between the two hosts of a contender, by iperf3 and ping."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

from benchmarks.contenders import Contender
from simulations.lab.namespaces import Lab
from simulations.lab.waiting import LabError

Measure = Callable[[Lab, Contender, int], float]


def tcp(contender: Contender, seconds: int, *options: str) -> float:
    """TCP payload received, in Gbit/s."""
    end = _iperf(contender, seconds, *options)
    return float(end["sum_received"]["bits_per_second"]) / 1e9


def udp64(contender: Contender, seconds: int) -> float:
    """UDP datagrams of 64 bytes received per second, in thousands, sent as fast as possible."""
    total = _iperf(contender, seconds, "--udp", "--length", "64", "--bandwidth", "0")["sum"]
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


MEASURES: dict[str, tuple[str, Measure]] = {
    "tcp1": ("Gbit/s", lambda lab, each, seconds: tcp(each, seconds)),
    "tcp1-back": ("Gbit/s", lambda lab, each, seconds: tcp(each, seconds, "--reverse")),
    "tcp4": ("Gbit/s", lambda lab, each, seconds: tcp(each, seconds, "--parallel", "4")),
    "udp64": ("kpps", lambda lab, each, seconds: udp64(each, seconds)),
    "ping-idle": ("us", lambda lab, each, seconds: ping_us(each, 200, 0.005)),
    "ping-loaded": ("us", ping_loaded_us),
}
"""Each measure's unit and function; in microseconds less is better, in the others more."""


def _iperf(contender: Contender, seconds: int, *options: str) -> dict[str, Any]:
    line = ["iperf3", "--json", "-c", contender.address, "-t", str(seconds), *options]
    try:
        done = subprocess.run(
            contender.left.command(line), capture_output=True, text=True, timeout=seconds + 30
        )
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise LabError(f"{contender.name}: iperf3 gave no result: {error}") from error
    if "error" in answer:
        raise LabError(f"{contender.name}: iperf3: {answer['error']}")
    return dict(answer["end"])
