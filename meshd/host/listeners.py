"""Opens the sockets that the API listens on, and says plainly why when it cannot."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from meshd.node.errors import HostError, LocalError

PROBE_TIMEOUT = 1.0
"""Seconds to wait for whoever may listen on an existing unix socket."""


class UnixListener:
    """A listening unix socket of mode 0660, whose file goes with it."""

    def __init__(self, path: Path) -> None:
        """Listen on `path`; a socket there that nobody answers on is replaced.

        Raises LocalError if somebody answers or `path` is another kind of file, HostError if the
        host refuses.
        """
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _remove_stale(path)
            before = os.umask(0o117)  # so that it never stands there with a wider mode
            try:
                self.socket.bind(str(path))
            finally:
                os.umask(before)
            self.socket.listen()
            self._inode = path.stat().st_ino
        except OSError as error:
            self.socket.close()
            raise HostError(
                f"cannot make the socket {path}: {error.strerror or error}; "
                "give another place with --socket"
            ) from None
        except LocalError:
            self.socket.close()
            raise
        self.socket.setblocking(False)

    def close(self) -> None:
        """Close the socket, and remove its file unless that is another's by now."""
        self.socket.close()
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise LocalError(f"{path} exists and is no socket: move it away, or give another --socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except (TimeoutError, BlockingIOError):
            pass  # its queue is full: somebody is there
    raise LocalError(
        f"another meshd answers on {path}: stop it with `meshd --socket {path} down`, "
        "or give this one another --socket"
    )


def open_tcp(host: str, port: int) -> socket.socket:
    """A socket that listens on this address. Raises HostError."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen()
    except OSError as error:
        sock.close()
        why = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror
        raise HostError(
            f"cannot serve /health and /metrics on {host} port {port}: {why}; "
            'set api.listen in node.toml to another address and port, or to "off"'
        ) from None
    sock.setblocking(False)
    return sock
