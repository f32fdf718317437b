from __future__ import annotations

import io

from simulations.lab.mesh import View
from simulations.lab.table import LiveTable, cell, grid

DIRECT = View("alive", "direct", 0.42, None)
RELAY = View("alive", "relay", None, "11" * 16)
DEAD = View("dead", "direct", 0.42, None)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_cell_says_the_path_or_what_is_wrong() -> None:
    views = [DIRECT, RELAY, DEAD, View("suspect", None, None, None), None]
    assert [cell(view) for view in views] == ["direct 0.4ms", "relay", "dead", "suspect", "-"]
    assert cell(View("alive", None, None, None)) == "alive"
    assert cell(View("alive", "direct", 128.4, None)) == "direct 128ms"


def test_five_nodes_fit_on_a_terminal_of_80_columns() -> None:
    names = ["berlin", "tokyo", "laptop", "nas", "phone"]
    slow = View("alive", "direct", 9.96, None)
    rows = {name: dict.fromkeys(names, slow) for name in names}
    assert max(map(len, grid(names, rows))) <= 80


def test_the_grid_has_a_row_and_a_column_for_each_node() -> None:
    lines = [line.split() for line in grid(["a", "b"], {"a": {"b": RELAY}})]
    assert lines == [["sees", "a", "b"], ["a", ".", "relay"], ["b", "-", "."]]


def test_without_a_terminal_only_changes_are_printed() -> None:
    stream = io.StringIO()
    table = LiveTable(["a", "b"], stream)
    table.show({"a": {"b": DIRECT}, "b": {}})
    table.show({"a": {"b": View("alive", "direct", 0.9, None)}})
    table.show({"a": {"b": DEAD}})
    lines = [line.partition("] ")[2].strip() for line in stream.getvalue().splitlines()]
    assert lines == ["a sees b direct 0.4ms", "a sees b dead"]
    assert "\x1b" not in stream.getvalue()


def test_on_a_terminal_the_table_is_redrawn_in_place() -> None:
    stream = Terminal()
    table = LiveTable(["a", "b"], stream)
    table.show({"a": {"b": DIRECT}})
    table.show({"a": {"b": DEAD}})
    assert stream.getvalue().count("\x1b[3A") == 1
    table.step("next")
    table.show({})
    assert stream.getvalue().count("\x1b[3A") == 1
