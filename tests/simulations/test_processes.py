from __future__ import annotations

import pytest

from simulations.processes import BUFFER_BYTES, DATAGRAM_COST, TURN, Process
from simulations.world import World

SOURCE = ("10.0.0.1", 443)


class Lab:
    """A process, and what came through it, and when."""

    def __init__(self) -> None:
        self.world = World(1)
        self.done: list[tuple[float, str]] = []
        self.process = Process(
            self.world,
            lambda payload, source: self.note(payload.decode()),
            lambda: self.note("wake"),
        )

    def note(self, what: str) -> None:
        self.done.append((self.world.now, what))

    def what(self) -> list[str]:
        return [what for _, what in self.done]


def test_a_stopped_process_does_everything_when_it_goes_on_in_the_pumps_turns() -> None:
    lab = Lab()
    lab.process.stopped = True
    for number in range(TURN + 2):
        lab.process.receive(str(number).encode(), SOURCE)
    lab.process.due()
    assert lab.done == []
    assert lab.process.waiting == TURN + 2
    lab.process.stopped = False
    lab.process.go_on()
    assert lab.what() == [*map(str, range(TURN)), "wake", str(TURN), str(TURN + 1)]
    assert lab.process.normal


def test_the_sockets_buffer_is_bounded_in_bytes() -> None:
    lab = Lab()
    lab.process.stopped = True
    fit = BUFFER_BYTES // (DATAGRAM_COST + 4)
    for _ in range(fit + 5):
        lab.process.receive(b"data", SOURCE)
    assert (lab.process.waiting, lab.process.dropped) == (fit, 5)


def test_a_held_process_is_on_time_but_neither_hears_nor_is_heard() -> None:
    lab = Lab()
    lab.process.held = True
    lab.process.receive(b"question", SOURCE)
    lab.process.send(lambda: lab.note("sent"))
    lab.process.due()
    assert lab.what() == ["wake"]
    lab.process.held = False
    lab.process.go_on()
    assert lab.what() == ["wake", "sent", "question"]


def test_what_a_held_process_sends_is_bounded() -> None:
    lab = Lab()
    lab.process.held = True
    for _ in range(10_000):
        lab.process.send(lambda: lab.note("sent"))
    lab.process.held = False
    lab.process.go_on()
    assert len(lab.done) == BUFFER_BYTES // DATAGRAM_COST


def test_inputs_of_a_slow_process_wait_for_one_another() -> None:
    lab = Lab()
    lab.process.cost_s = 0.5
    lab.process.receive(b"one", SOURCE)
    lab.process.receive(b"two", SOURCE)
    lab.process.due()
    lab.world.run_for(10.0)
    assert [what for _, what in lab.done] == ["one", "two", "wake"]
    assert [now for now, _ in lab.done] == pytest.approx([0.5, 1.0, 1.5])


def test_a_slow_process_that_is_stopped_in_the_middle_finishes_later() -> None:
    lab = Lab()
    lab.process.cost_s = 0.5
    lab.process.receive(b"one", SOURCE)
    lab.process.stopped = True
    lab.world.run_for(10.0)
    assert lab.done == []
    lab.process.stopped = False
    lab.process.go_on()
    lab.world.run_for(10.0)
    assert lab.done == [(10.5, "one")]


def test_nothing_comes_of_what_waited_for_a_process_that_was_killed() -> None:
    lab = Lab()
    lab.process.cost_s = 0.5
    lab.process.receive(b"one", SOURCE)
    lab.process.send(lambda: lab.note("sent"))
    lab.process.end()
    lab.world.run_for(10.0)
    assert lab.what() == ["sent"]
