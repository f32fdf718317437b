from __future__ import annotations

import os
import sys
import time
from ipaddress import IPv4Network
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from meshd.cli import main
from meshd.config import Config
from meshd.host.storage import Storage
from tests.commands.daemon import FakeBackend, serving


def fake_module(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    """Put a module with `content` where `name` would be imported from."""
    package, _, attribute = name.rpartition(".")
    module = SimpleNamespace(**content)
    monkeypatch.setitem(sys.modules, name, module)
    if isinstance(sys.modules.get(package), ModuleType):
        monkeypatch.setattr(sys.modules[package], attribute, module, raising=False)


def test_up_without_a_mesh_says_how_to_get_into_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "node.toml").write_text("")
    places = ["--config", str(tmp_path / "node.toml"), "--certs", str(tmp_path / "certs")]
    assert main([*places, "up"]) == 1
    error = capsys.readouterr().err
    assert "`meshd init`" in error
    assert "`meshd join TOKEN`" in error


def test_up_hands_configuration_files_and_socket_to_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def run(config: Config, storage: Storage, socket: Path) -> int:
        given.extend((config.tun.mtu, storage.certs, storage.state, socket))
        return 7

    fake_module(monkeypatch, "meshd.daemon", run=run)
    certs, state, file = tmp_path / "certs", tmp_path / "state", tmp_path / "node.toml"
    file.write_text("tun.mtu = 1300\n")
    cidr = IPv4Network("100.64.0.0/16")
    Storage(certs, state).create_mesh("a", "m", cidr, "aes256gcm", time.time(), os.urandom)
    options = ["--certs", str(certs), "--state", str(state), "--config", str(file)]
    assert main(["up", *options, "--socket", "/run/x.sock"]) == 7
    assert given == [1300, certs, state, Path("/run/x.sock")]


def test_a_wrong_configuration_stops_up_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "node.toml").write_text("mtu = 1\n")
    assert main(["--config", str(tmp_path / "node.toml"), "up"]) == 2
    assert "did you mean tun.mtu?" in capsys.readouterr().err


def test_down_stops_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(pid: int) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "pidfd_open", unknown)  # the daemon here is this very process
    backend = FakeBackend()
    with serving(backend, tmp_path / "meshd.sock"):
        assert main(["--socket", str(tmp_path / "meshd.sock"), "down"]) == 0
    assert backend.asked == ["down"]
    assert main(["--socket", str(tmp_path / "meshd.sock"), "down"]) == 4


def test_demo_gets_every_argument_and_help(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []

    def demo(argv: list[str]) -> int:
        given.append(argv)
        return 3

    fake_module(monkeypatch, "simulations.lab.demo", main=demo)
    assert main(["demo"]) == 3
    assert main(["demo", "--size", "8", "--help"]) == 3
    assert given == [[], ["--size", "8", "--help"]]
