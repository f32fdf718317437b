"""Runs cases against decoders, and says of a failure how to see it again."""

from __future__ import annotations

import gc
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from zlib import crc32

from tests.fuzz.decoders import DECODERS, Decoder
from tests.fuzz.mutation import bad_input

LIMIT_S = 0.005
"""CPU seconds that any input may cost."""
TRIES = 5
"""Of an input that took longer: the machine may have been busy, so that the best one counts."""
BLOCK = 250
"""Inputs for one instance of a decoder that keeps state."""
MAX_COMMAND = 4000
"""Characters of a command that is printed whole; inputs that are longer go into a file."""
GROWTH_LIMIT = 256 * 1024
"""Bytes that may be held at the end beyond what was held at the start."""


class Failure(Exception):
    """An input that did what none may; the text names the command that repeats it.

    `before`: the inputs that the same instance took, and may remember.
    """

    def __init__(self, name: str, data: bytes, what: str, before: Sequence[bytes] = ()) -> None:
        inputs = " ".join(each.hex() or "-" for each in (*before, data))
        command = f"python -m tests.fuzz --only {name} --input {inputs}"
        if len(command) > MAX_COMMAND:
            file = Path(tempfile.gettempdir()) / f"fuzz-{name}-{crc32(data):08x}"
            file.write_text("\n".join(inputs.split()))
            command = f"python -m tests.fuzz --only {name} --input @{file}"
        super().__init__(f"{name}: {what}\nagain: {command}")
        self.what = what


@dataclass(slots=True)
class Report:
    """What a run found: per decoder its refusals and its slowest input (seconds of CPU)."""

    cases: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    slowest: dict[str, tuple[float, bytes]] = field(default_factory=dict)
    grown: int = 0
    """Bytes held at the end beyond those at the start."""


def attempt(name: str, decoder: Decoder, data: bytes) -> tuple[bool, float]:
    """Whether `decoder` refuses the input, and the CPU seconds it took. Raises `Failure`."""
    before = decoder.state() if decoder.state else None
    began = time.thread_time()
    try:
        decoder.read(data)
    except decoder.errors:
        took = time.thread_time() - began
        if decoder.state and decoder.state() != before:
            raise Failure(name, data, "was refused, and changed something") from None
        return True, took
    except Exception as error:
        raise Failure(name, data, f"raised {type(error).__name__}: {error}") from error
    return False, time.thread_time() - began


def timed(name: str, decoder: Decoder, data: bytes) -> tuple[bool, float]:
    """The same; a slow input is tried again on instances that have seen nothing else."""
    refused, took = attempt(name, decoder, data)
    tries = 0
    while took > LIMIT_S and tries < TRIES:
        took = min(took, attempt(name, DECODERS[name](), data)[1])
        tries += 1
    return refused, took


def run(cases: int, seed: int, names: Sequence[str] = tuple(DECODERS)) -> Report:
    """`cases` inputs over all `names` together, and a tenth of them again, for the memory.

    Raises `Failure` for the first bad outcome. The time that inputs took is in the report, for the
    caller to judge; it is measured without `tracemalloc`, which would be most of it.
    """
    report, again = Report(), Report()
    share = -(-cases // len(names))
    for name in names:
        run_one(name, share, Random(f"{seed}/{name}"), report)
    gc.collect()
    tracemalloc.start()
    try:
        for name in names:
            run_one(name, -(-share // 10), Random(f"{seed}/{name}"), again)
        again.slowest.clear()
        gc.collect()
        report.grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    return report


def run_one(name: str, cases: int, rng: Random, report: Report) -> None:
    """`cases` inputs for one decoder, into `report`."""
    refusals, slowest = 0, (0.0, b"")
    decoder, taken = DECODERS[name](), list[bytes]()
    for case in range(cases):
        if case % BLOCK == 0:
            decoder, taken = DECODERS[name](), []
        data = bad_input(rng, decoder.samples)[: decoder.largest]
        try:
            refused, took = timed(name, decoder, data)
        except Failure as failure:
            raise Failure(name, data, failure.what, taken) from failure.__cause__
        refusals += refused
        if decoder.state and not refused:
            taken.append(data)
        if took > slowest[0]:
            slowest = (took, data)
    report.cases[name], report.refused[name], report.slowest[name] = cases, refusals, slowest
