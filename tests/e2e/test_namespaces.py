from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulations.lab.namespaces import (
    NETNS,
    Lab,
    bridge,
    join,
    new_tag,
    remove,
    run,
    started_at,
    sweep,
)
from simulations.lab.waiting import LabError, wait_until

pytestmark = pytest.mark.e2e

OWNER = """
import os, signal, sys
from simulations.lab.namespaces import Lab
with Lab() as lab:
    a = lab.namespace("a")
    lab.popen(a.command(["sleep", "600"]))
    print(lab.tag, lab.directory, flush=True)
    {end}
"""


def left_over(tag: str, directory: str) -> list[str]:
    found = [entry.name for entry in NETNS.iterdir() if entry.name.startswith(tag)]
    return found + ([directory] if os.path.exists(directory) else [])


def owner_that(end: str) -> tuple[subprocess.Popen[str], str, str]:
    line = [sys.executable, "-c", OWNER.format(end=end)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    tag, directory = process.stdout.readline().split()
    return process, tag, directory


def finished_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_what_a_lab_made_is_gone_after_it() -> None:
    with Lab() as lab:
        one = lab.namespace("one")
        child = lab.popen(one.command(["sleep", "600"]))
        assert left_over(lab.tag, str(lab.directory)) == [one.name, str(lab.directory)]
    assert child.returncode == -9
    assert left_over(lab.tag, str(lab.directory)) == []


def test_two_labs_of_one_process_do_not_disturb_each_other(lab: Lab) -> None:
    mine = lab.namespace("same")
    with Lab() as other:
        other.namespace("same")
    assert (NETNS / mine.name).exists()


@pytest.mark.parametrize("end", ["os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)", "1 / 0"])
def test_nothing_is_left_when_the_owner_ends_badly(end: str) -> None:
    process, tag, directory = owner_that(end)
    with process:
        process.wait(10)
    wait_until(lambda: not left_over(tag, directory), "the janitor to clean up", 10.0)


def test_ctrl_c_removes_everything_before_the_owner_ends() -> None:
    process, tag, directory = owner_that("signal.pause()")
    with process:
        process.send_signal(2)
        process.wait(10)
        assert left_over(tag, directory) == []


def test_a_later_run_sweeps_what_a_dead_owner_left(tmp_path: Path) -> None:
    tag = f"aegis-{finished_pid()}-1-0"
    run(["ip", "netns", "add", f"{tag}-orphan"])
    process = subprocess.Popen(["ip", "netns", "exec", f"{tag}-orphan", "sleep", "600"])
    wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "sleep", 5.0)
    assert tag in sweep()
    assert process.wait(5) == -9
    assert not (NETNS / f"{tag}-orphan").exists()


def test_the_sweep_leaves_a_living_owner_and_other_names_alone(lab: Lab) -> None:
    mine = lab.namespace("kept")
    foreign = f"not-{new_tag()}"
    run(["ip", "netns", "add", foreign])
    try:
        assert lab.tag not in sweep()
        remove(lab.tag + "9")
        assert (NETNS / mine.name).exists()
        assert (NETNS / foreign).exists()
    finally:
        run(["ip", "netns", "del", foreign])


def test_a_reused_pid_does_not_protect_an_old_namespace() -> None:
    tag = f"aegis-{os.getpid()}-{(started_at(os.getpid()) or 0) - 1}-0"
    run(["ip", "netns", "add", f"{tag}-old"])
    assert sweep() == [tag]


def test_the_host_never_sees_a_device_of_the_lab(lab: Lab) -> None:
    before = run(["ip", "-o", "link"])
    left, right = lab.namespace("left"), lab.namespace("right")
    join(left, "cable", right, "cable")
    bridge(left, "switch")
    assert run(["ip", "-o", "link"]) == before
    assert "cable" in left.ip("-o", "link")
    assert "cable" in right.ip("-o", "link")


def test_a_thread_comes_back_from_a_namespace(lab: Lab) -> None:
    home = os.readlink("/proc/thread-self/ns/net")

    def fail_inside() -> None:
        with lab.namespace("inside").entered():
            assert os.readlink("/proc/thread-self/ns/net") != home
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert os.readlink("/proc/thread-self/ns/net") == home


def test_a_failing_tool_is_told_in_one_sentence(lab: Lab) -> None:
    with pytest.raises(LabError, match="Cannot find device"):
        lab.namespace("empty").ip("link", "set", "missing", "up")


def test_without_root_one_sentence_says_what_to_do() -> None:
    # Root is given up after the import: the checkout may be in a home closed to others.
    code = "import os; from simulations.lab.namespaces import check_requirements"
    code += "; os.setresuid(65534, 65534, 65534); check_requirements()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].endswith("needs root: run it again with sudo")


def test_a_missing_tool_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="ip is not installed: apt-get install iproute2"), Lab():
        pass
