from __future__ import annotations

from random import Random

import pytest

from simulations.authority import identity_of, key_of
from simulations.cluster import Host
from simulations.views import Views
from tests.simulations.toy import Toy, endpoint_of


class Lab:
    """Hosts whose sights and sides are set by hand, and the count made anew for comparison."""

    def __init__(self, count: int) -> None:
        self.hosts = [Host(n, identity_of(key_of(n)), endpoint_of(n)) for n in range(count)]
        self.sides = [0] * count
        by_identity = {host.identity: host for host in self.hosts}
        self.views = Views(by_identity, lambda host: self.sides[host.number])

    def start(self, number: int) -> None:
        host = self.hosts[number]
        host.machine = Toy(host)
        self.views.started(host)

    def stop(self, number: int) -> None:
        self.hosts[number].machine = None
        self.views.stopped(self.hosts[number])

    def partial(self, number: int) -> None:
        machine = self.hosts[number].machine
        assert isinstance(machine, Toy)
        machine.is_partial = True

    def see(self, number: int, other: int, alive: bool) -> None:
        self.views.saw(self.hosts[number], self.hosts[other].identity, alive)

    def counted(self) -> int:
        """`wrong`, by going through all pairs."""
        wrong = 0
        for host in self.hosts:
            if host.machine is None:
                continue
            others = [
                other.identity
                for other in self.hosts
                if other is not host
                and other.machine is not None
                and self.sides[other.number] == self.sides[host.number]
            ]
            right = sum(identity in host.alive for identity in others)
            wrong += len(host.alive) - right
            if host.machine.is_partial:
                wrong += bool(others) and not right
            else:
                wrong += len(others) - right
        return wrong


def test_all_are_wrong_until_they_see_each_other() -> None:
    lab = Lab(3)
    for number in range(3):
        lab.start(number)
    assert lab.views.wrong == 6
    for number in range(3):
        for other in range(3):
            if other != number:
                lab.see(number, other, True)
    assert lab.views.wrong == 0
    assert lab.views.expected(lab.hosts[0]) == lab.hosts[1:]
    lab.stop(2)
    assert lab.views.wrong == 2
    assert lab.views.expected(lab.hosts[2]) == []


def test_whoever_sees_a_few_is_right_if_it_need_not_see_all() -> None:
    lab = Lab(4)
    for number in range(4):
        lab.start(number)
        lab.partial(number)
        lab.see(number, number - 1 if number else 1, True)
    assert lab.views.wrong == 0
    lab.stop(3)
    assert lab.views.wrong == 0
    lab.see(2, 1, False)
    assert lab.views.wrong == 1
    lab.see(2, 3, True)
    assert lab.views.wrong == 2


def test_a_member_that_is_no_host_should_not_be_seen() -> None:
    lab = Lab(2)
    lab.start(0)
    lab.views.saw(lab.hosts[0], identity_of(key_of(99)), True)
    assert lab.views.wrong == 1
    lab.stop(0)
    assert lab.views.wrong == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_count_is_right_after_any_changes(seed: int) -> None:
    lab, rng = Lab(6), Random(seed)
    for _ in range(400):
        number, other = rng.sample(range(6), 2)
        running = lab.hosts[number].machine is not None
        if not running:
            lab.start(number)
        elif rng.random() < 0.1:
            lab.stop(number)
        elif rng.random() < 0.1:
            lab.sides = [rng.randrange(3) for _ in range(6)]
            lab.views.cut()
        elif rng.random() < 0.02:
            lab.partial(number)
            lab.see(number, other, True)
        else:
            lab.see(number, other, rng.random() < 0.6)
        assert lab.views.wrong == lab.counted()
