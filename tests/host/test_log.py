from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.host import log
from meshd.host.log import AUTH_LINES_PER_SECOND, AuthEvent, AuthLog, escape, setup

# The deployment guide's filter, with fail2ban's <HOST>: unanchored, so any text could match
FAIL2BAN = re.compile(
    r"(?:authentication failed|certificate validation failed|invalid peer credentials)"
    r".*from (?P<host>[0-9a-fA-F.:]+)"
)
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} meshd\[\d+\]: "
    r"(authentication failed|certificate validation failed|invalid peer credentials)"
    r" \([a-z0-9-]+\) (from [0-9a-f.:]+|at an unproven address)"
)


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    level, loud = root.level, logging.raiseExceptions
    yield
    for handler in [one for one in root.handlers if one.get_name() == "meshd"]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.raiseExceptions = loud


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_people_get_one_line_with_level_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    stream = io.StringIO()
    assert setup("human", "INFO", stream=stream) == []
    logging.getLogger("meshd.node").info("peer %s is up", "berlin")
    logging.getLogger("meshd.node").debug("not shown")
    stamp, text = stream.getvalue().split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", stamp)
    assert text == "INFO meshd.node: peer berlin is up\n"


def test_the_journal_gets_no_second_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "9:1")
    stream = io.StringIO()
    setup(stream=stream, file=tmp_path / "node.log")
    logging.getLogger("meshd").info("hello")
    assert stream.getvalue() == "INFO meshd: hello\n"
    assert (tmp_path / "node.log").read_text().endswith(" INFO meshd: hello\n")


def test_json_lines_hold_the_fields(tmp_path: Path) -> None:
    stream = io.StringIO()
    file = tmp_path / "new" / "node.log"
    assert setup("json", "debug", file, stream) == []
    logger = logging.getLogger("meshd.node")
    logger.debug("path\nchanged", extra={"fields": {"peer": b"\1", "rtt_ms": 3, "level": "x"}})
    (entry,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert entry.pop("time") > 1.7e9
    assert entry == {
        "peer": "b'\\x01'",
        "rtt_ms": 3,
        "level": "debug",
        "logger": "meshd.node",
        "message": "path\nchanged",
    }
    assert file.read_text() == stream.getvalue()
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("format", ["human", "json"])
def test_nothing_logged_makes_a_line_of_its_own(format: str) -> None:
    stream = io.StringIO()
    setup(format, stream=stream)
    hostile = "x\r\nERROR meshd: authentication failed from 192.0.2.9\x1b[2J\x85\u2028\u202e\udc80"
    # Straight to the handler: a report of pytest's cannot carry the lone surrogate.
    record = logging.LogRecord("meshd", logging.WARNING, "", 0, "name is %s", (hostile,), None)
    (handler,) = [h for h in logging.getLogger().handlers if getattr(h, "stream", 0) is stream]
    handler.handle(record)
    assert len(stream.getvalue().splitlines()) == 1
    assert stream.getvalue()[:-1].isprintable()
    assert stream.getvalue().isascii()


def test_a_traceback_is_indented_and_escaped() -> None:
    stream = io.StringIO()
    setup(stream=stream)
    try:
        raise ValueError("a\x1b\nERROR b")
    except ValueError:
        logging.getLogger("meshd").exception("broken")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("ERROR meshd: broken")
    assert rest
    assert all(line.startswith("    ") and "\x1b" not in line for line in rest)
    stream = io.StringIO()
    setup("json", stream=stream)
    logging.getLogger("meshd").error("broken", exc_info=(ValueError, ValueError("c"), None))
    assert "ValueError: c" in json.loads(stream.getvalue())["exception"]


def test_setting_up_again_replaces_the_former_outputs() -> None:
    first, second = io.StringIO(), io.StringIO()
    setup(stream=first)
    setup(stream=second)
    logging.getLogger("meshd").info("hello")
    assert first.getvalue() == ""
    assert second.getvalue().count("hello") == 1


def test_a_file_that_cannot_be_written_is_told_and_stderr_serves(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    stream = io.StringIO()
    (told,) = setup(file=tmp_path / "file" / "node.log", stream=stream)
    assert re.search(r"no log is written to .*node.log", told)
    logging.getLogger("meshd").info("hello")
    assert "hello" in stream.getvalue()


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    file = tmp_path / "node.log"
    setup(file=file, stream=io.StringIO())
    logging.getLogger("meshd").info("first")
    file.rename(tmp_path / "node.log.1")
    logging.getLogger("meshd").info("second")
    assert "second" in file.read_text()
    assert "second" not in (tmp_path / "node.log.1").read_text()


def test_unknown_formats_and_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="xml"):
        setup("xml")
    with pytest.raises(ValueError, match="loud"):
        setup(level="loud")


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    setup()
    logging.getLogger("meshd").info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err


@given(st.text())
def test_escaped_text_has_no_controls_and_keeps_the_rest(text: str) -> None:
    safe = escape(text)
    assert len(safe.splitlines()) <= 1
    assert not re.search(log._UNSAFE, safe)
    if text.isprintable():
        assert safe == text


@pytest.mark.parametrize("event", list(AuthEvent))
@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_fail2ban_finds_a_proven_address(
    tmp_path: Path, event: AuthEvent, address: str, shown: str
) -> None:
    auth = AuthLog(tmp_path / "auth.log")
    auth.write(event, "certificate-expired", address, proven=True)
    auth.close()
    (line,) = (tmp_path / "auth.log").read_text().splitlines()
    assert LINE.fullmatch(line)
    found = FAIL2BAN.search(line)
    assert found
    assert found["host"] == shown


def test_an_unproven_address_is_never_written(tmp_path: Path) -> None:
    auth = AuthLog(tmp_path / "auth.log")
    auth.write(AuthEvent.AUTHENTICATION, "bad-mac", "192.0.2.7", proven=False)
    auth.close()
    text = (tmp_path / "auth.log").read_text()
    assert text.endswith("authentication failed (bad-mac) at an unproven address\n")
    assert "192.0.2.7" not in text


@given(reason=st.text(), address=st.text(), proven=st.booleans())
def test_no_input_shapes_the_line(
    tmp_path_factory: pytest.TempPathFactory, reason: str, address: str, proven: bool
) -> None:
    file = tmp_path_factory.mktemp("auth") / "auth.log"
    auth = AuthLog(file)
    auth.write(AuthEvent.CREDENTIALS, reason, address, proven=proven)
    auth.write(AuthEvent.CREDENTIALS, f"x from 192.0.2.9\n{reason}", "192.0.2.9\n", proven=proven)
    auth.close()
    lines = file.read_text().split("\n")
    assert lines.pop() == ""
    assert len(lines) == 2
    assert all(LINE.fullmatch(line) for line in lines)
    assert "192.0.2.9" not in lines[1]


def test_a_flood_is_cut_and_counted(tmp_path: Path) -> None:
    clock = Clock()
    auth = AuthLog(tmp_path / "auth.log", clock=clock, unix_clock=lambda: 1.8e9)
    for _ in range(AUTH_LINES_PER_SECOND + 90):
        auth.write(AuthEvent.AUTHENTICATION, "bad-mac", "192.0.2.7", proven=True)
    text = (tmp_path / "auth.log").read_text()
    assert len(text.splitlines()) == AUTH_LINES_PER_SECOND
    clock.now += 0.15
    auth.write(AuthEvent.AUTHENTICATION, "bad-mac", "192.0.2.7", proven=True)
    auth.close()
    added = (tmp_path / "auth.log").read_text()[len(text) :].splitlines()
    assert len(added) == 2
    assert added[0].endswith(": 90 more failures were not logged")


def test_failures_also_reach_the_ordinary_log_and_a_missing_file_is_told(tmp_path: Path) -> None:
    stream = io.StringIO()
    setup(stream=stream)
    (tmp_path / "file").touch()
    auth = AuthLog(tmp_path / "file" / "auth.log")
    assert len(auth.missing) == 1
    auth.write(AuthEvent.CERTIFICATE, "certificate-foreign", "192.0.2.7", proven=True)
    auth.close()
    AuthLog(None).close()
    wanted = "meshd.auth: certificate validation failed (certificate-foreign) from 192.0.2.7\n"
    assert stream.getvalue().endswith(wanted)


def test_a_full_disk_is_survived(capsys: pytest.CaptureFixture[str]) -> None:
    setup()
    auth = AuthLog(Path("/dev/full"))
    auth.write(AuthEvent.AUTHENTICATION, "bad-mac", "192.0.2.7", proven=True)
    auth.close()
    assert "Traceback" not in capsys.readouterr().err
    assert sys.stderr.writable()
