"""`meshd leave`: what it asks of a daemon, what it moves, what it says."""

from __future__ import annotations

import os
import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from meshd.cli import main
from meshd.host.storage import Storage
from meshd.node.errors import LocalError
from tests.commands.daemon import FakeBackend, serving


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "certs", tmp_path / "state")
    cidr = IPv4Network("100.64.0.0/16")
    storage.create_mesh("alpha", "home", cidr, "aes256gcm", time.time(), os.urandom)
    return storage


@pytest.fixture(autouse=True)
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(pid: int) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "pidfd_open", unknown)  # the daemon here is this very process


def leave(tmp_path: Path, certs: str = "certs") -> int:
    places = ["--certs", str(tmp_path / certs), "--state", str(tmp_path / "state")]
    return main([*places, "--socket", str(tmp_path / "meshd.sock"), "leave"])


@pytest.mark.parametrize(
    ("told", "final", "says"),
    [
        (4, True, "4 other members were told, who tell the rest: its certificate is void"),
        (1, True, "One other member was told"),
        (0, True, "No other member could be reached"),
        (4, False, "Its certificate is too large to be told of"),
    ],
)
def test_the_daemon_tells_the_others_and_its_own_files_are_set_aside(
    told: int,
    final: bool,
    says: str,
    tmp_path: Path,
    storage: Storage,
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend = FakeBackend()
    backend.left = {
        "told": told,
        "final": final,
        "certs": str(storage.certs),
        "state": str(storage.state),
    }
    with serving(backend, tmp_path / "meshd.sock"):
        assert leave(tmp_path, certs="elsewhere") == 0
    assert backend.asked == ["leave"]
    shown = capsys.readouterr()
    assert shown.out == "This host has left home.\n"
    assert says in shown.err
    assert f"{storage.certs}/left and {storage.state}/left" in shown.err
    assert "issuer.key" in shown.err
    assert "`meshd join -`" in shown.err
    assert (storage.certs / "left" / "node.key").exists()
    assert not storage.is_member()


def test_a_daemon_that_has_not_let_go_yet_is_waited_for(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = FakeBackend()
    backend.left["certs"], backend.left["state"] = str(storage.certs), str(storage.state)
    daemon = Storage(storage.certs, storage.state)
    daemon.lock()
    monkeypatch.setattr("meshd.commands.leave.time.sleep", lambda seconds: daemon.unlock())
    with serving(backend, tmp_path / "meshd.sock"):
        assert leave(tmp_path) == 0
    assert not storage.is_member()


def test_without_a_daemon_the_files_are_set_aside_and_it_says_what_others_see(
    tmp_path: Path, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(tmp_path) == 0
    error = capsys.readouterr().err
    assert "nobody was told" in error
    assert "`meshd revoke alpha`" in error
    assert not storage.is_member()
    assert leave(tmp_path) == 1
    error = capsys.readouterr().err
    assert "in no mesh" in error
    assert "`meshd join TOKEN`" in error


def test_a_certificate_that_cannot_be_read_does_not_keep_a_host_in(
    tmp_path: Path, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    (storage.certs / "node.crt").write_text("damaged")
    assert leave(tmp_path) == 0
    assert "until its certificate ends, or `meshd revoke NODE`" in capsys.readouterr().err
    assert not storage.is_member()


def test_a_running_daemons_files_stay_where_they_are(
    tmp_path: Path, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Storage(storage.certs, storage.state)
    daemon.lock()
    assert leave(tmp_path) == 1
    assert "another meshd" in capsys.readouterr().err
    assert storage.is_member()
    daemon.unlock()


def test_a_daemon_that_refuses_keeps_its_files(
    tmp_path: Path, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend(error=LocalError("not now"))
    with serving(backend, tmp_path / "meshd.sock"):
        assert leave(tmp_path) == 1
    assert "not now" in capsys.readouterr().err
    assert storage.is_member()
