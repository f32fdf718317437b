"""Logs: one safe line per event, for people or as JSON, and `auth.log` for fail2ban.

A log line is read by programs that ban addresses, so nobody outside may shape one: control
characters are escaped everywhere, and `auth.log` is made of fixed text, a bounded reason, and an
address that proved it can receive what we send it (a UDP source alone is anyone's claim).
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import logging.handlers
import os
import re
import sys
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("human", "json")

AUTH_LINES_PER_SECOND = 10

_FILE_MODE, _FOLDER_MODE = 0o640, 0o750
_CHATTY = ("asyncio", "aiohttp.access", "pyroute2", "zeroconf")
_AUTH_LOGGER, _HANDLER = "meshd.auth", "meshd"

# C0 and C1 controls, line and paragraph separators, bidirectional overrides, lone surrogates
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_REASON = re.compile(r"[a-z0-9-]{1,40}")


class AuthEvent(Enum):
    """What failed, in the words that fail2ban filters look for."""

    AUTHENTICATION = "authentication failed"
    CERTIFICATE = "certificate validation failed"
    CREDENTIALS = "invalid peer credentials"


def setup(
    format: str = "human",
    level: str = "info",
    file: Path | None = None,
    stream: TextIO | None = None,
) -> list[str]:
    """Send all logging to `stream` (stderr unless given) and `file`, in one of `FORMATS`.

    May be called again, to change them. A file that logrotate moves away is opened anew. A file
    that cannot be written is no reason to stop: the plain sentence returned says so, for `status`.
    Raises ValueError for an unknown format or level.
    """
    if format not in FORMATS or level.lower() not in LEVELS:
        raise ValueError(f"{format!r} is not in {FORMATS}, or {level!r} is not in {LEVELS}")
    missing: list[str] = []
    to_stream = logging.StreamHandler(stream or sys.stderr)
    # systemd's journal adds the time itself
    to_stream.setFormatter(HumanFormatter(with_time="JOURNAL_STREAM" not in os.environ))
    handlers: list[logging.Handler] = [to_stream]
    if file is not None:
        try:
            handlers.append(_file_handler(file))
        except OSError as error:
            missing.append(f"no log is written to {file} ({error.strerror}): see stderr instead")
        else:
            handlers[-1].setFormatter(HumanFormatter())
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if handler.get_name() == _HANDLER]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.set_name(_HANDLER)
        if format == "json":
            handler.setFormatter(JsonFormatter())
        root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # a full disk must not fill stderr with tracebacks
    logging.raiseExceptions = False
    return missing


class HumanFormatter(logging.Formatter):
    """`2026-07-01T12:00:00+0000 WARNING meshd.node: text`; a traceback follows, indented."""

    def __init__(self, with_time: bool = True) -> None:
        super().__init__()
        self._with_time = with_time

    def format(self, record: logging.LogRecord) -> str:
        """One line; only a traceback adds further ones, each indented."""
        line = f"{record.levelname} {record.name}: {escape(record.getMessage())}"
        if self._with_time:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))
            line = f"{stamp} {line}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {escape(text)}" for text in trace.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `time` (Unix seconds), `level`, `logger`, `message`.

    `extra={"fields": {...}}` of the logging call adds its keys; a traceback is `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line of pure ASCII."""
        entry: dict[str, object] = {}
        fields = record.__dict__.get("fields")
        if isinstance(fields, dict):
            entry.update(fields)
        entry.update(
            time=round(record.created, 3),
            level=record.levelname.lower(),
            logger=record.name,
            message=record.getMessage(),
        )
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def escape(text: str) -> str:
    """`text` on one line, with whatever could move a cursor or end a line written as escapes."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class AuthLog:
    """`auth.log`: who failed to authenticate, at most `AUTH_LINES_PER_SECOND`.

        2026-07-01T12:00:00+0000 meshd[71]: authentication failed (replayed) from 192.0.2.7

    Each line also goes to the ordinary log, as fail2ban may read the journal instead. `missing`
    holds a plain sentence if the file cannot be written.
    """

    def __init__(
        self,
        file: Path | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        self.missing: list[str] = []
        self._clock = clock
        self._unix_clock = unix_clock
        self._tokens = float(AUTH_LINES_PER_SECOND)
        self._refilled_at = clock()
        self._suppressed = 0
        self._handler: logging.Handler | None = None
        if file is not None:
            try:
                self._handler = _file_handler(file)
            except OSError as error:
                self.missing.append(f"{file} is not written ({error.strerror}): see the log")

    def write(self, event: AuthEvent, reason: str, address: str, *, proven: bool) -> None:
        """Log a failure. `reason` is a counter's key such as "certificate-expired".

        `address` (numeric IP text) is written only if `proven`: if its owner answered something
        that we had sent there, such as a cookie or a handshake response.
        """
        if not self._take_token():
            self._suppressed += 1
            return
        if self._suppressed:
            self._emit(f"{self._suppressed} more failures were not logged")
            self._suppressed = 0
        safe_reason = reason if _REASON.fullmatch(reason) else "unknown"
        source = _canonical(address) if proven else None
        origin = f"from {source}" if source else "at an unproven address"
        self._emit(f"{event.value} ({safe_reason}) {origin}")

    def close(self) -> None:
        """Close the file."""
        if self._handler is not None:
            with contextlib.suppress(OSError):  # a full disk
                self._handler.close()
            self._handler = None

    def _take_token(self) -> bool:
        now = self._clock()
        earned = (now - self._refilled_at) * AUTH_LINES_PER_SECOND
        self._refilled_at = now
        self._tokens = min(self._tokens + earned, AUTH_LINES_PER_SECOND)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _emit(self, text: str) -> None:
        logging.getLogger(_AUTH_LOGGER).warning("%s", text)
        if self._handler is not None:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self._unix_clock()))
            line = f"{stamp} meshd[{os.getpid()}]: {text}"
            self._handler.handle(logging.makeLogRecord({"msg": line}))


def _canonical(address: str) -> str | None:
    """An IP address as fail2ban knows it: no zone, no IPv4 written as IPv6; None if it is none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def _file_handler(file: Path) -> logging.Handler:
    """Append to `file`, readable by its group; it and its folder are made. Raises OSError."""
    file.parent.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
    os.close(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _FILE_MODE))
    return logging.handlers.WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
