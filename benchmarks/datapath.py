"""The data plane beside a bare line, a C forwarder and other VPNs: medians of taking turns."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks import bottleneck, disturbance, page, pictures, relay, stream
from benchmarks.contenders import CONTENDERS, Build, given, make
from benchmarks.lossy import CONTENDERS as FAR
from benchmarks.lossy import CONTROLS, LOSSES, WARM_S, Lines
from benchmarks.measure import MEASURES
from benchmarks.pairs import Contender, cable, need
from benchmarks.promises import targets
from benchmarks.report import Samples, Target, medians
from benchmarks.rows import Row, collect
from simulations.lab.namespaces import Lab

LINES = ("lossy", "bursty", "reorder")
NEAR_ONLY = ("null",)
"""It relies on whole trains of segments coming in: a WAN brings them one by one."""
OTHERS = (*LINES, "bottleneck", "relay", "stream", *disturbance.MEASURES)


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
    builds = {name: build for name, build in builds.items() if name not in NEAR_ONLY}
    if not builds:
        return rows
    if set(LINES) & set(options.measure):
        lines = Lines(lab, builds, options.seconds, options.warm)
        rows += lines.lossy(options.cc, options.loss) if "lossy" in options.measure else []
        rows += lines.bursty(options.cc) if "bursty" in options.measure else []
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


def main(argv: Sequence[str]) -> tuple[dict[str, object], list[Target]]:
    """Measure, print the table, and return the JSON's content and the targets."""
    options = _options(argv)
    if options.page is not None:
        page.check(options.page)
        pictures.require_matplotlib()
    if options.saved is not None:
        content = page.saved(options.saved)
    else:
        content = _measured(options)
        content["command"] = " ".join(["python -m benchmarks datapath", *argv])
    samples: Samples = content["rounds"]
    if options.page is not None:
        page.write(options.page, content)
    print(page.show(samples))
    return content, targets(samples)


def _measured(options: argparse.Namespace) -> dict[str, object]:
    builds = given(options.wireguard_go)
    chosen = {name: build for name, build in builds.items() if name in (options.only or builds)}
    distant = {name: builds[name] for name in options.far or options.only or FAR}
    need("iperf3", "ping", "ethtool")
    with Lab() as lab:
        rows = near(lab, chosen, options) + far(
            lab, {name: builds[name] for name in distant}, options
        )
        rows += relay.rows(lab, options.seconds) if "relay" in options.measure else []
        rows += stream.rows(lab, options.seconds) if "stream" in options.measure else []
        rows += trio(lab, options)
        samples = collect(rows, options.rounds)
    figures = {"rounds": samples, "medians": medians(samples)}
    return {"machine": page.machine(), "turns": options.rounds, **figures}


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks datapath", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    choices = [*MEASURES, *OTHERS]
    parser.add_argument("--measure", nargs="+", choices=choices, default=choices, metavar="MEASURE")
    parser.add_argument("--only", nargs="+", metavar="CONTENDER", help=", ".join(CONTENDERS))
    parser.add_argument("--far", nargs="+", metavar="CONTENDER", help=f"on a WAN: {', '.join(FAR)}")
    parser.add_argument("--wireguard-go", metavar="PATH", help="one more, or its name in PATH")
    parser.add_argument("--loss", nargs="+", type=float, default=LOSSES, help="percent")
    parser.add_argument("--cc", nargs="+", choices=CONTROLS, default=CONTROLS)
    parser.add_argument("--warm", type=int, default=WARM_S, help="uncounted seconds on a WAN")
    parser.add_argument("--page", type=Path, help="write the figures into docs/performance.md")
    parser.add_argument(
        "--saved",
        type=Path,
        nargs="+",
        help="measure nothing: show what --json wrote, in one or more runs",
    )
    options = parser.parse_args(argv)
    named = {*(options.only or ()), *(options.far or ())}
    if unknown := named - set(given(options.wireguard_go)):
        parser.error(f"no such contender: {', '.join(sorted(unknown))}")
    if options.quick:
        options.rounds = options.seconds = 1
    return options
