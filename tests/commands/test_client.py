from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshd.commands import client as module
from meshd.commands.client import NO_DAEMON, DaemonClient
from meshd.node.errors import LocalError
from tests.commands.daemon import FakeBackend, serving


@contextmanager
def answering(path: Path, answer: bytes, requests: int = 1) -> Iterator[None]:
    """A server that reads one request a connection and answers `answer`."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for _ in range(requests):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join(10)


def failure(path: Path) -> LocalError:
    with pytest.raises(LocalError) as caught:
        DaemonClient(path).get("/v1/status")
    return caught.value


def test_answers_come_as_json(tmp_path: Path) -> None:
    path = tmp_path / "meshd.sock"
    with serving(FakeBackend(), path):
        assert DaemonClient(path).get("/v1/status")["self"]["name"] == "alpha"
        assert DaemonClient(path).post("/v1/lookup", {"query": "x"})["query"] == "x"


def test_without_a_daemon_it_says_how_to_start_one(tmp_path: Path) -> None:
    path = tmp_path / "meshd.sock"
    assert "start it with `meshd up`" in str(failure(path))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    error = failure(path)
    assert f"nothing answers on {path}" in str(error)
    assert error.exit_code == NO_DAEMON


def test_a_refused_connection_says_who_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", refuse)
    error = failure(tmp_path / "meshd.sock")
    assert "sudo" in str(error)
    assert error.exit_code == 1


def test_a_path_that_is_no_socket_is_told(tmp_path: Path) -> None:
    assert failure(tmp_path / ("x" * 120)).exit_code == NO_DAEMON


def test_the_daemons_sentence_and_exit_code_are_handed_on(tmp_path: Path) -> None:
    path = tmp_path / "meshd.sock"
    with serving(FakeBackend(error=LocalError("meshd is starting", exit_code=4)), path):
        error = failure(path)
    assert str(error) == "meshd is starting"
    assert error.exit_code == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
    ],
)
def test_an_answer_that_breaks_off_is_told(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "meshd.sock"
    with answering(path, answer):
        error = failure(path)
    assert "broke off" in str(error)
    assert error.exit_code == NO_DAEMON


def test_a_silent_daemon_is_not_waited_for_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.01)
    path = tmp_path / "meshd.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        assert "did not answer within" in str(failure(path))


STOPPABLE = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
for _ in range(2):
    connection, _ = listener.accept()
    request = connection.recv(65536)
    while request and not request.endswith(b"{}"):
        request += connection.recv(65536)
    if request:
        assert request.startswith(b"POST /v1/down"), request
        connection.sendall(b"HTTP/1.1 202 Accepted\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
    connection.close()
sys.stdin.read() if len(sys.argv) > 2 else None
"""


def stoppable(path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPABLE, str(path), *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_stop_returns_when_the_process_has_ended(tmp_path: Path) -> None:
    with stoppable(tmp_path / "meshd.sock") as process:
        DaemonClient(tmp_path / "meshd.sock").stop()
        assert process.wait(0) == 0


def test_stop_says_so_when_the_process_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.01)
    with stoppable(tmp_path / "meshd.sock", "stay") as process:
        with pytest.raises(LocalError, match=rf"process {process.pid}\) is still stopping"):
            DaemonClient(tmp_path / "meshd.sock").stop()
        process.communicate(b"")


def test_a_daemon_that_cannot_be_watched_is_still_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(pid: int) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "pidfd_open", unknown)
    backend = FakeBackend()
    with serving(backend, tmp_path / "meshd.sock"):
        DaemonClient(tmp_path / "meshd.sock").stop()
    assert backend.asked == ["down"]
