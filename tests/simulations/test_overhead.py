from __future__ import annotations

from random import Random

import pytest

from meshd.node.control import Gossip, encode_control
from meshd.node.wire import HEADER_SIZE, TAG_SIZE
from simulations.network import UDP_HEADERS
from simulations.overhead import GOSSIP_OVERHEAD, gossip_overhead


@pytest.mark.parametrize("size", [14, 22, 23, 24, 255, 256, 1150])
def test_a_message_costs_what_a_session_adds_to_it(size: int) -> None:
    entry = encode_control(Gossip(Random(1).randbytes(size)))
    frame = HEADER_SIZE + len(entry) + TAG_SIZE
    assert gossip_overhead(size) == UDP_HEADERS + frame - size


def test_the_constant_is_documented_as_it_is() -> None:
    assert GOSSIP_OVERHEAD == 67
