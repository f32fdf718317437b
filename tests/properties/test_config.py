from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshd.config import _PARSERS, Config, load
from meshd.configfile import ConfigError

KEYS = st.sampled_from([*_PARSERS, "network", "tun", "nonsense", "node_nmae"])
VALUES = st.one_of(
    st.sampled_from(
        ["true", "1", '"x"', "[]", "{}", "0.5", "1979-05-27", "443", '"off"', '"${A}"']
    ),
    st.integers().map(str),
    st.lists(st.sampled_from(['"192.0.2.1:443"', "7", "[]"])).map(
        lambda items: f"[{','.join(items)}]"
    ),
)


def read(text: str, suffix: str) -> Config | ConfigError:
    """The configuration that a file with `text` gives, or its error; nothing else may come."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"node{suffix}"
        path.write_bytes(text.encode(errors="surrogatepass"))
        try:
            return load(path, {"A": "${B}"})
        except ConfigError as caught:
            error = caught
    assert all(str(path) in problem for problem in error.problems)
    assert all(problem.isprintable() for problem in error.problems)
    return error


@given(st.text(), st.sampled_from([".toml", ".yaml"]))
@example("a: !!int x", ".yaml")
@example("? ", ".yaml")
@example('"\\u0000" = 1', ".toml")
def test_no_text_does_anything_but_read_or_be_refused(text: str, suffix: str) -> None:
    read(text, suffix)


@given(st.lists(st.tuples(KEYS, VALUES), max_size=6))
def test_each_key_is_taken_or_told_with_its_own_line(rows: list[tuple[str, str]]) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in rows)
    result = read(text, ".toml")
    if isinstance(result, Config) or "not TOML" in str(result):
        return
    lines = text.split("\n")
    for problem in result.problems:
        number, key = problem.split("line ", 1)[1].split(": ", 1)
        key = key.split(" ")[0].rstrip(":")
        assert lines[int(number) - 1].startswith(key)


@pytest.mark.parametrize("suffix", [".toml", ".yaml"])
def test_random_bytes_are_refused_in_a_sentence(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"node{suffix}"
    path.write_bytes(b"\xff" + os.urandom(64))
    with pytest.raises(ConfigError, match="UTF-8"):
        load(path, {})
