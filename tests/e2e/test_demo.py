from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulations.lab.demo import Interrupted, interruptible
from simulations.lab.namespaces import NETNS, run
from simulations.lab.waiting import wait_until

pytestmark = pytest.mark.e2e

LAST = re.compile(
    r"demo: ok pairs=20 join=[\d.]+s rtt=[\d.]+ms tcp4=[\d.]+Gbit/s tcp6=[\d.]+Gbit/s "
    r"detect=([\d.]+)s total=(\d+)s"
)


def demo(*options: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "simulations.lab.demo", *options]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def namespaces_of(pid: int) -> list[Path]:
    return [entry for entry in NETNS.iterdir() if entry.name.startswith(f"aegis-{pid}-")]


def seen_from_outside() -> list[str]:
    return [run(["ip", "-o", what]) for what in ("link", "address", "route")]


def test_the_demo_succeeds_and_leaves_nothing() -> None:
    before = seen_from_outside()
    began = time.monotonic()
    with demo("--size", "64") as process:
        output, errors = process.communicate(timeout=120)
    took = time.monotonic() - began
    assert process.returncode == 0, output + errors
    found = LAST.fullmatch(output.splitlines()[-1])
    assert found is not None, output
    assert float(found[1]) <= 15
    assert took < 60
    assert "\x1b" not in output
    assert namespaces_of(process.pid) == []
    assert seen_from_outside() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_demo_and_leaves_nothing(number: signal.Signals) -> None:
    with demo() as process:
        wait_until(lambda: len(namespaces_of(process.pid)) > 5, "the demo to be under way", 20.0)
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert output.splitlines()[-1] == f"demo: FAILED: stopped by {number.name}"
    assert namespaces_of(process.pid) == []


def test_a_killed_demo_leaves_nothing() -> None:
    with demo() as process:
        wait_until(lambda: len(namespaces_of(process.pid)) > 5, "the demo to be under way", 20.0)
        process.kill()
        process.communicate(timeout=20)
    wait_until(lambda: not namespaces_of(process.pid), "the janitor to clean up", 10.0)


@pytest.mark.parametrize("size", ["-1", "0", "1e3", "9" * 30])
def test_a_size_that_makes_no_sense_is_told_at_once(size: str) -> None:
    with demo("--size", size) as process:
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert errors.splitlines()[-1].endswith("--size: expected a whole number from 1 to 4096")
    assert output == ""


def test_without_root_the_demo_says_so_in_one_line() -> None:
    # Root is given up after the imports: the checkout may be in a home closed to others.
    code = "import os, sys; from simulations.lab.demo import main"
    code += "; os.setresuid(65534, 65534, 65534); sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == (
        "demo: FAILED: making network namespaces needs root: run it again with sudo\n"
    )


def test_a_signal_that_was_swallowed_is_raised_again() -> None:
    with interruptible() as check:
        check()
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted, match="SIGTERM"):
            check()
