"""``python -m tests.fuzz [--cases N] [--seed S] [--only NAME ...] [--input HEX ...]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.report import table
from tests.fuzz.decoders import DECODERS
from tests.fuzz.runner import GROWTH_LIMIT, LIMIT_S, Failure, Report, run, timed


def show(report: Report) -> str:
    """A row for each decoder."""
    rows = [
        [name, str(cases), f"{report.refused[name] / cases:.1%}", f"{slowest[0] * 1e3:.2f}"]
        for (name, cases), slowest in zip(
            report.cases.items(), report.slowest.values(), strict=True
        )
    ]
    return table(["", "cases", "refused", "slowest, ms of CPU"], rows)


def main(argv: Sequence[str]) -> int:
    """0: every decoder held; 1: one did not."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, fromfile_prefix_chars="@"
    )
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=DECODERS, default=list(DECODERS))
    parser.add_argument("--input", nargs="+", help="inputs for one instance, as hex; - is empty")
    options = parser.parse_args(argv)
    try:
        if options.input is not None:
            name, took = options.only[0], 0.0
            decoder = DECODERS[name]()
            for text in " ".join(options.input).split():
                refused, took = timed(name, decoder, bytes.fromhex(text.strip("-")))
                print(f"{name}: {'refused' if refused else 'taken'} in {took * 1e3:.2f} ms of CPU")
            return int(took > LIMIT_S)
        report = run(options.cases, options.seed, options.only)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    print(show(report), end="")
    slow = {name: data for name, (took, data) in report.slowest.items() if took > LIMIT_S}
    for name, data in slow.items():
        print(Failure(name, data, f"took more than {LIMIT_S * 1e3:g} ms"), file=sys.stderr)
    print(f"memory held at the end beyond the start: {report.grown} bytes")
    return int(bool(slow) or report.grown > GROWTH_LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
