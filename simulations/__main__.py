"""`python -m simulations list | run SCENARIO [--nodes N] [--seed S] [--json FILE]`.

Exit codes: 0 every check held, 1 one did not (the command that reproduces it is printed), 2 the
command line is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from simulations.run import Report, Run, Scenario
from simulations.scenarios import SCENARIOS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "list":
        width = max(map(len, SCENARIOS))
        for name, scenario in SCENARIOS.items():
            print(f"{name:{width}}  {scenario.summary}")
        return 0
    if options.scenario not in SCENARIOS:
        return _misuse(f"no scenario {options.scenario!r}; there are: {', '.join(SCENARIOS)}")
    scenario = SCENARIOS[options.scenario]
    least, most = scenario.nodes_min, scenario.nodes_max
    if options.nodes is None:
        options.nodes = scenario.nodes
    elif not least <= options.nodes <= most:
        return _misuse(f"--nodes of {scenario.name} must be {least} to {most}")
    return _run(scenario, options)


def _run(scenario: Scenario, options: argparse.Namespace) -> int:
    begun = time.perf_counter()
    with ExitStack() as stack:
        sink = stack.enter_context(open(options.trace, "w")) if options.trace else None
        run = Run(scenario, options.nodes, options.seed, sink)
        try:
            report = run.play()
        except Exception:
            traceback.print_exc()
            print(f"failed; to reproduce:\n  {run.command}", file=sys.stderr)
            return 1
    if options.json:
        Path(options.json).write_text(json.dumps(report.to_json(), indent=2) + "\n")
    _print(report, time.perf_counter() - begun)
    if not report.ok:
        print(f"to reproduce:\n  {run.command}")
    return 0 if report.ok else 1


def _print(report: Report, elapsed_s: float) -> None:
    for check in report.checks:
        print(f"{'ok    ' if check.ok else 'FAILED'} {check.name}: {check.detail}")
    for name, value in report.figures.items():
        print(f"       {name}: {value:g}")
    print(
        f"{report.scenario}: {'ok' if report.ok else 'failed'}, {report.nodes} nodes, "
        f"{report.simulated_s:.0f} s simulated in {elapsed_s:.1f} s, trace {report.trace_hash}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulations", description="The simulator.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the scenarios, one per line")
    run = commands.add_parser("run", help="play one scenario")
    run.add_argument("scenario", metavar="SCENARIO")
    run.add_argument("--nodes", type=int, metavar="N", help="default: what suits the scenario")
    run.add_argument("--seed", type=int, default=1, metavar="S")
    run.add_argument("--json", metavar="FILE", help="write the report there")
    run.add_argument("--trace", metavar="FILE", help="write every event there, to compare two runs")
    return parser


def _misuse(message: str) -> int:
    print(f"python -m simulations: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
