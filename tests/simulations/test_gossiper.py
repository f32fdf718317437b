from __future__ import annotations

from random import Random

import pytest

from gossip.config import GossipConfig
from gossip.events import RecordChanged, SequenceChanged
from simulations.gossiper import Directory, Gossiper
from simulations.machine import Disk, Refused, Seen, Send

ENDPOINTS = {number: (f"10.0.0.{number}", 443) for number in range(3)}
DIRECTORY = Directory(ENDPOINTS)


def machine(number: int, disk: Disk | None = None) -> Gossiper:
    return Gossiper(number, DIRECTORY, disk or Disk(), GossipConfig.lan(), Random(number), 0.0)


def exchange(machines: dict[int, Gossiper], now: float) -> list[Seen]:
    """Deliver everything at once, until nobody says anything more."""
    seen: list[Seen] = []
    moved = True
    while moved:
        moved = False
        for number, sender in machines.items():
            for output in sender.drain():
                moved = True
                if isinstance(output, Send):
                    receiver = next(n for n, e in ENDPOINTS.items() if e == output.destination)
                    if receiver in machines:
                        machines[receiver].receive(output.payload, ENDPOINTS[number], now)
                else:
                    seen.append(output)
    return seen


def test_two_hosts_that_know_one_another_meet() -> None:
    machines = {0: machine(0), 1: machine(1)}
    machines[0].start([], 0.0)
    machines[1].start([0], 0.0)
    for step in range(20):
        for each in machines.values():
            each.handle_timer(step * 0.1)
        exchange(machines, step * 0.1)
    assert machines[0].states() == {DIRECTORY.identities[1]: "alive"}
    assert machines[1].states() == {DIRECTORY.identities[0]: "alive"}
    assert machines[0].sequences() == machines[1].sequences()


def test_a_start_persists_a_sequence_above_the_disks() -> None:
    first = machine(0, Disk(sequence=41))
    first.start([], 0.0)
    outputs = first.drain()
    assert [o.sequence for o in outputs if isinstance(o, SequenceChanged)] == [42]
    assert [o.record.sequence for o in outputs if isinstance(o, RecordChanged)] == [42]


def test_what_the_disk_held_is_known_after_a_restart() -> None:
    machines = {0: machine(0), 1: machine(1)}
    machines[0].start([], 0.0)
    machines[1].start([0], 0.0)
    for step in range(20):
        for each in machines.values():
            each.handle_timer(step * 0.1)
        exchange(machines, step * 0.1)
    again = machine(0, Disk(sequence=1, records=machines[0].records()))
    again.start([], 5.0)
    assert DIRECTORY.identities[1] in again.states()


def test_nonsense_is_refused_with_a_reason() -> None:
    first = machine(0)
    first.start([], 0.0)
    with pytest.raises(Refused, match=r"^[a-z-]+$"):
        first.receive(b"\xff\xff nonsense", ENDPOINTS[1], 1.0)


def test_a_wakeup_is_wanted_after_the_start() -> None:
    first = machine(0)
    first.start([1], 0.0)
    first.drain()
    wakeup = first.next_wakeup()
    assert wakeup is not None
    assert wakeup.at >= 0.0
