from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from meshd.configfile import MAX_SIZE, ConfigError, Entry, expand, read_entries


def entries(tmp_path: Path, text: str, name: str = "node.toml") -> list[Entry]:
    path = tmp_path / name
    path.write_text(text)
    return read_entries(path)


def problem(tmp_path: Path, text: str | bytes, name: str = "node.toml") -> str:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        read_entries(path)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert str(path) in message
    return message


def test_toml_keys_come_with_the_line_they_stand_on(tmp_path: Path) -> None:
    text = """\
# network.name = "a comment"
node_name = "alpha"
bootstrap = [
  "192.0.2.1:443",  # name
]

[network]
# name = "another comment"
name = "production"
note = '''
name = "inside a text"
'''
logging.level = "info"
[logging]
level = "debug"
"""
    assert entries(tmp_path, text) == [
        Entry("node_name", "alpha", 2),
        Entry("bootstrap", ["192.0.2.1:443"], 3),
        Entry("network.name", "production", 7 + 2),
        Entry("network.note", 'name = "inside a text"\n', 10),
        Entry("network.logging.level", "info", 13),
        Entry("logging.level", "debug", 15),
    ]


def test_dotted_and_inline_toml_tables_are_the_same_keys(tmp_path: Path) -> None:
    text = 'network.name = "x"\nlogging = { level = "info", format = "json" }\n'
    assert entries(tmp_path, text) == [
        Entry("network.name", "x", 1),
        Entry("logging.level", "info", 2),
        Entry("logging.format", "json", 2),
    ]


def test_empty_tables_are_told_so_that_a_misspelt_one_is_noticed(tmp_path: Path) -> None:
    assert entries(tmp_path, "\n[netwrk]\n") == [Entry("netwrk", {}, 2)]


def test_yaml_keys_come_with_the_line_they_stand_on(tmp_path: Path) -> None:
    text = """\
node_name: "k8s"

network:
  name: production
  endpoints:
    - 192.0.2.1:443
    - "[2001:db8::1]:443"
performance: {max_peers: 50}
security:
"""
    assert entries(tmp_path, text, "node.yaml") == [
        Entry("node_name", "k8s", 1),
        Entry("network.name", "production", 4),
        Entry("network.endpoints", ["192.0.2.1:443", "[2001:db8::1]:443"], 5),
        Entry("performance.max_peers", 50, 8),
        Entry("security", None, 9),
    ]


def test_an_empty_file_has_no_keys(tmp_path: Path) -> None:
    assert entries(tmp_path, "") == []
    assert entries(tmp_path, "# nothing\n", "node.yml") == []


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('node_name = "a"\nnode_name = "b"\n', 2, "overwrite"),
        ("listen_port = \n", 1, "Invalid value"),
        ('a = 1\nb = "unfinished\n', 2, "Illegal character"),
        ("x = [1,\n2,\n", 2, ""),
    ],
)
def test_broken_toml_names_the_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    message = problem(tmp_path, text)
    assert f"line {line}: not TOML: " in message
    assert what in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", "line 2: a is written twice"),
        ("a: [1\nb: 2\n", "line 2: not YAML"),
        ("\ta: 1\n", "line 1: not YAML"),
        ("- a\n", "line 1: expected keys and values"),
        ("a: 1\n? [1, 2]\n: 3\n", "line 2: expected a key's name"),
        ("a: 1\n--- \nb: 1\n", "line 2: not YAML"),
        (
            "a: !!python/object/apply:os.system [id]\nb: !!python/name:os.system\n",
            "line 2: not YAML",
        ),
        ("a: 2024-99-99\n", "line 1: not a value"),
        ("a: \x07\n", "not YAML"),
    ],
)
def test_broken_yaml_names_the_line(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problem(tmp_path, text, "node.yaml")


@pytest.mark.parametrize(
    "text", ["a: &x [1]\nb: *x\n", "a: &x 1\nb: [*x]\n", "a: &x {k: 1}\nb: *x\n", "a: &x [*x]\n"]
)
def test_yaml_aliases_are_refused_before_they_unfold(tmp_path: Path, text: str) -> None:
    assert "aliases" in problem(tmp_path, text, "node.yaml")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a = " + "[" * 20_000, "node.toml"),
        ("a: " + "[" * 20_000, "node.yaml"),
        (".".join(["a"] * 10) + " = 1", "node.toml"),
        ("".join(f"{' ' * i}a:\n" for i in range(10)) + " " * 10 + "a: 1", "node.yaml"),
    ],
)
def test_deep_nesting_is_refused(tmp_path: Path, text: str, name: str) -> None:
    assert "nested too deeply" in problem(tmp_path, text, name)


def test_files_that_cannot_be_a_configuration_are_refused_in_a_sentence(tmp_path: Path) -> None:
    assert "line 2: not UTF-8" in problem(tmp_path, b"a = 1\nb = '\xff'\n")
    assert "larger than" in problem(tmp_path, b"#" * (MAX_SIZE + 1))
    assert "not TOML" in problem(tmp_path, f"a = {'9' * 5000}")
    with pytest.raises(ConfigError, match="No such file"):
        read_entries(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_entries(tmp_path)


def test_yaml_without_pyyaml_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_import = builtins.__import__

    def fake_import(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake_import)
    message = problem(tmp_path, "a: 1", "node.yaml")
    assert "pip install 'aegisray[yaml]'" in message
    assert str(tmp_path / "node.toml") in message


@pytest.mark.parametrize("held", ["plain", 'a"b', "a\nb", "#x", "${HOSTNAME}", "$1", "\\1", ""])
def test_a_variable_is_put_in_as_it_is(held: str) -> None:
    environ = {"HOSTNAME": held}
    assert expand("k8s-${HOSTNAME}.", environ) == f"k8s-{held}."
    assert expand(["${HOSTNAME}", 1, True], environ) == [held, 1, True]
    assert expand({"a": 1}, environ) == {"a": 1}


@pytest.mark.parametrize("text", ["${ABSENT}", "${}", "x${A B}"])
def test_a_variable_that_is_not_set_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is not set"):
        expand(text, {"HOSTNAME": "x"})
