"""``python -m benchmarks [NAME] [--json FILE] [options]``; all of them without a name."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import datapath, join, simulator, stealth
from benchmarks.gossip import compare, replay
from simulations.lab.waiting import LabError

BENCHMARKS = {
    "datapath": datapath.main,
    "join": join.main,
    "gossip": compare.main,
    "replay": replay.main,
    "simulator": simulator.main,
    "stealth": stealth.main,
}
USAGE = f"usage: python -m benchmarks [{'|'.join(BENCHMARKS)}] [--json FILE] [--help]"


def main(argv: Sequence[str]) -> int:
    """Run one benchmark or all; 0: every target is met, 1: one is missed, 2: it cannot run."""
    words = list(argv)
    names = [words.pop(0)] if words and words[0] in BENCHMARKS else list(BENCHMARKS)
    file = None
    if "--json" in words and words.index("--json") + 1 < len(words):
        place = words.index("--json")
        file = Path(words[place + 1])
        del words[place : place + 2]
    if words and len(names) > 1:
        print(USAGE, file=sys.stderr)
        return 2
    results: dict[str, object] = {}
    met = True
    for name in names:
        try:
            content, targets = BENCHMARKS[name](words)
        except LabError as error:
            print(f"benchmarks {name}: {error}", file=sys.stderr)
            return 2
        print("".join(target.line() + "\n" for target in targets))
        met = met and all(target.met for target in targets)
        results[name] = {**content, "targets": [target.as_json() for target in targets]}
    if file is not None:
        file.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
