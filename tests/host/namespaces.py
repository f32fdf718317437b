"""Network namespaces for tests: made with a unique name, entered by a thread, always removed."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent.parent
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists(),
    reason="needs root and /dev/net/tun to make namespaces and TUN devices",
)


@contextmanager
def namespace(*, loopback: bool = True) -> Iterator[str]:
    """A fresh network namespace; everything in it goes with it."""
    name = f"aegis-t{os.getpid()}-{next(_numbers)}"
    run("ip", "netns", "add", name)
    try:
        if loopback:
            run("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        run("ip", "netns", "del", name)


def inside(name: str, function: Callable[[], T]) -> T:
    """The result of `function`, run by a thread of its own inside the namespace.

    What it opens stays in that namespace and can be used from anywhere.
    """

    def enter() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{name}") as handle:
            if libc.setns(handle.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        return function()

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(enter).result(timeout=30)


def run(*command: str) -> str:
    """Run a command that must succeed; its standard output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


UNPRIVILEGED = "import os; os.setgroups([]); os.setresuid(1, 1, 1)"
"""Code that gives up root. It follows the imports: the checkout may be in a home closed to others,
as root's is."""


def python(code: str, *wrapper: str) -> str:
    """What a fresh interpreter prints for `code`, started through `wrapper` (setpriv, unshare)."""
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
