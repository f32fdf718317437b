"""The data plane beside a bare cable, a C forwarder and wireguard-go: medians of taking turns."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.contenders import CONTENDERS, Contender, make, need
from benchmarks.measure import MEASURES
from benchmarks.report import Samples, Target, medians, ratio, table
from simulations.lab.namespaces import Lab


def collect(
    lab: Lab, contenders: Sequence[Contender], measures: Sequence[str], rounds: int, seconds: int
) -> Samples:
    """``rounds`` times each measure on every contender in turn, starting with another each time."""
    samples: dict[str, dict[str, list[float]]] = {
        measure: {each.name: [] for each in contenders} for measure in measures
    }
    for turn in range(rounds):
        for measure in measures:
            start = turn % len(contenders)
            for each in [*contenders[start:], *contenders[:start]]:
                value = MEASURES[measure][1](lab, each, seconds)
                samples[measure][each.name].append(value)
                print(f"round {turn + 1}: {measure} {each.name} {value:.3f}", file=sys.stderr)
    return samples


def targets(samples: Samples) -> list[Target]:
    """What was promised of the data plane, as far as it was measured."""
    wanted = [
        ("one TCP stream over wireguard-go's", "tcp1", "wireguard-go", 3.0),
        ("one TCP stream over the C forwarder's", "tcp1", "null", 0.35),
        ("64-byte UDP over wireguard-go's", "udp64", "wireguard-go", 2.0),
    ]
    return [
        Target(name, value, least=least)
        for name, measure, under, least in wanted
        if (value := ratio(samples, measure, "aegisray", under)) is not None
    ]


def show(samples: Samples) -> str:
    """The medians, and under each other's what AegisRay's is of it."""
    middle = medians(samples)
    names = list(next(iter(middle.values())))
    rows = []
    for name in names:
        rows.append([name, *(f"{middle[measure][name]:.2f}" for measure in middle)])
    for name in names:
        if name != "aegisray" and "aegisray" in names:
            found = [ratio(samples, measure, "aegisray", name) for measure in middle]
            rows.append([f"aegisray / {name}", *(f"{value or 0:.2f}" for value in found)])
    header = ["", *(f"{measure} {MEASURES[measure][0]}" for measure in middle)]
    return table(header, rows)


def main(argv: Sequence[str]) -> tuple[dict[str, object], list[Target]]:
    """Measure, print the table, and return the JSON's content and the targets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks datapath", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--measure", nargs="+", choices=MEASURES, default=list(MEASURES))
    options = parser.parse_args(argv)
    need("iperf3", "ping")
    with Lab() as lab:
        contenders = [make(lab, name) for name in options.only]
        samples = collect(lab, contenders, options.measure, options.rounds, options.seconds)
    print(show(samples))
    return {"rounds": samples, "medians": medians(samples)}, targets(samples)
