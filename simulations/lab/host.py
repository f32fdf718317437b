"""One host of the lab: a namespace, a directory of its own, and a real ``meshd`` in both."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulations.lab.namespaces import Lab, Namespace
from simulations.lab.waiting import LabError, wait_until

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)$", re.MULTILINE)


def meshd_command() -> list[str]:
    """How to run the ``meshd`` that belongs to this interpreter."""
    script = Path(sys.executable).with_name("meshd")
    return [str(script)] if script.exists() else [sys.executable, "-m", "meshd.cli"]


def environment() -> dict[str, str]:
    """The caller's environment without the variables that would override every node.toml."""
    return {key: value for key, value in os.environ.items() if not key.startswith("AEGISRAY_")}


@dataclass(frozen=True, slots=True)
class Finished:
    """A verb that has ended: its exit code and what it printed."""

    code: int
    stdout: str
    stderr: str


@dataclass
class Host:
    """``settings`` are keys of node.toml in dotted form, for instance ``{"tun.mtu": 1400}``."""

    lab: Lab
    namespace: Namespace
    settings: Mapping[str, str | int | bool | list[str]] = field(default_factory=dict)
    daemon: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.directory = self.lab.directory / self.name
        self.directory.mkdir(mode=0o700)
        self.configure(self.settings)

    @property
    def name(self) -> str:
        """The node's name, which is also the namespace's label."""
        return self.namespace.label

    @property
    def log(self) -> Path:
        """Everything the daemon wrote to stdout and stderr, over all its lives."""
        return self.directory / "meshd.log"

    @property
    def state(self) -> Path:
        """The daemon's state directory."""
        return self.directory / "state"

    @property
    def certs(self) -> Path:
        """The daemon's certificate directory."""
        return self.directory / "certs"

    def configure(self, settings: Mapping[str, str | int | bool | list[str]]) -> None:
        """Write node.toml afresh; it counts from the next start on."""
        own = {"logging.auth_file": str(self.directory / "auth.log")}
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in {**own, **settings}.items()]
        (self.directory / "node.toml").write_text("".join(lines))

    def command(self, *arguments: str, prefix: Sequence[str] = ()) -> list[str]:
        """The command line of ``meshd ARGUMENTS`` on this host, inside its namespace."""
        places = {
            "--config": self.directory / "node.toml",
            "--certs": self.certs,
            "--state": self.state,
            "--socket": self.directory / "meshd.sock",
        }
        options = [text for option, path in places.items() for text in (option, str(path))]
        return self.namespace.command([*prefix, *meshd_command(), *options, *arguments])

    def meshd(
        self,
        *arguments: str,
        text: str | None = None,
        timeout_s: float = 20.0,
        prefix: Sequence[str] = (),
    ) -> Finished:
        """Run a verb to its end, whatever its exit code; ``text`` is its stdin."""
        line = self.command(*arguments, prefix=prefix)
        try:
            done = subprocess.run(
                line,
                input=text or "",
                capture_output=True,
                text=True,
                timeout=timeout_s,
                env=environment(),
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: meshd {arguments[0]} hung for {timeout_s:g} s") from error
        return Finished(done.returncode, done.stdout, done.stderr)

    def must(self, *arguments: str, text: str | None = None) -> str:
        """Run a verb that has to succeed and return what it printed. Raises LabError."""
        done = self.meshd(*arguments, text=text)
        if done.code != 0:
            raise LabError(f"{self.name}: meshd {arguments[0]} failed: {_last_line(done.stderr)}")
        return done.stdout

    def start(self, *, prefix: Sequence[str] = ()) -> None:
        """Start the daemon and return at once; `wait_up` waits for it."""
        with self.log.open("ab") as log:
            line = self.command("up", prefix=prefix)
            self.daemon = self.lab.popen(line, output=log, env=environment())

    def wait_up(self, deadline_s: float = 10.0) -> dict[str, Any]:
        """Wait until ``status`` succeeds and return it; LabError at once if the daemon ended."""

        def answered() -> dict[str, Any] | None:
            if self.daemon is None or self.daemon.poll() is not None:
                raise LabError(f"{self.name}: meshd up ended: {_last_line(self.log_text())}")
            return self.status()

        return wait_until(answered, f"{self.name} to be up", deadline_s, detail=self.last_log_line)

    def status(self) -> dict[str, Any] | None:
        """What ``meshd status --json`` prints, or None while the daemon cannot say."""
        with contextlib.suppress(LabError):
            return self.api("/v1/status", timeout_s=2.0)
        return None

    def api(
        self, target: str, body: Mapping[str, Any] | None = None, timeout_s: float = 15.0
    ) -> dict[str, Any]:
        """Ask the daemon on its socket, as a verb does: POST if there is a body. Raises LabError.

        A new interpreter for each question would cost more CPU than the daemons that are asked.
        """
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.closing(connection):
            connection.sock.settimeout(timeout_s)
            try:
                connection.sock.connect(str(self.directory / "meshd.sock"))
                headers = {"Content-Type": "application/json"}
                if body is None:
                    connection.request("GET", target)
                else:
                    connection.request("POST", target, json.dumps(body), headers)
                answer = connection.getresponse()
                found = dict(json.load(answer))
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise LabError(f"{self.name}: no answer to {target}: {error}") from error
        if answer.status != 200:
            raise LabError(f"{self.name}: {target} failed: {found.get('error')}")
        return found

    def stop(self, deadline_s: float = 10.0) -> int:
        """``meshd down``; wait for the daemon's end and return its exit code."""
        self.must("down")
        return self.wait_ended(deadline_s)

    def terminate(self, deadline_s: float = 10.0) -> int:
        """SIGTERM, as systemd stops it; return the exit code."""
        self._daemon().send_signal(signal.SIGTERM)
        return self.wait_ended(deadline_s)

    def kill(self) -> None:
        """``kill -9``: the daemon gets no chance to say goodbye."""
        self._daemon().kill()
        self._daemon().wait()
        self.daemon = None

    def wait_ended(self, deadline_s: float = 10.0) -> int:
        """Wait until the daemon has ended by itself and return its exit code."""
        daemon = self._daemon()
        try:
            code = daemon.wait(deadline_s)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: meshd did not end in {deadline_s:g} s") from error
        self.daemon = None
        return code

    def metrics(self, port: int = 8080) -> dict[str, float]:
        """Every sample of /metrics by its name and labels, as Prometheus' text format has them."""
        text = self.http_get("/metrics", port)
        found = {}
        for name, labels, value in SAMPLE.findall(text):
            with contextlib.suppress(ValueError):
                found[name + labels] = float(value)
        return found

    def metric(self, name: str) -> float:
        """One metric, summed over its labels; 0 if it has no sample."""
        samples = self.metrics().items()
        return sum(value for key, value in samples if key.partition("{")[0] == name)

    def http_get(self, path: str, port: int = 8080) -> str:
        """The body of a plain HTTP/1.0 request to the daemon's loopback address."""
        with self.namespace.entered():
            stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with stream:
            stream.settimeout(5.0)
            stream.connect(("127.0.0.1", port))
            stream.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: stream.recv(65536), b""))
        return answer.partition(b"\r\n\r\n")[2].decode()

    def log_text(self) -> str:
        """The daemon's log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def last_log_line(self) -> str:
        """The last line of the log, for a sentence that explains a failure."""
        return _last_line(self.log_text())

    def resident_mb(self) -> float:
        """The daemon's resident memory in MB (10^6 bytes)."""
        text = Path(f"/proc/{self._daemon().pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        return int(found[1]) * 1024 / 1e6 if found else 0.0

    def open_files(self) -> int:
        """How many descriptors the daemon holds."""
        return len(os.listdir(f"/proc/{self._daemon().pid}/fd"))

    def cpu_seconds(self) -> float:
        """CPU time the daemon has used so far."""
        stat = Path(f"/proc/{self._daemon().pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def _daemon(self) -> subprocess.Popen[bytes]:
        if self.daemon is None:
            raise LabError(f"{self.name}: no daemon was started")
        return self.daemon


def addresses(status: Mapping[str, Any]) -> tuple[str, str]:
    """The IPv4 and the IPv6 overlay address in the ``self`` part of a status."""
    both = sorted(status["self"]["addresses"], key=lambda text: ":" in text)
    return both[0].partition("/")[0], both[-1].partition("/")[0]


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
