"""What the next version says must be refused, and counted, as documented; and change nothing."""

from __future__ import annotations

from random import Random

import pytest

from gossip.config import GossipConfig
from gossip.errors import GossipError
from gossip.protocol import GossipProtocol
from simulations.authority import FakeAuthority, identity_of, key_of
from simulations.gossiper import Directory, Gossiper
from simulations.machine import Disk, Send
from simulations.nat import Endpoint
from simulations.versions import FUTURE_KIND, FUTURE_REASONS, NextVersion

ENDPOINTS: dict[int, Endpoint] = {n: (f"10.0.0.{n}", 443) for n in range(4)}


def next_version() -> NextVersion:
    directory = Directory(ENDPOINTS)
    inner = Gossiper(0, directory, Disk(), GossipConfig.lan(), Random(1), 0.0)
    machine = NextVersion(inner, 0, directory, Random(2))
    machine.start([], 0.0)
    return machine


def test_it_publishes_a_record_of_a_new_kind() -> None:
    assert {kind for _, kind in next_version().sequences()} == {0, FUTURE_KIND}


def test_each_of_its_new_messages_is_refused_for_a_reason_of_its_own() -> None:
    machine = next_version()
    machine.drain()
    machine.attack(1.0)
    key = key_of(1)
    today = GossipProtocol(
        identity_of(key), key, GossipConfig.lan(), FakeAuthority(key), Random(3), 0.0, 1
    )
    reasons = []
    for output in machine.drain():
        if isinstance(output, Send):
            with pytest.raises(GossipError) as refusal:
                today.receive(output.payload, machine.identity, 1.0)
            reasons.append(refusal.value.reason)
    assert sorted(reasons) == sorted(FUTURE_REASONS)
    assert dict(today.statistics().refused) == dict.fromkeys(reasons, 1)
    assert not today.members()
    assert not today.drain()
