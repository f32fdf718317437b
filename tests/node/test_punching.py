"""Two NATs opened from both sides: who gets a direct path, how soon, and what is not sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshd.node import control
from meshd.node.allowance import PROBE_SPARED
from meshd.node.peer import Peer
from meshd.node.punching import (
    ANSWER_AGAIN,
    ROUNDS_BURST,
    ROUNDS_RATE,
    SHOTS,
    Burst,
    Punching,
    _places,
    aims,
)
from simulations.nat import NatKind
from tests.node.test_dialogue import say
from tests.node.virtual import Datagram, Host, Mesh

CONES = (
    NatKind.FULL_CONE,
    NatKind.ADDRESS_RESTRICTED,
    NatKind.PORT_RESTRICTED,
    NatKind.NO_FILTER,
)
COUNTING, RANDOM = NatKind.SEQUENTIAL, NatKind.SYMMETRIC
KINDS = (*CONES, COUNTING, RANDOM)
RELAYED = [
    {RANDOM, NatKind.PORT_RESTRICTED},
    {RANDOM, NatKind.NO_FILTER},
    {RANDOM, COUNTING},
    {RANDOM},
]
PAIRS = [(one, other) for index, one in enumerate(KINDS) for other in KINDS[index:]]


def meet(one: NatKind, other: NatKind, seed: int = 1) -> tuple[Mesh, Host, Host]:
    """A relay in the open; `left` is there for a while when `right` starts."""
    mesh = Mesh(seed)
    alpha = mesh.alpha()
    left = mesh.host("left", one)
    mesh.connect(alpha, left)
    mesh.run(5)
    right = mesh.host("right", other)
    return mesh, left, right


def direct(left: Host, right: Host) -> bool:
    return left.way(right) == right.way(left) == "direct"


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_every_pair_of_nats_meets_directly_where_that_is_possible(
    one: NatKind, other: NatKind
) -> None:
    for pair in ((one, other), (other, one)):
        mesh, left, right = meet(*pair)
        assert mesh.connect(left, right) < 2.0
        if {one, other} in RELAYED:
            mesh.run(8)
            assert left.way(right) == right.way(left) == "relay"
        else:
            assert mesh.until(lambda: direct(left, right), 5.0) < 3.0  # noqa: B023
        assert left.ping(right)


@pytest.mark.parametrize("seed", range(2, 8))
def test_counting_nats_meet_though_their_forecasts_are_off(seed: int) -> None:
    mesh, left, right = meet(COUNTING, COUNTING, seed)
    mesh.connect(left, right)
    for host, taken in ((left, seed % 4), (right, seed // 4)):
        nat = mesh.network._homes[host.endpoints[0][0]].nat
        assert nat is not None
        for number in range(taken):
            nat.outbound(("10.9.9.9", 1000 + number), ("198.51.100.99", 53), mesh.world.now)
    assert mesh.until(lambda: direct(left, right), 8.0) < 6.0


def test_nothing_goes_to_a_public_endpoint_before_both_do_so() -> None:
    mesh, left, right = meet(NatKind.NO_FILTER, NatKind.NO_FILTER)
    mesh.until(lambda: direct(left, right), 5.0)
    first: dict[str, float] = {}
    for datagram in mesh.sent:
        if datagram.destination[0].startswith("203.0.113."):
            first.setdefault(datagram.host, datagram.time)
    assert set(first) >= {"left", "right"}
    assert abs(first["left"] - first["right"]) < 0.010


@pytest.mark.parametrize("late", ["left", "right"])
@pytest.mark.parametrize("other", [NatKind.NO_FILTER, NatKind.PORT_RESTRICTED])
def test_however_late_one_of_them_is_the_mapping_is_not_moved(
    monkeypatch: pytest.MonkeyPatch, late: str, other: NatKind
) -> None:
    plan = Punching._plan

    def slow(self: Punching, peer: Peer, message: control.Punch, now: float, wait: float) -> None:
        plan(self, peer, message, now, wait + 0.3 * (self._state.identity.name == late))

    monkeypatch.setattr(Punching, "_plan", slow)
    for seed in range(1, 4):
        mesh, left, right = meet(NatKind.NO_FILTER, other, seed)
        mesh.connect(left, right)
        assert mesh.until(lambda: direct(left, right), 5.0) < 3.0  # noqa: B023


def test_without_anybody_to_relay_the_endpoints_are_called_all_the_same() -> None:
    mesh, left, right = meet(NatKind.FULL_CONE, NatKind.FULL_CONE)
    mesh.connect(left, right)
    mesh.hosts["alpha"].kill()
    left.kill()
    mesh.run(1)
    left.start()
    mesh.connect(left, right, within=20.0)
    assert left.ping(right)


def test_a_pair_that_only_a_relay_joins_tries_again_for_ever_but_seldom() -> None:
    mesh, left, right = meet(RANDOM, NatKind.PORT_RESTRICTED)
    mesh.connect(left, right)
    mesh.run(60)
    before = mesh.world.now
    mesh.run(600)
    shots = [
        d
        for d in mesh.sent
        if d.host != "alpha" and d.time > before and d.destination[0].startswith("203.0.113.")
    ]
    assert 1 < len(shots) < 100


def test_an_endpoint_that_changed_is_tried_at_once() -> None:
    mesh, left, right = meet(RANDOM, NatKind.PORT_RESTRICTED)
    mesh.connect(left, right)
    mesh.run(100)
    nat = mesh.network._homes[left.endpoints[0][0]].nat
    assert nat is not None
    mesh.network.place(left.endpoints[0][0], mesh.translator(NatKind.ADDRESS_RESTRICTED))
    left.node.places.network_changed(mesh.world.now)
    left.settle()
    assert mesh.until(lambda: direct(left, right), 60.0) < 15.0


HERE, THERE = "192.0.2.1", "192.0.2.2"
OFFS = [(0, 0), (3, 0), (0, 3), (-2, 3), (3, -2), (-1, -1), (2, 2), (-2, -2)]


def told(host: str, port: int, step: int, turn: int = 0, *more: int) -> control.Punch:
    """What a node says whose ports count: a forecast, and what else it knows."""
    endpoints = ((host, port), (host, 9), *((host, each) for each in more))
    return control.Punch(True, 0.0, step, endpoints, turn)


@pytest.mark.parametrize("off", OFFS)
@pytest.mark.parametrize("step", [1, 2, -1])
@pytest.mark.parametrize("turn", [0, 2, 4])
def test_where_both_count_one_pair_of_shots_always_meets(
    off: tuple[int, int], step: int, turn: int
) -> None:
    mine = aims(told(THERE, 40_000, step, turn), counts=True, lower=True)
    theirs = aims(told(HERE, 20_000, step, turn), counts=True, lower=False)
    assert (mine[0], theirs[0]) == ((THERE, 9), (HERE, 9))
    assert len(mine) == len(theirs) == SHOTS + 1
    met = [
        (i, j)
        for i in range(SHOTS + 1)
        for j in range(SHOTS + 1)
        if mine[i] == (THERE, 40_000 + step * (off[1] + j))
        and theirs[j] == (HERE, 20_000 + step * (off[0] + i))
    ]
    assert len(met) == 1


def test_who_does_not_count_covers_the_forecast() -> None:
    shots = aims(told(HERE, 5000, 2), counts=False, lower=True)
    assert shots[0] == (HERE, 9)
    assert [port for _, port in shots[1:4]] == [5000, 4998, 5002]
    assert sorted(port for _, port in shots[1:]) == [5000 + 2 * n for n in range(-4, 12)]
    assert max(aims(told(HERE, 65535, 1), counts=False, lower=True)) == (HERE, 65535)
    plain = control.Punch(True, 0.0, 0, ((HERE, 7), (THERE, 8)))
    assert aims(plain, counts=True, lower=True) == [(HERE, 7), (THERE, 8)]
    assert aims(control.Punch(True, 0.0, 1, ()), counts=True, lower=True) == []


@pytest.mark.parametrize("counts", [True, False])
def test_every_other_turn_aims_at_what_was_opened_before(counts: bool) -> None:
    for turn in (0, 2):
        shots = aims(told(HERE, 5000, 1, turn, 4000), counts=counts, lower=True)
        assert (HERE, 5000) in shots
    shots = aims(told(HERE, 5000, 1, 1, 4000), counts=counts, lower=True)
    assert sorted(port for _, port in shots[1:]) == list(range(3996, 4012))


def test_a_member_cannot_make_us_shoot_more_than_a_little() -> None:
    mesh, left, right = meet(RANDOM, RANDOM)
    mesh.connect(left, right)
    mesh.run(30)
    victim = ("192.0.2.200", 7)
    relay = mesh.hosts["alpha"]
    begun = mesh.world.now
    message = control.Punch(False, 0.0, 1, (victim,))
    path = right.peer(left).path
    assert path is not None

    def through(datagram: Datagram) -> bytes | None:
        return datagram.payload

    mesh.filters.append(through)
    for _ in range(200):
        right.node._dialogue.send(right.peer(left), message, mesh.world.now)
        right.settle()
        mesh.run(0.05)
    sent = [d for d in mesh.sent if d.destination[0] == victim[0] and d.time >= begun]
    assert 0 < len(sent) <= (10.0 / ANSWER_AGAIN + 1) * SHOTS
    assert sum(len(d.payload) for d in sent) <= 6000 + 12 * 50
    assert relay.way(left) == "direct"
    say(relay, left, message)
    mesh.run(1.0)
    aimed = replace(message, answer=True)
    before = mesh.carried
    right.node._dialogue.send(right.peer(left), aimed, mesh.world.now)
    right.settle()
    mesh.run(0.2)
    late = [d for d in list(mesh.sent)[-(mesh.carried - before) :] if d.destination == victim]
    assert late == []


def test_a_port_that_changed_is_tried_at_once_where_there_is_one_of_it_only() -> None:
    endpoints = [("198.51.100.1", 5000), ("198.51.100.2", 7), ("10.0.0.1", 443)]
    first = _places(endpoints)
    assert first == (("198.51.100.1", 5000), ("198.51.100.2", 7))
    assert _places([("198.51.100.1", 5001), *endpoints[1:]]) != first
    several = _places([("198.51.100.1", 5001), *endpoints])
    assert several == (("198.51.100.1", 0), ("198.51.100.2", 7))
    assert _places([("198.51.100.1", 5002), *endpoints]) == several


def test_after_a_nat_forgot_its_ports_two_are_direct_again_soon() -> None:
    mesh, left, right = meet(NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
    mesh.until(lambda: direct(left, right), 5.0)
    mesh.run(30)
    for host in (left, right):
        nat = mesh.network._homes[host.endpoints[0][0]].nat
        assert nat is not None
        nat.forget()
    mesh.run(5)
    assert mesh.until(lambda: direct(left, right), 60.0) < 30.0


def test_rounds_for_peers_that_nobody_waits_for_are_bounded() -> None:
    _, left, _ = meet(RANDOM, RANDOM)
    punching = left.node._punching
    left.node.state.rng.seed(1)
    taken = [punching._take_round(False, 100.0) for _ in range(2 * int(ROUNDS_BURST))]
    assert sum(taken) == int(ROUNDS_BURST)
    assert not punching._take_round(False, 101.0)
    assert punching._take_round(False, 100.0 + 2 / ROUNDS_RATE)
    assert not punching._take_round(True, 100.0 + 2 / ROUNDS_RATE)  # first ones go first
    assert punching._take_round(True, 100.0 + ROUNDS_BURST / ROUNDS_RATE)


def test_shots_leave_room_for_the_probes_of_paths_that_work() -> None:
    mesh, left, right = meet(RANDOM, NatKind.PORT_RESTRICTED)
    mesh.connect(left, right)
    probes, now = left.node.state.probes, mesh.world.now
    while probes.take(now, PROBE_SPARED):
        pass
    punching, before = left.node._punching, probes.taken
    punching._bursts = [Burst(left.peer(right), [("198.51.100.77", 7)] * SHOTS, now)]
    punching.run(now)
    assert probes.taken == before
    assert probes.take(now)
