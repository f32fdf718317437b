"""The data plane beside a bare line, a C forwarder and other VPNs: medians of taking turns."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks import bottleneck, disturbance, relay
from benchmarks.contenders import CONTENDERS, Build, given, make
from benchmarks.lossy import CONTENDERS as FAR
from benchmarks.lossy import CONTROLS, LOSSES, WARM_S, Lines
from benchmarks.measure import MEASURES, unit
from benchmarks.pairs import Contender, cable, need
from benchmarks.promises import OWN, targets
from benchmarks.report import Samples, Target, medians, ratio, table
from benchmarks.rows import Row, collect
from simulations.lab.namespaces import Lab

OTHERS = ("lossy", "reorder", "bottleneck", "relay", *disturbance.MEASURES)


def near(lab: Lab, builds: Mapping[str, Build], options: argparse.Namespace) -> list[Row]:
    """What is measured between two hosts with a cable."""
    wanted = [measure for measure in MEASURES if measure in options.measure]
    made: dict[str, Contender] = {}
    for index, (name, build) in enumerate(builds.items() if wanted else ()):
        made[name] = make(lab, name, build, cable(lab, f"near{index}"))
    return [
        Row(each, {n: partial(MEASURES[each], lab, c, options.seconds) for n, c in made.items()})
        for each in wanted
    ]


def far(lab: Lab, builds: Mapping[str, Build], options: argparse.Namespace) -> list[Row]:
    """What is measured over a WAN."""
    rows: list[Row] = []
    if {"lossy", "reorder"} & set(options.measure):
        lines = Lines(lab, builds, options.seconds, options.warm)
        rows += lines.lossy(options.cc, options.loss) if "lossy" in options.measure else []
        rows += lines.reorder(options.cc) if "reorder" in options.measure else []
    if "bottleneck" in options.measure:
        rows += bottleneck.rows(lab, builds, options.cc, options.seconds, options.warm)
    return rows


def trio(lab: Lab, options: argparse.Namespace) -> list[Row]:
    """What is measured in a mesh of three."""
    wanted = [row for name, row in disturbance.MEASURES.items() if name in options.measure]
    if not wanted:
        return []
    mesh = disturbance.Trio(lab, options.seconds)
    return [row(mesh) for row in wanted]


def show(samples: Samples) -> str:
    """The medians, a table for each set of contenders, and what AegisRay's are of the others'.

    Where it is not among them, the last one's are.
    """
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
    own = OWN if OWN in names else names[-1]
    others = [name for name in names if name != own]
    rows = []
    for figure in figures:
        values = [middle[figure].get(name) for name in names]
        values += [ratio(samples, figure, own, other) for other in others]
        cells = ["" if value is None else f"{value:.2f}" for value in values]
        rows.append([f"{figure}, {unit(figure)}", *cells])
    return table(["", *names, *(f"/ {other}" for other in others)], rows)


def main(argv: Sequence[str]) -> tuple[dict[str, object], list[Target]]:
    """Measure, print the table, and return the JSON's content and the targets."""
    options = _options(argv)
    builds = given(options.wireguard_go)
    chosen = {name: build for name, build in builds.items() if name in (options.only or builds)}
    distant = chosen if options.only else {name: builds[name] for name in FAR}
    need("iperf3", "ping", "ethtool")
    with Lab() as lab:
        rows = near(lab, chosen, options) + far(lab, distant, options)
        rows += relay.rows(lab, options.seconds) if "relay" in options.measure else []
        rows += trio(lab, options)
        samples = collect(rows, options.rounds)
    print(show(samples))
    return {"rounds": samples, "medians": medians(samples)}, targets(samples)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks datapath", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    choices = [*MEASURES, *OTHERS]
    parser.add_argument("--measure", nargs="+", choices=choices, default=choices, metavar="MEASURE")
    parser.add_argument("--only", nargs="+", metavar="CONTENDER", help=", ".join(CONTENDERS))
    parser.add_argument("--wireguard-go", metavar="PATH", help="another beside Debian's")
    parser.add_argument("--loss", nargs="+", type=float, default=LOSSES, help="percent")
    parser.add_argument("--cc", nargs="+", choices=CONTROLS, default=CONTROLS)
    parser.add_argument("--warm", type=int, default=WARM_S, help="uncounted seconds on a WAN")
    options = parser.parse_args(argv)
    if unknown := set(options.only or ()) - set(given(options.wireguard_go)):
        parser.error(f"no such contender: {', '.join(sorted(unknown))}")
    if options.quick:
        options.rounds = options.seconds = 1
    return options
