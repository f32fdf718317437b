from __future__ import annotations

from functools import partial
from random import Random

import pytest

from gossip import messages
from gossip.config import GossipConfig
from gossip.coordinates import ORIGIN
from gossip.errors import GossipError
from gossip.items import RecordItem
from gossip.queries import Find, Found, Store
from simulations.adversaries import (
    Accuser,
    Adversary,
    Babbler,
    Equivocator,
    Forger,
    Jumper,
    Liar,
    MakeAdversary,
    Replayer,
    Sybil,
    corrupt,
)
from simulations.cluster import Cluster
from simulations.conditions import Conditions
from simulations.gossiper import gossip_cluster
from simulations.machine import Send
from simulations.network import Network
from simulations.world import World


def attacked(make: MakeAdversary, seconds: float = 20.0) -> tuple[Cluster, Adversary]:
    """Five hosts, the last one an adversary, after some time."""
    world = World(3)
    cluster = gossip_cluster(world, Network(world, Conditions()), 5, GossipConfig.lan())
    corrupt(cluster, make, [4])
    for host in cluster.hosts:
        cluster.start(host, cluster.hosts[:1] if host.number else [])
    world.run_for(seconds)
    machine = cluster.hosts[4].machine
    assert isinstance(machine, Adversary)
    return cluster, machine


def attack_of(make: MakeAdversary) -> list[bytes]:
    """The payloads of one attack."""
    cluster, machine = attacked(make)
    machine.attack(cluster.world.now)
    return [output.payload for output in machine._evil if isinstance(output, Send)]


def test_only_those_who_are_corrupted_are_not_honest_and_they_attack_each_second() -> None:
    cluster, machine = attacked(Accuser)
    assert [host.honest for host in cluster.hosts] == [True] * 4 + [False]
    assert 15 * 4 <= machine.harm <= 21 * 4
    assert not isinstance(cluster.hosts[0].machine, Adversary)


def test_an_adversary_is_a_member_as_any_other() -> None:
    cluster, machine = attacked(Adversary)
    assert cluster.agreed()
    assert machine.harm == 0
    assert set(machine.states().values()) == {"alive"}
    assert machine.sequences().keys() == {(host.identity, 0) for host in cluster.hosts}
    assert len(machine.records()) == 5
    assert not machine.is_partial
    machine.leave(cluster.world.now)
    assert machine.drain()


def test_a_replay_is_what_was_sent_to_the_adversary() -> None:
    heard: list[bytes] = []

    class Listener(Replayer):
        def overhear(self, payload: bytes, source: tuple[str, int]) -> None:
            heard.append(payload)
            super().overhear(payload, source)

    assert set(attack_of(Listener)) <= set(heard)


@pytest.mark.parametrize("make", [Forger, Jumper, Equivocator, Accuser])
def test_an_attack_is_well_formed_so_that_only_its_meaning_is_wrong(make: MakeAdversary) -> None:
    payloads = attack_of(make)
    assert payloads
    assert all(messages.decode(payload).items for payload in payloads)


def test_a_liar_acknowledges_as_all_do_but_from_far_off() -> None:
    cluster, machine = attacked(Liar)
    ping = messages.encode(0, messages.Ping(7))
    machine.receive(ping, cluster.hosts[0].endpoint, cluster.world.now)
    sent = [messages.decode(out.payload) for out in machine.drain() if isinstance(out, Send)]
    acks = [envelope.body for envelope in sent if isinstance(envelope.body, messages.Ack)]
    assert [ack.nonce for ack in acks] == [7]
    assert acks[0].coordinate.raw_distance(ORIGIN) > 1.0
    assert machine.harm > 0


def test_a_sybil_keeps_nothing_and_tells_of_its_fellows_only() -> None:
    cluster, machine = attacked(partial(Sybil, (3, 4)))
    identities = [host.identity for host in cluster.hosts]
    store = messages.encode(0, Store(bytes(identities[1]), False))
    find = messages.encode(0, Find(7, bytes(identities[1]), 1))
    for payload in (store, find):
        machine.receive(payload, cluster.hosts[0].endpoint, cluster.world.now)
    answers = [messages.decode(output.payload) for output in machine._evil]  # type: ignore[union-attr]
    assert [answer.body for answer in answers] == [Found(7, 0, 1)]
    told = [item.record.subject for item in answers[0].items if isinstance(item, RecordItem)]
    assert told == [identities[3]]
    assert machine.harm == 2


def test_babble_is_mostly_no_message() -> None:
    malformed = 0
    for payload in attack_of(lambda inner, n, d, rng: Babbler(inner, n, d, Random(5))):
        try:
            messages.decode(payload)
        except GossipError:
            malformed += 1
    assert malformed >= 2
