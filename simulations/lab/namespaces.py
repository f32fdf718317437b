"""Network namespaces of one run: named after their owner, removed however the run ends.

Every namespace of a run is called ``aegis-PID-STARTED-COUNT-LABEL`` after the process that owns it,
and the files of the run live in a directory with the same prefix. So what belongs to a dead owner
can be told from what is in use. Three things remove it: the end of the ``with Lab()`` block, a
janitor process that outlives an owner killed by SIGKILL, and the sweep at the start of a later run.

Devices are made inside the namespaces from the start: the host's own list never sees them.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from simulations.lab.waiting import LabError, wait_until

NETNS = Path("/run/netns")
CLONE_NEWNET = 0x40000000  # linux/sched.h
TAG = re.compile(r"^(aegis-(\d+)-(\d+)-\d+)-")
_labs = itertools.count()
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def started_at(pid: int) -> int | None:
    """When process ``pid`` started, in clock ticks since boot (proc(5), stat field 22), or None."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def new_tag() -> str:
    """A name prefix for one lab of this process; the start time guards against pid reuse."""
    return f"aegis-{os.getpid()}-{started_at(os.getpid())}-{next(_labs)}"


def check_requirements() -> None:
    """Raise LabError, in one sentence with the remedy, if namespaces cannot be used here."""
    if os.geteuid() != 0:
        raise LabError("making network namespaces needs root: run it again with sudo")
    for tool, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(tool) is None:
            raise LabError(f"{tool} is not installed: apt-get install {package}")
    if not os.path.exists("/dev/net/tun"):
        raise LabError("/dev/net/tun is missing: modprobe tun, or pass the device to the container")


def run(argv: Sequence[str], *, text: str | None = None, timeout_s: float = 30.0) -> str:
    """Run a tool and return its output; raise LabError with its last line if it fails."""
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=timeout_s)
    except OSError as error:
        raise LabError(f"{argv[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(argv)} did not end in {timeout_s:g} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise LabError(f"{' '.join(argv)}: {said[-1]}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Namespace:
    """One host, router or switch of the lab."""

    name: str
    label: str

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs ``argv`` inside; it becomes ``argv`` itself, same pid."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, text: str | None = None, timeout_s: float = 30.0) -> str:
        """Run a tool inside and return its output. Raises LabError."""
        return run(self.command(argv), text=text, timeout_s=timeout_s)

    def ip(self, *arguments: str) -> str:
        """Run iproute2's ``ip`` on this namespace. Raises LabError."""
        return run(["ip", "-n", self.name, *arguments])

    def set_kernel(self, key: str, value: str) -> None:
        """Write ``net/...`` under /proc/sys as this namespace sees it."""
        self.run("sh", "-c", f"echo {value} > /proc/sys/{key}")

    def route_packets(self) -> None:
        """Make this namespace a router for IPv4."""
        self.set_kernel("net/ipv4/ip_forward", "1")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread inside: sockets made here stay in this namespace for good."""
        libc = ctypes.CDLL(None, use_errno=True)
        with contextlib.ExitStack() as files:
            home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            files.callback(os.close, home)
            inside = os.open(NETNS / self.name, os.O_RDONLY | os.O_CLOEXEC)
            files.callback(os.close, inside)
            if libc.setns(inside, CLONE_NEWNET) != 0:
                raise LabError(f"cannot enter {self.name}: {os.strerror(ctypes.get_errno())}")
            try:
                yield
            finally:
                if libc.setns(home, CLONE_NEWNET) != 0:
                    os._exit(70)  # going on in the wrong network could touch the host's own


class Lab:
    """Namespaces, processes and files of one run; the end of ``with Lab() as lab`` removes them.

    Entering raises LabError where namespaces cannot be made.
    """

    def __init__(self) -> None:
        self.tag = new_tag()
        self.directory = Path()
        self._children: list[subprocess.Popen[bytes]] = []
        self._closing = contextlib.ExitStack()
        self._janitor: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Lab:
        check_requirements()
        sweep()
        self._janitor = subprocess.Popen(
            [sys.executable, "-m", "simulations.lab.namespaces", self.tag],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.tag}-"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def namespace(self, label: str) -> Namespace:
        """Make a namespace with its loopback up; ``label`` is unique in the run."""
        namespace = Namespace(f"{self.tag}-{label}", label)
        try:
            run(["ip", "netns", "add", namespace.name])
        except LabError as error:
            raise LabError(
                f"no network namespaces here ({error}): a container needs --privileged"
            ) from error
        namespace.ip("link", "set", "lo", "up")
        return namespace

    def popen(
        self, argv: Sequence[str], *, output: IO[bytes] | int = subprocess.DEVNULL, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a process that ends with the lab; ``output`` takes its stdout and stderr."""
        options.setdefault("stdin", subprocess.DEVNULL)
        child = subprocess.Popen(
            argv, stdout=output, stderr=output, start_new_session=True, **options
        )
        self._children.append(child)
        return child

    def on_close(self, action: Callable[[], object]) -> None:
        """Call ``action`` at the end, when all processes have ended."""
        self._closing.callback(action)

    def close(self) -> None:
        """Kill the processes, delete the namespaces and files; a second signal does not stop it."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            for child in self._children:
                if child.poll() is None:
                    child.kill()
            for child in self._children:
                child.wait()
            self._children.clear()
            remove(self.tag)
            self._closing.close()
            if self._janitor is not None:
                self._janitor.communicate()
                self._janitor = None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def join(left: Namespace, left_device: str, right: Namespace, right_device: str) -> None:
    """Lay a cable (a veth pair) between two namespaces and switch both ends on."""
    ends = [left_device, "netns", left.name, "type", "veth", "peer", "name", right_device]
    run(["ip", "link", "add", *ends, "netns", right.name])
    left.ip("link", "set", left_device, "up")
    right.ip("link", "set", right_device, "up")


def bridge(namespace: Namespace, device: str) -> None:
    """Make an Ethernet switch inside ``namespace``."""
    namespace.ip("link", "add", device, "type", "bridge", "forward_delay", "0")
    namespace.ip("link", "set", device, "up")


def remove(tag: str) -> None:
    """End what runs in the namespaces of one run, then delete them and the run's files."""
    names = [entry.name for entry in _entries(NETNS) if entry.name.startswith(f"{tag}-")]
    if names:
        wait_until(lambda: not _kill_inside(names), f"the processes of {tag} to end", 5.0)
    for name in names:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    for entry in _entries(Path(tempfile.gettempdir())):
        if entry.name.startswith(f"{tag}-") and entry.stat().st_uid == os.geteuid():
            shutil.rmtree(entry, ignore_errors=True)


def sweep() -> list[str]:
    """Remove what owners that no longer run have left behind; return their tags."""
    entries = _entries(NETNS) + _entries(Path(tempfile.gettempdir()))
    owners = {found[1]: found for entry in entries if (found := TAG.match(entry.name))}
    dead = [tag for tag, found in owners.items() if started_at(int(found[2])) != int(found[3])]
    for tag in dead:
        remove(tag)
    return dead


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _kill_inside(names: Sequence[str]) -> int:
    """Send SIGKILL to every process inside the namespaces; return how many there were."""
    inside = set()
    for name in names:
        with contextlib.suppress(OSError):
            inside.add((NETNS / name).stat().st_ino)
    count = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if (entry / "ns/net").stat().st_ino in inside:
                    os.kill(int(entry.name), signal.SIGKILL)
                    count += 1
    return count


def _janitor(tag: str) -> None:
    """Wait until the owner is gone (its end of the pipe closes), then remove what it left."""
    for stop in STOP_SIGNALS:
        signal.signal(stop, signal.SIG_IGN)
    sys.stdin.buffer.read()
    remove(tag)


if __name__ == "__main__":
    _janitor(sys.argv[1])
