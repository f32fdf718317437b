"""`python -m simulations list | run | sweep | report`: the simulator's command line.

Exit codes: 0 every check and target held, 1 one did not (the command that reproduces it is
printed), 2 the command line is wrong or something it needs is not installed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import Any, TextIO

from simulations import collect, progress
from simulations.collect import ReportError
from simulations.report import page
from simulations.run import Report, Run, Scenario
from simulations.scenarios import SCENARIOS
from simulations.shrink import shrink
from simulations.sweep import Job, Outcome, SweepError, jobs, sweep_cluster, sweep_here

SEEDS_MAX = 100_000
INTERRUPTED = 130
"""What a shell reports of a program that SIGINT ended."""


class Misuse(Exception):
    """The command line asks for what cannot be; the text says what could."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.perform(options))
    except (Misuse, SweepError, ReportError) as error:
        print(f"python -m simulations: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


# list


def _list(options: argparse.Namespace) -> int:
    width = max(map(len, SCENARIOS))
    for name, scenario in SCENARIOS.items():
        if not (options.quick and scenario.on_demand):
            print(f"{name:{width}}  {scenario.summary}")
    return 0


# run


def _run(options: argparse.Namespace) -> int:
    scenario = _scenario(options.scenario)
    nodes = scenario.nodes if options.nodes is None else options.nodes
    _check_size(scenario, nodes)
    begun = time.perf_counter()
    with ExitStack() as stack:
        sink = stack.enter_context(open(options.trace, "w")) if options.trace else None
        run = Run(scenario, nodes, options.seed, sink, options.without, options.until)
        stack.enter_context(progress.shown(lambda: _far(run, begun), _screen(options)))
        try:
            report = run.play()
        except Exception:
            traceback.print_exc()
            print(f"failed; to reproduce:\n  {run.command}", file=sys.stderr)
            return 1
    if options.json:
        _write_json(options.json, report.to_json())
    _print(report, time.perf_counter() - begun)
    if not report.ok:
        print(f"to reproduce:\n  {run.command}")
        if options.shrink:
            smaller = shrink(scenario, run, report)
            print(f"smaller, after {smaller.runs} runs:\n  {smaller.command(scenario.name)}")
    return 0 if report.ok else 1


def _far(run: Run, begun: float) -> str:
    """How far a run is; its phases say only while they last until when they will."""
    now, horizon = run.world.now, run.world.horizon
    speed = now / max(1e-9, time.perf_counter() - begun)
    stage = f", {run.stage}" if run.stage else ""
    times = f"{now:.0f} of at most {max(now, horizon):.0f} s simulated, {speed:.1f}x real time"
    return f"{run.scenario.name} {progress.bar(now, horizon)} {times}{stage}"


def _print(report: Report, elapsed_s: float) -> None:
    for check in report.checks:
        print(f"{'ok    ' if check.ok else 'FAILED'} {check.name}: {check.detail}")
    for target in report.targets:
        verdict = "ok    " if target.ok else "FAILED"
        measured = f"{target.measured:g} {target.unit}".rstrip()
        print(f"{verdict} {target.name}: {measured}, target {target.target}")
    for name, value in report.figures.items():
        print(f"       {name}: {value:g}")
    print(
        f"{report.scenario}: {'ok' if report.ok else 'failed'}, {report.nodes} nodes, "
        f"{report.simulated_s:.0f} s simulated in {elapsed_s:.1f} s, trace {report.trace_hash}"
    )


# sweep


def _sweep(options: argparse.Namespace) -> int:
    scenario = _scenario(options.scenario)
    sizes = options.nodes or [scenario.nodes]
    for size in sizes:
        _check_size(scenario, size)
    todo = jobs(scenario.name, sizes, options.seeds)
    coming = sweep_cluster(todo, options.dask) if options.dask else sweep_here(todo, options.jobs)
    begun, outcomes = time.perf_counter(), list[Outcome]()
    with progress.shown(lambda: _counted(scenario.name, outcomes, todo), _screen(options)):
        try:
            for outcome in coming:
                outcomes.append(outcome)
                if not outcome.ok:
                    clear = progress.CLEAR if _screen(options) else ""
                    print(f"{clear}FAILED {outcome.reason}\n  {outcome.job.command}", flush=True)
        finally:
            coming.close()
            if options.json:
                _write_json(options.json, _swept(scenario, todo, outcomes))
            _sum_up(scenario, todo, outcomes, time.perf_counter() - begun)
    return 0 if _all_ok(todo, outcomes) else 1


def _counted(name: str, outcomes: Sequence[Outcome], todo: Sequence[Job]) -> str:
    failed = sum(not outcome.ok for outcome in outcomes)
    done = f"{len(outcomes)} of {len(todo)} runs, {failed} failed"
    return f"{name} {progress.bar(len(outcomes), len(todo))} {done}"


def _swept(scenario: Scenario, todo: list[Job], outcomes: list[Outcome]) -> dict[str, object]:
    """All reports as one document, in the order of the jobs, whoever was first."""
    place = {job: at for at, job in enumerate(todo)}
    ordered = sorted(outcomes, key=lambda outcome: place[outcome.job])
    return {
        "sweep": scenario.name,
        "wanted": len(todo),
        "ok": _all_ok(todo, outcomes),
        "runs": [outcome.to_json() for outcome in ordered],
    }


def _sum_up(scenario: Scenario, todo: list[Job], outcomes: list[Outcome], took_s: float) -> None:
    failed = sum(not outcome.ok for outcome in outcomes)
    simulated = sum(float(outcome.to_json().get("simulated_s", 0.0)) for outcome in outcomes)
    missing = f", {len(todo) - len(outcomes)} not played" if len(outcomes) < len(todo) else ""
    print(
        f"{scenario.name}: {len(outcomes) - failed} of {len(outcomes)} runs ok, {failed} failed"
        f"{missing}, {simulated:.0f} s simulated in {took_s:.1f} s"
    )


def _all_ok(todo: Sequence[Job], outcomes: Sequence[Outcome]) -> bool:
    return len(outcomes) == len(todo) and all(outcome.ok for outcome in outcomes)


# report


def _report(options: argparse.Namespace) -> int:
    collect.require_matplotlib()
    if options.json:
        reports = collect.read(options.json)
        failed = [entry for entry in reports if not entry["ok"]]
    else:
        reports, failed = _play_standard(options)
    Path(options.out).write_text(page(reports))
    for entry in failed:
        print(f"FAILED {entry['scenario']}, {entry['nodes']} nodes, seed {entry['seed']}")
    print(f"{options.out}: {len(reports)} runs, {len(failed)} failed")
    return 1 if failed else 0


def _play_standard(
    options: argparse.Namespace,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs of a report for which no files were given."""
    todo = [job for job in collect.STANDARD if job.scenario in SCENARIOS]
    outcomes = list[Outcome]()
    with progress.shown(lambda: _counted("report", outcomes, todo), _screen(options)):
        outcomes.extend(sweep_here(todo, options.jobs))
    place = {job: at for at, job in enumerate(todo)}
    outcomes.sort(key=lambda outcome: place[outcome.job])
    reports = [outcome.to_json() for outcome in outcomes]
    return reports, [entry for entry in reports if not entry["ok"]]


# What they share


def _scenario(name: str) -> Scenario:
    if name not in SCENARIOS:
        raise Misuse(f"no scenario {name!r}; there are: {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def _check_size(scenario: Scenario, nodes: int) -> None:
    least, most = scenario.nodes_min, scenario.nodes_max
    if not least <= nodes <= most:
        raise Misuse(f"--nodes of {scenario.name} must be {least} to {most}")


def _screen(options: argparse.Namespace) -> TextIO | None:
    """Where progress is to be shown, if anywhere."""
    return sys.stderr if options.progress or sys.stderr.isatty() else None


def _write_json(file: str, values: object) -> None:
    Path(file).write_text(json.dumps(values, indent=2) + "\n")


def _numbers(text: str) -> tuple[int, ...]:
    """`8,32,128`."""
    return tuple(int(part) for part in text.split(","))


def _seeds(text: str) -> range:
    """`7`, or `1-20` with both ends."""
    first, _, last = text.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    if not 0 < len(seeds) <= SEEDS_MAX:
        raise ValueError(text)
    return seeds


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulations", description="The simulator.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, perform: object, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(perform=perform)
        return added

    listing = command("list", _list, "the scenarios, one per line")
    listing.add_argument("--quick", action="store_true", help="without those that take long")
    run = command("run", _run, "play one scenario")
    run.add_argument("scenario", metavar="SCENARIO")
    run.add_argument("--nodes", type=int, metavar="N", help="default: what suits the scenario")
    run.add_argument("--seed", type=int, default=1, metavar="S")
    run.add_argument("--trace", metavar="FILE", help="write every event there, to compare two runs")
    run.add_argument(
        "--without", type=_numbers, default=(), metavar="F,F", help="leave out these faults"
    )
    run.add_argument(
        "--until", type=float, default=inf, metavar="T", help="disturb for at most T seconds"
    )
    run.add_argument(
        "--shrink", action="store_true", help="if it fails, look for a smaller run that does too"
    )
    sweep = command("sweep", _sweep, "play one scenario with many seeds")
    sweep.add_argument("scenario", metavar="SCENARIO")
    sweep.add_argument("--nodes", type=_numbers, metavar="N,N", help="one or more sizes")
    sweep.add_argument("--seeds", type=_seeds, default=range(1, 11), metavar="A-B", help="1-10")
    sweep.add_argument("--dask", metavar="ADDRESS", help="play on this Dask scheduler's workers")
    report = command("report", _report, "draw what runs have shown, as one HTML page")
    report.add_argument("--out", default="report.html", metavar="FILE", help="report.html")
    for several in (sweep, report):
        several.add_argument(
            "--jobs", type=_positive, default=os.cpu_count() or 1, metavar="J", help="processes"
        )
    for written in (run, sweep):
        written.add_argument("--json", metavar="FILE", help="write the report there")
    report.add_argument(
        "--json", nargs="+", metavar="FILE", help="of run or sweep; without: play a standard set"
    )
    for long in (run, sweep, report):
        long.add_argument(
            "--progress", action="store_true", help="show it even where no terminal is"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
