"""`meshd revoke` and `meshd renew`: what they ask of the daemon and what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshd.cli import main
from meshd.node.errors import LocalError
from tests.commands.daemon import BETA, FakeBackend, serving


def meshd(tmp_path: Path, backend: FakeBackend, *arguments: str) -> int:
    """Run a verb against a daemon that answers from `backend`."""
    socket = tmp_path / "meshd.sock"
    with serving(backend, socket):
        return main(["--socket", str(socket), *arguments])


def test_revoking_says_what_was_done_and_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend()
    backend.revoked = {
        "id": BETA,
        "name": "beta",
        "serials": ["40" * 8, "41" * 8],
        "elsewhere": ["run it on gamma\x1b[2J too"],
    }
    assert meshd(tmp_path, backend, "revoke", "beta") == 0
    assert backend.asked == [("revoke", "beta")]
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"Revoked: beta ({BETA}).",
        "Not done yet: run it on gamma?[2J too.",
    ]
    assert "on its way to every member" in told.err


def test_what_was_revoked_before_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert meshd(tmp_path, FakeBackend(), "revoke", "beta") == 0
    assert "was revoked before" in capsys.readouterr().out


def test_a_new_certificate_is_told_with_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend()
    assert meshd(tmp_path, backend, "renew") == 0
    assert backend.asked == ["renew"]
    assert capsys.readouterr().out == ("alpha has a new certificate, until 2027-01-15T06:00:00Z.\n")


@pytest.mark.parametrize("verb", [["revoke", "beta"], ["renew"]])
def test_scripts_get_json_and_everybody_the_reason(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert meshd(tmp_path, FakeBackend(), *verb, "--json") == 0
    assert json.loads(capsys.readouterr().out)["name"] in ("alpha", "beta")
    failing = FakeBackend(error=LocalError("no issuer is reached"))
    assert meshd(tmp_path, failing, *verb) == 1
    assert capsys.readouterr().err == "meshd: no issuer is reached\n"
