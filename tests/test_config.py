from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from meshd import config as module
from meshd.config import Config, label, load
from meshd.configfile import ConfigError
from meshd.node.mesh import MeshDocument

GUIDE = """\
node_name: "k8s-exit-${HOSTNAME}"
node_type: "exit"
listen_port: 443

network:
  name: "production"
  cidr: "100.64.0.0/16"

security:
  use_tls: true
  stealth_mode: true

performance:
  max_peers: 50

logging:
  level: "info"
  file: "/var/log/aegisray/node.log"
"""


def load_text(tmp_path: Path, text: str, name: str = "node.toml", **environ: str) -> Config:
    path = tmp_path / name
    path.write_text(text)
    return load(path, environ)


def problems(tmp_path: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text, **environ)
    assert caught.value.exit_code == 2
    return list(caught.value.problems)


def test_without_any_file_there_are_defaults() -> None:
    config = load(None, {}, searched=())
    assert config == Config()
    assert config.listen_port == 443
    assert config.api.listen == ("127.0.0.1", 8080)
    assert config.tun.mtu == 1420
    assert config.notices() == []


def test_the_guides_yaml_is_read_as_it_stands(tmp_path: Path) -> None:
    config = load_text(tmp_path, GUIDE, "node.yaml", HOSTNAME="pod-7")
    assert config.name() == "k8s-exit-pod-7"
    assert config.node_type == "exit"
    assert config.network.name == "production"
    assert config.network.cidr == IPv4Network("100.64.0.0/16")
    assert config.performance.max_peers == 50
    assert config.logging.file == Path("/var/log/aegisray/node.log")
    assert config.file == tmp_path / "node.yaml"


def test_what_has_no_effect_yet_is_accepted_and_said(tmp_path: Path) -> None:
    notices = load_text(tmp_path, GUIDE, "node.yaml", HOSTNAME="x").notices()
    assert any(text.startswith("node_type exit has no effect yet") for text in notices)
    assert any("security.stealth_mode without security.tls_cert" in text for text in notices)


def test_another_mesh_than_the_expected_one_is_said(tmp_path: Path) -> None:
    config = load_text(tmp_path, '[network]\nname = "production"\ncidr = "100.64.0.0/16"\n')
    mesh = MeshDocument("production", IPv4Network("100.64.0.0/16"), "aes256gcm", bytes(32))
    assert config.notices(mesh) == []
    assert Config().notices(replace(mesh, name="staging")) == []
    other = replace(mesh, name="staging", cidr=IPv4Network("100.65.0.0/16"))
    assert [text.split(" ")[0] for text in config.notices(other)] == [
        "network.name",
        "network.cidr",
    ]


def test_every_key_is_read_from_toml(tmp_path: Path) -> None:
    text = """\
node_name = "Alpha"
node_type = "coordinator"
environment = "staging"
listen_port = 4433
listen_address = "192.0.2.7"
bootstrap = ["seed.example.net"]
[network]
name = "staging"
cidr = "100.65.0.0/16"
endpoints = ["203.0.113.5", "203.0.113.6:7"]
port_mapping = false
lan_discovery = false
proxy = "http://proxy.example.net:3128"
[security]
use_tls = false
stealth_mode = true
fallback = "http://127.0.0.1:8080"
tls_cert = "/etc/tls/site.crt"
tls_key = "/etc/tls/site.key"
tls_name = "WWW.example.org"
proxy_sources = ["192.0.2.10", "2001:db8::/64"]
[performance]
max_peers = 7
relay_capacity = 50
realtime = true
[logging]
level = "DEBUG"
format = "json"
file = "/tmp/node.log"
auth_file = "/tmp/auth.log"
[api]
listen = "off"
hosts = ["exit-1"]
[tun]
name = "mesh0"
mtu = 1380
[gossip]
profile = "wan"
[offload]
tun = false
gso = false
gro = false
"""
    config = load_text(tmp_path, text)
    assert config.node_name == "alpha"
    assert config.node_type == "bootstrap"
    assert config.bootstrap == (("seed.example.net", 443),)
    assert config.network.endpoints == (("203.0.113.5", 4433), ("203.0.113.6", 7))
    assert config.logging.level == "debug"
    assert config.api.listen is None
    assert config.offload == module.Offload(tun=False, gso=False, gro=False)
    assert set(module._PARSERS) == set(_keys(config.as_dict()))
    changed = {key for key in _keys(config.as_dict()) if _at(config, key) != _at(Config(), key)}
    assert set(module._PARSERS) == changed
    assert config.security.tls_name == "www.example.org"
    assert [str(prefix) for prefix in config.security.proxy_sources] == [
        "192.0.2.10/32",
        "2001:db8::/64",
    ]


def test_a_proxys_password_is_shown_nowhere(tmp_path: Path) -> None:
    config = load_text(tmp_path, '[network]\nproxy = "http://me:secret@proxy.example.net:3128"\n')
    assert config.network.proxy == "http://me:secret@proxy.example.net:3128"
    assert config.as_dict()["network"]["proxy"] == "http://***@proxy.example.net:3128"
    assert "secret" not in repr(config) + str(config.as_dict())
    for bad in ("http://me:secret@", "https://me:secret@proxy.example.net", "me:secret@x y"):
        (problem,) = problems(tmp_path, f'[network]\nproxy = "{bad}"\n')
        assert "network.proxy: expected a proxy such as" in problem
        assert "secret" not in problem


def _keys(tree: dict[str, object], above: str = "") -> list[str]:
    found: list[str] = []
    for key, value in tree.items():
        found += _keys(value, f"{above}{key}.") if isinstance(value, dict) else [above + key]
    return found


def _at(config: Config, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize(
    ("text", "line", "key", "near"),
    [
        ("a = 1\n", 1, "a", ""),
        ('\nnode_nmae = "x"\n', 2, "node_nmae", "node_name"),
        ("port = 443\n", 1, "port", "listen_port"),
        ("name = 'x'\n", 1, "name", "node_name"),
        ("use_tls = true\n", 1, "use_tls", "security.use_tls"),
        ('[network]\nnmae = "x"\n', 2, "network.nmae", "network.name"),
        ('[netwrok]\nname = "x"\n', 2, "netwrok.name", "network.name"),
        ("\n[loging]\n", 2, "loging", "logging"),
        ('[log]\nlevel = "info"\n', 2, "log.level", "logging.level"),
        ("[tun]\nMTU = 1400\n", 2, "tun.MTU", "tun.mtu"),
    ],
)
def test_an_unknown_key_names_its_line_and_the_nearest_key(
    tmp_path: Path, text: str, line: int, key: str, near: str
) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(f"{tmp_path / 'node.toml'}, line {line}: {key} is not a key")
    if near:
        assert f"did you mean {near}" in problem


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (
            'listen_port = "443"',
            1,
            'listen_port: expected a whole number from 1 to 65535, not "443"',
        ),
        ("listen_port = 0", 1, "not 0"),
        ('\nnode_type = "exitt"', 2, 'not "exitt": did you mean exit?'),
        ("[logging]\nlevel = 3", 2, "expected one of debug, info, warning, error, not 3"),
        ('[network]\ncidr = "100.64.0.9/16"', 2, "network.cidr: "),
        ("network = 3", 1, "expected a table with network.name, network.cidr"),
        ("[[network]]\nname = 'x'", 1, "expected a table"),
        ("node_name = true", 1, "not true"),
        (f'node_name = "{"x" * 80}"', 1, "..."),
        ("node_name = 1979-05-27", 1, 'not "1979-05-27"'),
        ("[offload]\ngro = 1", 2, "expected true or false, not 1"),
    ],
)
def test_a_bad_value_names_its_line_and_what_was_expected(
    tmp_path: Path, text: str, line: int, expected: str
) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(f"{tmp_path / 'node.toml'}, line {line}: ")
    assert expected in problem


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, "listen_prot = 1\n[tun]\nmtu = 1\n", AEGISRAY_LOG_LEVEL="loud")
    assert [text.split(": ")[0].rsplit(", ", 1)[-1] for text in found] == [
        "line 1",
        "line 3",
        "environment variable AEGISRAY_LOG_LEVEL",
    ]


def test_a_key_written_in_two_ways_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, '"network.name" = "x"\n[network]\nname = "y"\n')
    assert "line 3: network.name is written twice" in problem


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    config = load_text(
        tmp_path,
        'node_type = "relay"\nnetwork.name = "x"\n',
        AEGISRAY_NODE_TYPE="exit",
        AEGISRAY_ENVIRONMENT="production-2",
        AEGISRAY_LOG_LEVEL="WARNING",
        AEGISRAY_MESH_NETWORK="production",
    )
    assert config.node_type == "exit"
    assert config.environment == "production-2"
    assert config.logging.level == "warning"
    assert config.network.name == "production"


def test_an_empty_override_counts_as_unset_and_expands_nothing(tmp_path: Path) -> None:
    assert load_text(tmp_path, "", AEGISRAY_LOG_LEVEL="").logging.level == "info"
    with pytest.raises(ConfigError, match=r"AEGISRAY_MESH_NETWORK: network\.name: expected"):
        load(None, {"AEGISRAY_MESH_NETWORK": "${HOSTNAME}", "HOSTNAME": "x"}, searched=())


def test_an_unset_variable_names_the_line_and_the_variable(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, '\nnode_name = "x-${HOSTNAME}"\n')
    assert "line 2: node_name: " in problem
    assert "HOSTNAME is not set" in problem


@pytest.mark.parametrize("held", ["a\nlisten_port: 1", 'a"', "#", "${HOSTNAME}", "a: b"])
def test_an_expanded_variable_never_becomes_structure(tmp_path: Path, held: str) -> None:
    path = tmp_path / "node.yaml"
    path.write_text('node_name: "${HOSTNAME}"\nenvironment: x\n')
    with pytest.raises(ConfigError) as caught:
        load(path, {"HOSTNAME": held})
    assert caught.value.problems == (
        f"{path}, line 1: node_name: expected 1 to 63 of a-z, 0-9 and '-', "
        f"with a letter or digit at both ends, not {json.dumps(held)}",
    )


def test_an_expanded_number_stays_text(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, 'listen_port = "${PORT}"', PORT="443")
    assert 'not "443"' in problem


def test_the_first_file_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    places = [tmp_path / "node.toml", tmp_path / "node.yaml", tmp_path / "config" / "node.yaml"]
    assert load(None, {}, places).file is None
    for number, place in reversed(list(enumerate(places))):
        text = "tun.mtu = 1300" if place.suffix == ".toml" else f"tun:\n  mtu: {1300 + number}"
        place.write_text(text)
        config = load(None, {}, places)
        assert config.file == place
        assert config.tun.mtu == 1300 + number
        assert config.ignored == tuple(places[number + 1 :])
        assert len(config.notices()) == len(config.ignored)
        for path, text in zip(config.ignored, config.notices(), strict=True):
            assert str(path) in text


def test_the_guides_places_are_searched() -> None:
    assert [str(path) for path in module.SEARCHED] == [
        "/etc/aegisray/node.toml",
        "/etc/aegisray/node.yaml",
        "/etc/aegisray/config/node.toml",
        "/etc/aegisray/config/node.yaml",
    ]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Alpha.example.net", "alpha"),
        ("my_host!", "my-host"),
        ("", "node"),
        ("---", "node"),
        ("x" * 80, "x" * 63),
        ("x" * 62 + "-y", "x" * 62),
    ],
)
def test_a_hosts_name_becomes_a_nodes_name(host: str, name: str) -> None:
    assert label(host) == name


def test_a_configuration_is_fit_for_json(tmp_path: Path) -> None:
    config = load_text(tmp_path, GUIDE, "node.yaml", HOSTNAME="x")
    tree = json.loads(json.dumps(config.as_dict()))
    assert tree["network"]["cidr"] == "100.64.0.0/16"
    assert tree["logging"]["file"] == "/var/log/aegisray/node.log"
    assert "file" not in tree
