"""Talks to the daemon: HTTP and JSON over its unix socket, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import struct
from pathlib import Path
from typing import Any

from meshd.node.errors import LocalError

NO_DAEMON = 4
"""The exit code when no daemon answers, or one that is not up yet."""

TIMEOUT = 10.0
"""Seconds to wait for an answer."""

STOP_TIMEOUT = 15.0
"""Seconds to wait for the daemon's end."""

_PEERCRED = struct.Struct("3i")


class DaemonClient:
    """One daemon, by the path of its socket. Every method may raise LocalError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, target: str) -> Any:
        """The JSON at `target`."""
        return self._request("GET", target, None, TIMEOUT)

    def post(self, target: str, body: dict[str, Any], timeout: float = TIMEOUT) -> Any:
        """Send `body` to `target`; the JSON of the answer, waited for `timeout` seconds."""
        return self._request("POST", target, body, timeout)

    def stop(self, target: str = "/v1/down") -> Any:
        """Ask the daemon to stop by `target`, and wait until its process has ended; its answer."""
        with self._connect(TIMEOUT) as sock:
            pid = _PEERCRED.unpack(
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
            )[0]
        try:
            process = os.pidfd_open(pid)
        except OSError:  # it runs in a container of its own: its process cannot be watched
            return self.post(target, {})
        try:
            answer = self.post(target, {})
            ended = select.poll()
            ended.register(process, select.POLLIN)
            if not ended.poll(STOP_TIMEOUT * 1000):
                raise LocalError(
                    f"meshd (process {pid}) is still stopping after {STOP_TIMEOUT:g} s: see its log"
                )
            return answer
        finally:
            os.close(process)

    def _connect(self, timeout: float) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        try:
            sock.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            raise LocalError(
                f"no meshd is running (nothing answers on {self._path}): start it with `meshd up`",
                NO_DAEMON,
            ) from None
        except PermissionError:
            sock.close()
            raise LocalError(
                f"you may not talk to meshd on {self._path}: try again with sudo, "
                "or join the group that owns it"
            ) from None
        except OSError as error:
            sock.close()
            raise LocalError(
                f"cannot reach meshd on {self._path}: {error.strerror or error}", NO_DAEMON
            ) from None
        return sock

    def _request(
        self, method: str, target: str, body: dict[str, Any] | None, timeout: float
    ) -> Any:
        connection = http.client.HTTPConnection("meshd", timeout=timeout)
        connection.sock = self._connect(timeout)
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        try:
            connection.request(method, target, data, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except TimeoutError:
            raise LocalError(
                f"meshd did not answer within {timeout:g} s: see its log", NO_DAEMON
            ) from None
        except (OSError, http.client.HTTPException, ValueError):
            raise LocalError(
                "meshd broke off its answer: see its log, then type it again", NO_DAEMON
            ) from None
        finally:
            connection.close()
        if response.status >= 400:
            raise LocalError(str(answer["error"]), int(answer.get("exit_code", 1)))
        return answer
