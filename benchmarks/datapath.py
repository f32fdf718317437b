"""The data plane beside a bare line, a C forwarder and other VPNs: medians of taking turns."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from benchmarks.contenders import CONTENDERS, cable, make, need
from benchmarks.lossy import CONTENDERS as FAR
from benchmarks.lossy import CONTROLS, LOSSES, WARM_S, Lines, lossy
from benchmarks.measure import MEASURES, unit
from benchmarks.report import Samples, Target, medians, ratio, table
from benchmarks.rows import Row, collect
from simulations.lab.namespaces import Lab

OTHERS = ("lossy", "reorder")


def near(lab: Lab, names: Sequence[str], measures: Sequence[str], seconds: int) -> list[Row]:
    """What is measured between two hosts with a cable."""
    made = {name: make(lab, name, cable(lab, f"near{i}")) for i, name in enumerate(names)}
    return [
        Row(measure, {n: partial(MEASURES[measure], lab, c, seconds) for n, c in made.items()})
        for measure in measures
    ]


def far(lab: Lab, options: argparse.Namespace) -> list[Row]:
    """What is measured over a WAN."""
    lines = Lines(lab, options.only or FAR, options.seconds, options.warm)
    rows = lines.lossy(options.cc, options.loss) if "lossy" in options.measure else []
    return rows + (lines.reorder(options.cc) if "reorder" in options.measure else [])


def targets(samples: Samples) -> list[Target]:
    """What was promised of the data plane, as far as it was measured."""
    wanted = [
        ("one TCP stream over wireguard-go's", "tcp1", "wireguard-go", 3.0),
        ("one TCP stream over the C forwarder's", "tcp1", "null", 0.35),
        ("64-byte UDP over wireguard-go's", "udp64", "wireguard-go", 2.0),
    ]
    for percent in (0.0, 0.5, 1.0, 2.0, 4.0):
        name = f"BBR at {percent:g} % loss over bare BBR"
        wanted.append((name, lossy("bbr", percent), "bare", 0.95))
    found = [
        Target(name, value, least=least)
        for name, measure, under, least in wanted
        if (value := ratio(samples, measure, "aegisray", under)) is not None
    ]
    middle = medians(samples)
    for percent, least in ((0.5, 300.0), (1.0, 300.0), (2.0, 100.0), (4.0, 100.0)):
        if (rate := middle.get(lossy("cubic", percent), {}).get("aegisray")) is not None:
            found.append(Target(f"cubic at {percent:g} % loss, Mbit/s", rate, least=least))
    return found


def show(samples: Samples) -> str:
    """The medians, a table for each set of contenders, and what AegisRay's are of the others'."""
    middle = medians(samples)
    sets: dict[tuple[str, ...], list[str]] = {}
    for figure, values in samples.items():
        sets.setdefault(tuple(values), []).append(figure)
    return "\n".join(_table(samples, middle, names, figures) for names, figures in sets.items())


def _table(
    samples: Samples,
    middle: dict[str, dict[str, float]],
    names: Sequence[str],
    figures: Sequence[str],
) -> str:
    others = [name for name in names if name != "aegisray"] if "aegisray" in names else []
    rows = []
    for figure in figures:
        own = [middle[figure].get(name) for name in names]
        ratios = [ratio(samples, figure, "aegisray", other) for other in others]
        cells = ["" if value is None else f"{value:.2f}" for value in [*own, *ratios]]
        rows.append([f"{figure}, {unit(figure)}", *cells])
    return table(["", *names, *(f"/ {other}" for other in others)], rows)


def main(argv: Sequence[str]) -> tuple[dict[str, object], list[Target]]:
    """Measure, print the table, and return the JSON's content and the targets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks datapath", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, metavar="CONTENDER")
    choices = [*MEASURES, *OTHERS]
    parser.add_argument("--measure", nargs="+", choices=choices, default=choices, metavar="MEASURE")
    parser.add_argument("--loss", nargs="+", type=float, default=LOSSES, help="percent")
    parser.add_argument("--cc", nargs="+", choices=CONTROLS, default=CONTROLS)
    parser.add_argument("--warm", type=int, default=WARM_S, help="uncounted seconds on a WAN")
    options = parser.parse_args(argv)
    need("iperf3", "ping", "ethtool")
    local = [measure for measure in options.measure if measure in MEASURES]
    with Lab() as lab:
        rows = near(lab, options.only or list(CONTENDERS), local, options.seconds) if local else []
        if len(local) < len(options.measure):
            rows += far(lab, options)
        samples = collect(rows, options.rounds)
    print(show(samples))
    return {"rounds": samples, "medians": medians(samples)}, targets(samples)
