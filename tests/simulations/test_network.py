from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from statistics import median

import pytest

from simulations.conditions import Bursts
from simulations.nat import Endpoint, Nat, NatKind
from simulations.network import Conditions, Network
from simulations.world import World

ANN = ("203.0.113.1", 443)
BOB = ("203.0.113.2", 443)
INSIDE = ("192.168.1.2", 443)
NEIGHBOUR = ("192.168.1.3", 443)
CALM = Conditions(latency_s=0.010, spread_s=0.0, jitter_s=0.0)


class Lab:
    """Ann and Bob in the open, two hosts behind one NAT; what each received, and when."""

    def __init__(
        self, conditions: Conditions = CALM, kind: NatKind = NatKind.PORT_RESTRICTED, seed: int = 1
    ) -> None:
        self.world = World(seed)
        self.network = Network(self.world, conditions)
        self.got: list[tuple[float, Endpoint, bytes, Endpoint]] = []
        nat = Nat(kind, "198.51.100.1", self.world.stream("nat"))
        for endpoint in (ANN, BOB):
            self.attach(endpoint, None)
        for endpoint in (INSIDE, NEIGHBOUR):
            self.attach(endpoint, nat)

    def attach(self, endpoint: Endpoint, nat: Nat | None) -> None:
        def receive(payload: bytes, source: Endpoint) -> None:
            self.got.append((self.world.now, endpoint, payload, source))

        self.network.place(endpoint[0], nat)
        self.network.attach(endpoint[0], receive)

    def send(self, source: Endpoint, destination: Endpoint, payload: bytes = b"hello") -> None:
        self.network.send(source, destination, payload)
        self.world.run_for(1.0)


def test_a_datagram_arrives_once_after_the_latency() -> None:
    lab = Lab()
    lab.send(ANN, BOB)
    assert lab.got == [(0.010, BOB, b"hello", ANN)]
    assert lab.network.counters == {"delivered": 1}


def test_an_empty_datagram_opens_the_nat_of_who_sends_it_and_no_more() -> None:
    lab = Lab()
    lab.send(INSIDE, BOB)
    mapped = lab.got.pop()[3]
    lab.send(ANN, mapped)
    assert lab.got == []
    lab.send(INSIDE, ANN, b"")
    assert lab.got == []
    lab.send(ANN, mapped)
    assert [(at, payload) for _, at, payload, _ in lab.got] == [(INSIDE, b"hello")]


def test_loss_takes_about_its_share() -> None:
    lab = Lab(replace(CALM, loss=0.25))
    for _ in range(2000):
        lab.network.send(ANN, BOB, b"x")
    lab.world.run_for(1.0)
    assert 400 < lab.network.counters["lost"] < 600
    assert len(lab.got) == 2000 - lab.network.counters["lost"]


def test_duplicates_arrive_twice() -> None:
    lab = Lab(replace(CALM, duplicate=1.0))
    lab.send(ANN, BOB)
    assert len(lab.got) == 2


def test_jitter_and_reordering_change_the_order_and_lose_nothing() -> None:
    lab = Lab(replace(CALM, jitter_s=0.002, reorder=0.2))
    sent = [bytes([number]) for number in range(200)]
    for payload in sent:
        lab.network.send(ANN, BOB, payload)
    lab.world.run_for(1.0)
    received = [payload for _, _, payload, _ in lab.got]
    assert received != sent
    assert sorted(received) == sent
    assert max(now for now, *_ in lab.got) <= 0.010 + 0.002 + 0.050


def test_distance_adds_to_the_latency_and_is_the_same_both_ways() -> None:
    lab = Lab(replace(CALM, spread_s=0.030))
    lab.send(ANN, BOB)
    there = lab.got[0][0]
    begun = lab.world.now
    lab.send(BOB, ANN)
    assert there > 0.010
    assert lab.got[1][0] - begun == pytest.approx(there)


def test_a_host_behind_nat_is_reached_only_by_those_it_wrote_to() -> None:
    lab = Lab()
    lab.send(INSIDE, ANN)
    outside = lab.got[0][3]
    assert outside[0] == "198.51.100.1"
    lab.send(BOB, outside)
    assert lab.network.counters["nat"] == 1
    lab.send(ANN, outside)
    assert lab.got[1][1:] == (INSIDE, b"hello", ANN)


def test_private_addresses_mean_nothing_outside_and_everything_inside() -> None:
    lab = Lab()
    lab.send(ANN, INSIDE)
    assert lab.network.counters["unroutable"] == 1
    lab.send(NEIGHBOUR, INSIDE)
    assert lab.got[0][1:] == (INSIDE, b"hello", NEIGHBOUR)


def test_there_is_no_hairpin() -> None:
    lab = Lab()
    lab.send(INSIDE, ANN)
    lab.send(NEIGHBOUR, lab.got[0][3])
    assert lab.network.counters["unroutable"] == 1


def test_what_is_too_big_for_the_mtu_is_dropped() -> None:
    lab = Lab()
    lab.send(ANN, BOB, bytes(1472))
    lab.send(ANN, BOB, bytes(1473))
    assert lab.network.counters == {"delivered": 1, "too-big": 1}


def test_a_split_cuts_groups_and_heal_joins_them() -> None:
    lab = Lab()
    lab.network.split([[ANN[0]], [BOB[0], INSIDE[0]]])
    lab.send(ANN, BOB)
    assert not lab.network.reachable(ANN[0], BOB[0])
    assert lab.network.reachable(BOB[0], INSIDE[0])
    lab.network.heal()
    lab.send(ANN, BOB)
    assert lab.network.counters == {"partitioned": 1, "delivered": 1}


def test_a_block_is_one_way() -> None:
    lab = Lab()
    lab.network.block(ANN[0], BOB[0])
    lab.send(ANN, BOB)
    lab.send(BOB, ANN)
    assert lab.network.counters == {"partitioned": 1, "delivered": 1}
    assert not lab.network.reachable(BOB[0], ANN[0])


def test_nobody_hears_what_a_detached_host_is_sent() -> None:
    lab = Lab()
    lab.network.detach(BOB[0])
    lab.send(ANN, BOB)
    assert lab.network.counters == {"nobody": 1}


def test_one_seed_is_one_story_and_another_seed_another() -> None:
    def digest(seed: int) -> str:
        lab = Lab(Conditions(loss=0.1, duplicate=0.1, reorder=0.1), seed=seed)
        for number in range(200):
            lab.network.send(ANN, BOB, bytes([number]))
            lab.network.send(INSIDE, BOB, bytes([number]))
        lab.world.run_for(5.0)
        return lab.world.trace.digest()

    assert digest(3) == digest(3)
    assert digest(3) != digest(4)


def test_the_world_gives_the_round_trip_that_was_asked_for() -> None:
    lab = Lab(replace(CALM, rtt_p50_s=0.080))
    addresses = [f"192.0.2.{number}" for number in range(100)]
    for address in addresses:
        lab.network.place(address)
    rtts = [lab.network.rtt(one, other) for one in addresses for other in addresses if one < other]
    assert median(rtts) == pytest.approx(0.080, rel=0.15)
    lab.send(ANN, BOB)
    assert lab.got[0][0] == pytest.approx(lab.network.rtt(ANN[0], BOB[0]) / 2)


def test_conditions_that_change_keep_sites_in_their_places() -> None:
    lab = Lab(replace(CALM, rtt_p50_s=0.080))
    before = lab.network.rtt(ANN[0], BOB[0])
    lab.network.conditions = CALM
    assert lab.network.rtt(ANN[0], BOB[0]) == 0.020
    lab.network.conditions = replace(CALM, rtt_p50_s=0.080, loss=0.5)
    assert lab.network.rtt(ANN[0], BOB[0]) == before


def test_bursts_lose_their_share_in_a_row() -> None:
    lab = Lab(replace(CALM, bursts=Bursts(share=0.2, mean_s=2.0)))
    fates: list[bool] = []
    for _ in range(20_000):
        lost = lab.network.counters["lost"]
        lab.network.send(ANN, BOB, b"x")
        lab.world.run_for(0.05)
        fates.append(lab.network.counters["lost"] > lost)
    assert sum(fates) / len(fates) == pytest.approx(0.2, abs=0.06)
    bursts = sum(now and not before for before, now in pairwise(fates))
    assert sum(fates) / bursts * 0.05 == pytest.approx(2.0, rel=0.4)


def test_an_uplink_queues_what_it_cannot_send_at_once_and_drops_its_tail() -> None:
    lab = Lab(replace(CALM, uplink_bps=8_000.0, queue_bytes=3_000))
    for _ in range(5):
        lab.network.send(ANN, BOB, bytes(972))
    lab.world.run_for(10.0)
    assert [now for now, *_ in lab.got] == pytest.approx([1.010, 2.010, 3.010])
    assert lab.network.counters["queue-full"] == 2


def test_a_narrow_path_drops_what_it_cannot_carry() -> None:
    lab = Lab(replace(CALM, narrow=1.0, narrow_mtu=1280))
    lab.send(ANN, BOB, bytes(1252))
    lab.send(ANN, BOB, bytes(1253))
    assert lab.network.counters == {"delivered": 1, "too-big": 1}


def test_a_share_of_paths_is_narrow() -> None:
    lab = Lab(replace(CALM, narrow=0.3))
    for number in range(400):
        address = f"192.0.{number >> 8}.{number & 255}"
        lab.network.place(address)
        lab.network.send(ANN, (address, 443), bytes(1400))
    assert lab.network.counters["too-big"] == pytest.approx(120, abs=30)


def test_a_sealed_message_counts_with_its_seal() -> None:
    lab = Lab()
    lab.network.send(ANN, BOB, bytes(1400), overhead=100)
    lab.network.send(ANN, BOB, bytes(1401), overhead=100)
    lab.world.run_for(1.0)
    assert lab.network.counters == {"delivered": 1, "too-big": 1}


def test_an_impaired_site_loses_in_both_directions() -> None:
    lab = Lab()
    lab.network.impair(BOB[0], 0.8)
    for _ in range(500):
        lab.network.send(ANN, BOB, b"x")
        lab.network.send(BOB, ANN, b"x")
    assert lab.network.counters["lost"] == pytest.approx(800, abs=60)


def test_nothing_leaves_or_arrives_without_the_cable() -> None:
    lab = Lab()
    lab.network.plug(BOB[0], False)
    lab.send(ANN, BOB)
    lab.send(BOB, ANN)
    assert lab.network.side(BOB[0]) != lab.network.side(ANN[0])
    lab.network.plug(BOB[0], True)
    lab.send(ANN, BOB)
    assert lab.network.counters == {"partitioned": 2, "delivered": 1}
