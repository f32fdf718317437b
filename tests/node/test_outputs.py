from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import get_args

import pytest

from gossip import NodeId
from meshd.node import outputs
from meshd.node.outputs import Output, PeerChanged, PersistSequence, SendDatagram


def test_every_output_is_one_of_the_union() -> None:
    defined = {
        value
        for _, value in inspect.getmembers(outputs, inspect.isclass)
        if value.__module__ == outputs.__name__
    }
    assert set(get_args(Output)) == defined


@pytest.mark.parametrize("output", get_args(Output))
def test_every_output_is_a_frozen_value(output: type) -> None:
    assert is_dataclass(output)
    assert "__slots__" in vars(output)
    assert all(field.init for field in fields(output))


def test_an_output_is_not_changed_after_it_was_made() -> None:
    made = PersistSequence(7)
    with pytest.raises(FrozenInstanceError):
        made.value = 6  # type: ignore[misc]


def test_equal_outputs_are_equal() -> None:
    assert SendDatagram(b"x", ("192.0.2.1", 1)) == SendDatagram(b"x", ("192.0.2.1", 1))
    assert PeerChanged(NodeId(bytes(16)), "a", "up") != PeerChanged(NodeId(bytes(16)), "a", "left")
