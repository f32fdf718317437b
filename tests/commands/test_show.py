from __future__ import annotations

import json
import os
import time
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from meshd.cli import main
from meshd.commands import show
from meshd.host.storage import Storage
from meshd.node.errors import LocalError
from tests.commands.daemon import BETA, DIRECT, FakeBackend, peer, serving

PONG: Any = {
    "id": BETA,
    "name": "beta",
    "address": "100.64.0.2",
    "rtt_ms": 1.5,
    "path": DIRECT,
    "kind": "direct",
    "via": "192.0.2.1:443",
}
RELAYED: Any = {**PONG, "kind": "relay", "via": "gamma"}


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """The global options for a node that has a directory of its own."""
    return [
        "--certs",
        str(tmp_path / "certs"),
        "--state",
        str(tmp_path / "state"),
        "--socket",
        str(tmp_path / "meshd.sock"),
    ]


@pytest.fixture
def member(tmp_path: Path) -> Storage:
    """The files of a mesh's first node."""
    storage = Storage(tmp_path / "certs", tmp_path / "state")
    cidr = IPv4Network("100.64.0.0/16")
    storage.create_mesh("alpha", "production", cidr, "aes256gcm", time.time(), os.urandom)
    return storage


def asked(
    backend: FakeBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    """Exit code and standard output of a verb, with `backend` answering."""
    path = tmp_path / "meshd.sock"
    with serving(backend, path):
        code = main(["--socket", str(path), *arguments])
    return code, capsys.readouterr().out


def test_status_is_a_table_or_the_contracts_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend(peers=[peer("beta")])
    code, text = asked(backend, tmp_path, capsys, "status")
    assert code == 0
    assert "active; direct 192.0.2.1:443" in text
    code, text = asked(backend, tmp_path, capsys, "status", "--json")
    assert json.loads(text) == backend.status()


def test_status_fails_while_the_daemon_is_not_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend(error=LocalError("meshd is starting", exit_code=4))
    assert asked(backend, tmp_path, capsys, "status") == (4, "")


def test_routes_and_lookup_have_both_forms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = FakeBackend(
        offered=[{"prefix": "10.0.0.0/8", "id": BETA, "name": "beta", "selected": True}]
    )
    assert "10.0.0.0/8  beta" in asked(backend, tmp_path, capsys, "routes")[1]
    text = asked(backend, tmp_path, capsys, "routes", "--json")[1]
    assert json.loads(text) == {"routes": backend.offered}
    assert "beta" in asked(backend, tmp_path, capsys, "lookup", "10.1.2.3")[1]
    text = asked(backend, tmp_path, capsys, "lookup", "10.1.2.3", "--json")[1]
    assert json.loads(text)["query"] == "10.1.2.3"


def test_a_ping_succeeds_with_one_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("meshd.commands.show.time.sleep", pauses.append)
    backend = FakeBackend(pongs=[None, PONG])
    code, text = asked(backend, tmp_path, capsys, "ping", "beta", "-c2", "-W", "2", "-i", "0.5")
    assert code == 0
    assert text.splitlines() == [
        "no answer from beta within 2 s",
        "pong from beta (100.64.0.2) via direct 192.0.2.1:443 in 1.50 ms",
    ]
    assert backend.asked == [("beta", 2.0), ("beta", 2.0)]
    assert pauses == [0.5]


def test_a_ping_without_any_answer_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = asked(
        FakeBackend(pongs=[None]), tmp_path, capsys, "ping", "--json", "beta", "-c", "1"
    )
    assert code == 1
    assert json.loads(text) == {"peer": "beta", "sent": 1, "pongs": []}
    code, _ = asked(FakeBackend(error=LocalError("no peer x")), tmp_path, capsys, "ping", "x")
    assert code == 1


def test_a_ping_until_direct_says_which_way_each_answer_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.commands.show.time.sleep", lambda seconds: None)
    backend = FakeBackend(pongs=[None, RELAYED, RELAYED, PONG])
    code, text = asked(backend, tmp_path, capsys, "ping", "beta", "--until-direct")
    assert code == 0
    assert text.splitlines() == [
        "no answer from beta within 5 s",
        'pong from beta (100.64.0.2) via relay "gamma" in 1.50 ms',
        'pong from beta (100.64.0.2) via relay "gamma" in 1.50 ms',
        "pong from beta (100.64.0.2) via direct 192.0.2.1:443 in 1.50 ms",
    ]


def test_a_ping_until_direct_fails_at_its_timeout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("meshd.commands.show.time.monotonic", lambda: clock[0])

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr("meshd.commands.show.time.sleep", sleep)
    options = ("ping", "beta", "--until-direct", "--timeout", "12", "-i", "4")
    backend = FakeBackend(pongs=[RELAYED] * 9)
    code, text = asked(backend, tmp_path, capsys, *options)
    assert code == 1
    assert text.splitlines()[-1] == (
        "no direct way to beta yet: `meshd why beta` says what was tried"
    )
    assert backend.asked == [("beta", 5.0), ("beta", 5.0), ("beta", 4.0)]
    backend, clock[0] = FakeBackend(pongs=[RELAYED] * 9), 0.0
    code, text = asked(backend, tmp_path, capsys, *options, "--json")
    assert (code, json.loads(text)["sent"]) == (1, 3)


def test_cert_show_tells_what_the_certificate_says(
    member: Storage, places: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    identity = member.load_identity(time.time())
    (member.certs / "node.key").unlink()  # public files are enough
    assert main([*places, "cert", "show", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["name"] == "alpha"
    assert data["id"] == identity.id.hex()
    assert data["addresses"] == [str(address) for address in identity.certificate.addresses]
    assert data["mesh"] == identity.mesh.mesh_id.hex()
    assert data["issuers"] == [data["issuer"]]
    assert data["trusted"] is True
    assert main([*places, "cert", "show"]) == 0
    shown = dict(
        line.split(None, 1) for line in capsys.readouterr().out.splitlines() if " sha" not in line
    )
    assert shown["name"] == "alpha"
    assert shown["trusted"] == "yes"


def test_cert_show_says_why_a_certificate_is_not_trusted(
    member: Storage,
    places: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meshd.commands.show.time.time", lambda: time.monotonic() + 4e9)
    assert main([*places, "cert", "show"]) == 0
    assert "no: certificate-expired" in capsys.readouterr().out
    (member.certs / "ca.crt").write_bytes((member.certs / "node.crt").read_bytes())
    assert main([*places, "cert", "show"]) == 0
    assert "no: ca.crt holds no root" in capsys.readouterr().out


def test_cert_show_without_or_with_damaged_files_is_one_sentence(
    places: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*places, "cert", "show"]) == 1
    assert "`meshd join TOKEN`" in capsys.readouterr().err
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "node.crt").write_text("damaged")
    assert main([*places, "cert", "show"]) == 1
    error = capsys.readouterr().err
    assert "node.crt is damaged (it holds no certificates): put it back" in error
    assert error.count("\n") == 1
    (tmp_path / "certs" / "node.crt").unlink()
    (tmp_path / "certs" / "node.crt").mkdir()
    assert main([*places, "cert", "show"]) == 1
    assert "Is a directory" in capsys.readouterr().err


def test_cert_show_of_files_that_others_may_not_read_says_so(
    places: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert main([*places, "cert", "show"]) == 1
    assert "node.crt: try again with sudo" in capsys.readouterr().err


def test_config_check_says_ok_and_what_is_to_be_noticed(
    member: Storage, places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "node.toml"
    file.write_text('[security]\nstealth_mode = true\n[network]\nname = "staging"\n')
    assert main([*places, "--config", str(file), "config", "check"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{file}: ok\n")
    assert "security.stealth_mode without security.tls_cert" in text
    assert "this node's mesh has production" in text
    assert main([*places, "--config", str(file), "config", "check", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["ok"], data["file"]) == (True, str(file))
    assert len(data["notices"]) == 2
    assert data["config"]["security"]["use_tls"] is True


def test_config_check_fails_with_code_2_and_every_problem(
    places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "node.toml"
    file.write_text("listen_prot = 1\n[tun]\nmtu = 1\n")
    arguments = [*places, "config", "check", "--config", str(file)]
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == (
        f"meshd: {file}, line 1: listen_prot is not a key: did you mean listen_port?"
    )
    assert lines[1].startswith(f"meshd: {file}, line 3: tun.mtu: expected")
    assert main([*arguments, "--json"]) == 2
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] is False
    assert len(data["problems"]) == 2


def test_config_check_without_a_file_says_that_defaults_hold(
    places: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.config.SEARCHED", ())
    assert main([*places, "config", "check"]) == 0
    assert "defaults hold" in capsys.readouterr().out


def test_times_are_iso_8601() -> None:
    assert show._time(0) == "1970-01-01T00:00:00Z"
