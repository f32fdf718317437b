"""The rules of the house, checked over the syntax trees of everything that is shipped."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("gossip", "meshd", "simulations")
PURE = ("gossip", "meshd/node")
TEST_FOLDERS = {
    "gossip": ("tests/gossip",),
    "meshd": ("tests",),
    "meshd/node": ("tests/node",),
    "meshd/host": ("tests/host",),
    "meshd/commands": ("tests/commands",),
    "simulations": ("tests/simulations",),
    "simulations/scenarios": ("tests/simulations/scenarios",),
    "simulations/lab": ("tests/simulations", "tests/e2e"),
}
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

# Calls by dotted name that read a clock, entropy or files, or depend on PYTHONHASHSEED.
IMPURE_CALLS = {
    "os.urandom",
    "datetime.now",
    "datetime.datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "uuid.uuid1",
    "uuid.uuid4",
    "open",
    "print",
    "input",
    "hash",
    "id",
}
IMPURE_MODULES = {"random", "secrets", "time", "socket", "asyncio"}
KEY_FACTORIES = {"generate", "generate_key"}


def modules(*folders: str) -> list[str]:
    """Paths of the Python modules below `folders`, relative to the root, in a stable order."""
    return sorted(
        str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py")
    )


def simulator() -> list[str]:
    """The modules that a seed decides wholly: all of `simulations` but its command line."""
    return [
        module
        for module in modules("simulations")
        if not module.startswith("simulations/lab") and not module.endswith("__main__.py")
    ]


def parsed(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(), module)


def dotted(node: ast.expr) -> str:
    """`a.b.c` for a chain of names, or an empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def impurities(tree: ast.Module) -> Iterator[str]:
    """What in a module would make two runs of one seed differ."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            owner, _, last = name.rpartition(".")
            if name in IMPURE_CALLS or (owner in IMPURE_MODULES and last != "Random"):
                yield f"line {node.lineno} calls {name}"
            elif owner and last in KEY_FACTORIES:
                yield f"line {node.lineno} draws its own key with {name}"
            elif name.endswith("Random") and not (node.args or node.keywords):
                yield f"line {node.lineno} makes an unseeded {name}"
        elif isinstance(node, ast.ImportFrom) and node.module in IMPURE_MODULES:
            for alias in node.names:
                if alias.name != "Random":
                    yield f"line {node.lineno} imports {alias.name} of {node.module}"
        elif isinstance(node, ast.For | ast.comprehension) and is_set(node.iter):
            yield f"line {node.iter.lineno} iterates in hash order"


def is_set(node: ast.expr) -> bool:
    return isinstance(node, ast.Set | ast.SetComp) or (
        isinstance(node, ast.Call) and dotted(node.func) in {"set", "frozenset"}
    )


def long_functions(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.name} has {lines} lines"


def test_imports_go_down_only(monkeypatch: pytest.MonkeyPatch) -> None:
    # It would disable all loggers there are, and with them those that later tests listen to.
    monkeypatch.setattr("logging.config.dictConfig", lambda config: None)
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml")) == 0


@pytest.mark.parametrize("module", [*modules(*PURE), *simulator()])
def test_deciding_code_is_pure(module: str) -> None:
    assert list(impurities(parsed(module))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.urandom(8)",
        "import random\nrandom.shuffle([])",
        "from random import choice",
        "from random import Random\nRandom()",
        "X25519PrivateKey.generate()",
        "import time\ntime.monotonic()",
        "from time import monotonic",
        "for x in set(y): pass",
        "[x for x in {1, 2}]",
        "hash('a')",
        "datetime.datetime.now()",
    ],
)
def test_impure_code_is_noticed(source: str) -> None:
    assert list(impurities(ast.parse(source)))


def test_pure_code_passes() -> None:
    source = "from random import Random\nrng = Random(7)\nrng.shuffle(x)\nfor a in sorted({1}): a"
    assert list(impurities(ast.parse(source))) == []


@pytest.mark.parametrize("module", modules(*SHIPPED, "benchmarks"))
def test_modules_and_functions_stay_small(module: str) -> None:
    text = (ROOT / module).read_text()
    assert len(text.splitlines()) <= MODULE_LINES_MAX
    assert list(long_functions(ast.parse(text))) == []


@pytest.mark.parametrize("module", modules(*SHIPPED, "benchmarks"))
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(parsed(module))


@pytest.mark.parametrize("module", [m for m in modules(*SHIPPED) if not m.endswith("/__init__.py")])
def test_every_module_has_its_test_file(module: str) -> None:
    path = Path(module)
    name = f"test_{path.stem.strip('_')}.py"
    expected = [f"{folder}/{name}" for folder in TEST_FOLDERS[str(path.parent)]]
    assert any((ROOT / file).is_file() for file in expected), f"{module} needs {expected[0]}"


def test_the_wheel_contains_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for folder in SHIPPED
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == packages


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {(ROOT / module).parent for module in modules(*SHIPPED, "benchmarks", "tests")}
    assert [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").exists()] == []
