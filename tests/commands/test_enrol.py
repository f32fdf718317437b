from __future__ import annotations

import io
import sys
import time
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from meshd import enrol as network
from meshd.cli import main
from meshd.commands import enrol
from meshd.config import Config, Network
from meshd.host.storage import Storage
from meshd.node.errors import LocalError
from meshd.node.grants import Grants
from meshd.node.identity import Identity
from meshd.node.invitation import Token, decode_token
from tests.commands.daemon import FakeBackend, serving


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Node:
    """A node's directories, and verbs run on them."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.storage = Storage(directory / "certs", directory / "state")
        self.file = directory / "node.toml"
        self.file.write_text('network.endpoints = ["203.0.113.5:4433"]\n')
        self.capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        options = {
            "--config": self.file,
            "--certs": self.storage.certs,
            "--state": self.storage.state,
            "--socket": self.directory / "meshd.sock",
        }
        places = [text for option, path in options.items() for text in (option, str(path))]
        code = main([*places, *arguments])
        shown = self.capsys.readouterr()
        return code, shown.out, shown.err

    def identity(self) -> Identity:
        return self.storage.load_identity(time.time())


@pytest.fixture
def node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Node:
    return Node(tmp_path, capsys)


def test_init_makes_a_mesh_with_this_host_in_it(node: Node) -> None:
    code, out, err = node.run(
        "init", "--name", "alpha", "--network", "office", "--cidr", "10.9.0.0/24"
    )
    assert code == 0
    identity = node.identity()
    assert (identity.name, identity.mesh.name) == ("alpha", "office")
    assert identity.mesh.cidr == IPv4Network("10.9.0.0/24")
    assert identity.mesh.cipher == "aes256gcm"
    assert out.startswith("This host is alpha in office: 10.9.0.")
    assert "`meshd up`" in err


def test_init_takes_its_defaults_from_the_configuration(node: Node) -> None:
    node.file.write_text('node_name = "beta"\nnetwork.name = "lab"\n')
    assert node.run("init")[0] == 0
    identity = node.identity()
    assert (identity.name, identity.mesh.name) == ("beta", "lab")
    assert identity.mesh.cidr == enrol.CIDR


@pytest.mark.parametrize(
    "options",
    [("--name", "Bad Name"), ("--network", "-"), ("--cidr", "10.0.0.1/8"), ("--cidr", "x")],
)
def test_init_with_a_bad_option_makes_nothing(node: Node, options: tuple[str, str]) -> None:
    code, out, err = node.run("init", "--name", "alpha", *options)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert not node.storage.is_member()


def test_init_never_replaces_a_mesh(node: Node) -> None:
    assert node.run("init", "--name", "alpha")[0] == 0
    before = node.identity().id
    code, _, err = node.run("init", "--name", "alpha")
    assert code == 1
    assert "in a mesh already" in err
    assert node.identity().id == before


def test_invite_without_a_daemon_prints_the_token_alone(node: Node) -> None:
    node.run("init", "--name", "alpha")
    options = ["--name", "nas", "--role", "relay", "--role", "exit", "--route", "10.0.0.0/8"]
    code, out, err = node.run("invite", *options, "--group", "web", "--expires", "2h")
    assert code == 0
    assert out.count("\n") == 1
    token = decode_token(out)
    assert out.strip() not in err
    assert token.endpoints[0] == ("203.0.113.5", 4433)
    assert abs(token.expiry - time.time() - 7200) < 60
    kept = node.storage.find_invitation(token.invitation_id)
    assert kept is not None
    assert kept.grants.name == "nas"
    assert kept.grants.roles == ("relay", "exit")
    assert [str(route) for route in kept.grants.routes] == ["10.0.0.0/8"]
    assert kept.grants.groups == ("web",)
    for file in node.storage.state.rglob("*"):
        assert not file.is_file() or token.secret not in file.read_bytes()


def test_invite_goes_through_a_running_daemon(node: Node) -> None:
    backend = FakeBackend()
    with serving(backend, node.directory / "meshd.sock"):
        code, out, _ = node.run("invite", "--name", "nas", "--role", "relay")
    assert (code, out) == (0, "aegis1-from-the-daemon\n")
    assert backend.asked == [(Grants("nas", ("relay",)), 3600)]


def test_what_the_daemon_refuses_is_not_tried_behind_its_back(node: Node) -> None:
    node.run("init", "--name", "alpha")
    with serving(FakeBackend(error=LocalError("no")), node.directory / "meshd.sock"):
        assert node.run("invite") == (1, "", "meshd: no\n")
    assert node.storage.invitations() == []


def test_no_token_is_printed_that_a_running_daemon_would_not_know(node: Node) -> None:
    node.run("init", "--name", "alpha")
    daemon = Storage(node.storage.certs, node.storage.state)
    with daemon.locked():  # it runs, but on another socket
        code, out, err = node.run("invite")
    assert (code, out) == (1, "")
    assert "another meshd" in err
    assert node.storage.invitations() == []


@pytest.mark.parametrize(
    "options",
    [
        ("--role", "king"),
        ("--route", "10.0.0.1/8"),
        ("--group", "A B"),
        ("--name", "A B"),
        ("--expires", "31d"),
        ("--expires", "0s"),
    ],
)
def test_a_bad_invitation_is_refused_in_a_sentence(node: Node, options: tuple[str, str]) -> None:
    node.run("init", "--name", "alpha")
    code, out, err = node.run("invite", *options)
    assert (code, out) == (1, "")
    assert err.startswith("meshd: ")
    assert err.count("\n") == 1
    assert node.storage.invitations() == []


def test_invite_outside_a_mesh_or_without_the_role_says_where_to_go(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "`meshd init`" in node.run("invite")[2]
    node.run("init", "--name", "alpha")
    for name in ("issuer.key", "issuer.crt", "root.key"):
        (node.storage.certs / name).unlink()
    code, _, err = node.run("invite")
    assert code == 1
    assert "role issuer" in err


def test_public_addresses_come_before_private_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "meshd.host.addresses.local_addresses", lambda: ["10.0.0.7", "8.8.8.8", "2600::1"]
    )
    config = Config(listen_port=4, network=Network(endpoints=(("9.9.9.9", 5), ("8.8.8.8", 4))))
    assert enrol.reachable(config) == (
        ("9.9.9.9", 5),
        ("8.8.8.8", 4),
        ("2600::1", 4),
        ("10.0.0.7", 4),
    )
    assert enrol.reachable(Config(listen_address="10.0.0.7")) == (("10.0.0.7", 443),)


@pytest.fixture
def joined(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replaces the exchange over the network; what it was called with."""
    node.run("init", "--name", "alpha")
    given: list[Any] = []

    def join(token: Token, storage: Storage, name: str | None, config: Config) -> Identity:
        given.extend((token, storage.certs, name, config.network.endpoints))
        return node.identity()

    monkeypatch.setattr(network, "join", join)
    return given


def test_join_takes_the_token_as_argument(node: Node, joined: list[Any]) -> None:
    text = node.run("invite")[1].strip()
    code, out, err = node.run("join", text, "--name", "nas")
    assert code == 0
    assert joined == [
        decode_token(text),
        node.storage.certs,
        "nas",
        (("203.0.113.5", 4433),),
    ]
    assert out.startswith("This host is alpha in aegisray: ")
    assert text not in out + err


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_join_reads_the_token_from_standard_input(
    node: Node, joined: list[Any], monkeypatch: pytest.MonkeyPatch, kind: type[io.StringIO]
) -> None:
    text = node.run("invite")[1]
    monkeypatch.setattr(sys, "stdin", kind(f"  {text}more"))
    code, _, err = node.run("join", "-")
    assert code == 0
    assert joined[0] == decode_token(text)
    assert joined[2] is None
    assert ("Paste the invitation" in err) == (kind is Terminal)


@pytest.mark.parametrize("text", ["", "x", "aegis1-", "aegis1-abc", "aegis1-" + "A" * 5000])
def test_join_refuses_what_is_no_token_without_repeating_it(
    node: Node, joined: list[Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{text}\n"))
    code, out, err = node.run("join", "-")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert len(text) < 8 or text not in err
    assert joined == []


def test_join_refuses_an_expired_token_before_it_talks(
    node: Node, joined: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = node.run("invite", "--expires", "1s")[1].strip()
    later = time.time() + 60
    monkeypatch.setattr("meshd.commands.enrol.time.time", lambda: later)
    code, _, err = node.run("join", text)
    assert code == 1
    assert "expired" in err
    assert joined == []
