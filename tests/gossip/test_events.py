"""Outputs are values."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from gossip.events import MemberUp, SendMessage
from gossip.ids import NodeId


def test_outputs_compare_by_value_and_do_not_change() -> None:
    node = NodeId(bytes(16))
    assert SendMessage(node, b"x") == SendMessage(node, b"x")
    with pytest.raises(FrozenInstanceError):
        MemberUp(node).id = NodeId(b"other")  # type: ignore[misc]
