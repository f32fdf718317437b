"""Reads `node.toml` and `node.yaml` into rows of (key, value, line).

Keys are dotted (`network.name`), whatever the file's own way of nesting. What the values mean is
`meshd.config`'s business; here they are text, numbers, booleans and lists of them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshd.node.errors import LocalError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    import yaml

MAX_SIZE = 65_536
"""Bytes of a configuration file; more is surely another file."""

MAX_DEPTH = 8
"""Tables within tables; ours need two."""

CONFIG_EXIT = 2
"""The exit code when the configuration is wrong, as when the command line is."""

_TOML_PLACE = re.compile(r"^(.*) \(at (?:line (\d+), column \d+|(end of document))\)$", re.DOTALL)
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a file: its dotted name, its value, and its line, counted from 1."""

    key: str
    value: object
    line: int


class ConfigError(LocalError):
    """A configuration that cannot be used; `problems` holds one sentence for each mistake."""

    def __init__(self, *problems: str) -> None:
        # A sentence repeats what stood in the file: it must not steer the terminal.
        self.problems = tuple(
            "".join(letter if letter.isprintable() else "?" for letter in problem)
            for problem in problems
        )
        super().__init__("\n".join(self.problems), CONFIG_EXIT)


def read_entries(path: Path) -> list[Entry]:
    """The keys of `path`: YAML if it ends in .yaml or .yml, else TOML. Raises ConfigError."""
    text = _read_text(path)
    try:
        if path.suffix in (".yaml", ".yml"):
            return list(_yaml_entries(path, text))
        return list(_toml_entries(path, text))
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply to be a node's configuration") from None


def expand(value: object, environ: Mapping[str, str]) -> object:
    """`value` with each `${NAME}` in its texts replaced by that environment variable.

    What a variable holds is taken as it is: a `${` in it, a quote or a line break means nothing.
    Raises ValueError, with a sentence, for a variable that is not set.
    """
    if isinstance(value, list):
        return [expand(item, environ) for item in value]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environ:
            raise ValueError(
                f"the environment variable {name[:40]} is not set: set it before starting meshd, "
                "or write the value itself"
            )
        return environ[name]

    return _VARIABLE.sub(replacement, value)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {os.strerror(error.errno or 0)}") from None
    if len(data) > MAX_SIZE:
        raise ConfigError(f"{path}: larger than {MAX_SIZE} bytes: not a node's configuration")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text") from None


def _toml_entries(path: Path, text: str) -> Iterator[Entry]:
    try:
        values = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError is one; so is an endless integer's refusal
        raise ConfigError(_toml_problem(path, text, str(error))) from None
    for keys, value in _flatten((), values):
        yield Entry(".".join(keys), value, _toml_line(text, keys))


def _toml_problem(path: Path, text: str, message: str) -> str:
    match = _TOML_PLACE.match(message)
    if match is None:
        return f"{path}: not TOML: {message}"
    line = match[2] or text.rstrip("\n").count("\n") + 1
    return f"{path}, line {line}: not TOML: {match[1]}"


def _flatten(
    above: tuple[str, ...], table: dict[str, Any]
) -> Iterator[tuple[tuple[str, ...], object]]:
    if len(above) > MAX_DEPTH:
        raise RecursionError
    for name, value in table.items():
        keys = (*above, name)
        if isinstance(value, dict) and value:
            yield from _flatten(keys, value)
        else:
            yield keys, value


def _toml_line(text: str, keys: tuple[str, ...]) -> int:
    """The line on which `keys` begins: the last one before which the file lacks them.

    The parser tells no lines, so it is asked: a file cut before that line is whole and lacks the
    key, and the first longer cut that is whole has it.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if keys[-1] not in line or _has("\n".join(lines[: number - 1]), keys) is not False:
            continue
        for end in range(number, len(lines) + 1):
            found = _has("\n".join(lines[:end]), keys)
            if found:
                return number
            if found is False:
                break
    return 1  # a name written with escapes, "\u0061": rare enough


def _has(text: str, keys: tuple[str, ...]) -> bool | None:
    """Whether the document `text` has `keys`; None when it is not a whole document."""
    try:
        value: Any = tomllib.loads(text)
    except ValueError:
        return None
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


def _yaml_entries(path: Path, text: str) -> Iterator[Entry]:
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            f"{path}: reading YAML needs PyYAML: type `pip install 'aegisray[yaml]'`, "
            f"or write the same keys to {path.with_name('node.toml')}"
        ) from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(
                f"{path}, line 1: expected keys and values, such as `listen_port: 443`"
            )
        yield from _yaml_flatten(path, (), root, set())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}, line {mark.line + 1}" if mark else f"{path}"
        raise ConfigError(f"{place}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None


def _yaml_flatten(
    path: Path, above: tuple[str, ...], table: yaml.MappingNode, seen: set[int]
) -> Iterator[Entry]:
    import yaml

    if len(above) > MAX_DEPTH:
        raise RecursionError
    names: set[str] = set()
    for key_node, node in table.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{path}, line {line}: expected a key's name")
        name = str(key_node.value)
        if name in names:
            raise ConfigError(f"{path}, line {line}: {name} is written twice")
        names.add(name)
        keys = (*above, name)
        if isinstance(node, yaml.MappingNode) and node.value:
            _yaml_once(path, node, seen)
            yield from _yaml_flatten(path, keys, node, seen)
        else:
            yield Entry(".".join(keys), _yaml_value(path, node, seen), line)


def _yaml_value(path: Path, node: yaml.Node, seen: set[int]) -> object:
    import yaml

    _yaml_once(path, node, seen)
    if isinstance(node, yaml.SequenceNode):
        return [_yaml_value(path, child, seen) for child in node.value]
    if isinstance(node, yaml.MappingNode):
        return {}
    loader = yaml.SafeLoader("")
    try:
        value: object = loader.construct_object(node)
    except ValueError as error:  # such as the date 2024-99-99
        line = node.start_mark.line + 1
        raise ConfigError(f"{path}, line {line}: not a value: {error}") from None
    finally:
        loader.dispose()
    return value


def _yaml_once(path: Path, node: yaml.Node, seen: set[int]) -> None:
    """Refuse an alias (a node met again): a few lines of them can unfold into gigabytes."""
    if id(node) in seen:
        line = node.start_mark.line + 1
        raise ConfigError(f"{path}, line {line}: aliases (`*name`) are not read: write it out")
    seen.add(id(node))
