from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshd import __version__, cli
from meshd.cli import build_parser, lifetime, main, parse
from meshd.node.errors import HostError, LocalError, RemoteError

VERBS = {
    "init": [],
    "invite": [],
    "join": ["-"],
    "up": [],
    "down": [],
    "leave": [],
    "revoke": ["x"],
    "renew": [],
    "demo": [],
    "status": [],
    "ping": ["x"],
    "why": ["x"],
    "netcheck": [],
    "lookup": ["x"],
    "routes": [],
    "cert": ["show"],
    "config": ["check"],
}


def run_with(monkeypatch: pytest.MonkeyPatch, work: Callable[[argparse.Namespace], int]) -> int:
    """The exit code of `meshd status` when it does `work`."""
    monkeypatch.setattr("meshd.commands.show.status", work)
    return main(["status"])


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def work(args: argparse.Namespace) -> int:
        raise error

    return work


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_leads_to_a_function(verb: str) -> None:
    args = parse([verb, *VERBS[verb]])
    module, _, function = args.run.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_help_names_every_verb_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for verb in VERBS:
        assert f"\n    {verb} " in text
    for code in ("0", "1", "2", "3", "4", "130"):
        assert f"\n  {code} " in text


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"meshd {__version__}\n"


def test_global_options_stand_before_or_behind_the_verb() -> None:
    before = parse(["--config", "a", "--certs", "b", "--state", "c", "--socket", "d", "status"])
    behind = parse(["status", "--config", "a", "--certs", "b", "--state", "c", "--socket", "d"])
    assert before == behind
    assert (before.config, before.socket) == (Path("a"), Path("d"))
    nested = parse(["--certs", "b", "cert", "show"])
    assert nested.certs == Path("b")
    assert parse(["cert", "show", "--certs", "b"]).certs == Path("b")


def test_the_places_are_those_of_the_contract() -> None:
    args = parse(["status"])
    assert args.config is None
    assert str(args.certs) == "/etc/aegisray/certs"
    assert str(args.state) == "/var/lib/aegisray"
    assert str(args.socket) == "/run/aegisray/meshd.sock"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["status", "--jsn"],
        ["status", "--js"],
        ["status", "more"],
        ["lookup"],
        ["cert"],
        ["config"],
        ["ping", "x", "-c", "0"],
        ["ping", "x", "-c", "many"],
        ["ping", "x", "-W", "0"],
        ["ping", "x", "-W", "nan"],
        ["ping", "x", "-W", "3601"],
        ["why"],
        ["ping", "x", "-i", "31"],
        ["invite", "--expires", "1"],
        ["invite", "--expires", "soon"],
        ["init", "--unknown"],
    ],
)
def test_a_wrong_command_line_ends_with_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: meshd" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1h", 3600), ("7d", 604_800), ("1h30m", 5400)],
)
def test_lifetimes_have_units(text: str, seconds: int) -> None:
    assert lifetime(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "h", "1h 2m", "-1h", "1.5h", "1w", "9" * 10 + "s", "1h\n"]
)
def test_other_lifetimes_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        lifetime(text)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (LocalError("this and that"), 1, "meshd: this and that\n"),
        (LocalError("a\nb", exit_code=2), 2, "meshd: a\nmeshd: b\n"),
        (HostError("no /dev/net/tun"), 3, "meshd: no /dev/net/tun\n"),
        (RemoteError("replay"), 1, "meshd: the other side was refused: replay\n"),
        (PermissionError(13, "Permission denied", "/x"), 3, "meshd: /x: Permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_each_failure_is_a_sentence_and_a_code(
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_with(monkeypatch, raising(error)) == code
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", text)


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run_with(monkeypatch, raising(ZeroDivisionError()))


def test_a_closed_pipe_ends_quietly() -> None:
    code = "import sys; from meshd.cli import main; sys.exit(main(['cert', 'show']))"
    patch = (
        "import meshd.commands.show as show\n"
        "show.cert_show = lambda args: print('x' * 200_000) or 0\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", patch + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(20) == cli.BROKEN_PIPE
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("arguments", [["--help"], ["status", "--socket", "/nowhere/x.sock"]])
def test_help_and_status_load_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from meshd.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'asyncio', 'aiohttp', 'cryptography', 'pyroute2', 'prometheus_client', 'cbor2'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_built_verbs_are_offered() -> None:
    actions: Any = build_parser()._subparsers
    assert set(actions._group_actions[0].choices) == set(VERBS)
