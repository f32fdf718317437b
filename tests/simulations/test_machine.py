from __future__ import annotations

from random import Random

import pytest

from gossip.config import GossipConfig
from simulations.gossiper import Directory, Gossiper
from simulations.machine import Disk, Machine
from tests.simulations.toy import Toy, toy_cluster

DIRECTORY = Directory({0: ("10.0.0.1", 443), 1: ("10.0.0.2", 443)})


def gossiper() -> Machine:
    return Gossiper(0, DIRECTORY, Disk(), GossipConfig.lan(), Random(1), 0.0)


def toy() -> Machine:
    return Toy(toy_cluster(1).hosts[0])


@pytest.mark.parametrize("make", [gossiper, toy])
def test_a_machine_gives_each_output_once_and_forgets_nothing_when_it_starts(make: object) -> None:
    assert callable(make)
    machine: Machine = make()
    machine.start([1] if make is gossiper else [], 0.0)
    assert machine.drain()
    assert machine.drain() == []
    assert machine.states() == {} or set(machine.states().values()) <= {"alive", "dead"}
    assert machine.sequences()
    assert machine.packet_size > 0


def test_a_new_disk_is_empty() -> None:
    assert (Disk().sequence, Disk().records) == (0, ())
