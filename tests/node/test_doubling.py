"""Frames by a second path while the first one is in doubt: small, few, and not for long."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gossip import NodeId
from meshd.node.doubling import DOUBLE_BYTES, DOUBLE_FOR, SMALL, Double
from meshd.node.outputs import SendFrame
from meshd.node.path import Path, PathKind
from meshd.node.wire import RELAY_PREFIX, RELAYED, Endpoint, Frame
from simulations.nat import NatKind
from tests.node.couples import couple, datagrams_of, packet4, plain
from tests.node.virtual import Host, Mesh

RELAY_AT: Endpoint = ("198.51.100.9", 443)


def relayed() -> Path:
    return Path(PathKind.RELAY, RELAY_AT, NodeId(b"r" * 16), 7, RELAY_PREFIX.pack(RELAYED, 7), 1232)


def test_only_small_frames_for_a_while_are_doubled() -> None:
    double = Double(relayed(), 5.0)
    assert double.takes(SMALL, 4.9)
    assert not double.takes(SMALL + 1, 4.9)
    assert not double.takes(1, 5.0)
    double.left = 100
    assert double.takes(99, 0.0)
    assert not double.takes(100, 0.0)


@pytest.mark.parametrize("size", [10, 1200, 3000, 8000])
def test_the_copy_is_the_same_frame_and_whichever_comes_later_is_dropped(size: int) -> None:
    alpha, beta = couple()
    alpha.peer.double = Double(relayed(), 5.0)
    packet = plain(packet4(alpha.address4, beta.address4, bytes(size)))
    [frame] = alpha.send(packet)
    [output] = alpha.state.outputs
    assert isinstance(output, SendFrame)
    copy: Frame = output.frame
    assert copy.endpoint == RELAY_AT
    first, second = datagrams_of(frame), datagrams_of(copy)
    assert [d[8:] for d in second] == first
    assert all(d[:8] == relayed().prefix for d in second)
    assert copy.size == sum(map(len, second))
    assert max(map(len, second)) <= 1232
    assert copy.segment_size >= len(second[0])
    assert alpha.peer.double.left == DOUBLE_BYTES - copy.size
    assert len(beta.receive_each(first, alpha.at)) == 1
    assert beta.receive_each([d[8:] for d in second], alpha.at) == []
    assert set(beta.dropped) == {"replay"}


def test_large_frames_go_by_one_path() -> None:
    alpha, beta = couple()
    alpha.peer.double = Double(relayed(), 5.0)
    assert alpha.send(plain(packet4(alpha.address4, beta.address4, bytes(SMALL))))
    assert not alpha.state.outputs


def relays_and_pair(mesh: Mesh) -> tuple[list[Host], Host, Host]:
    relays = [mesh.alpha(), mesh.host("relay")]
    one, other = (mesh.host(name, NatKind.SYMMETRIC) for name in ("gamma", "delta"))
    mesh.connect(*relays, one, other)
    return relays, one, other


def test_packets_pass_within_half_a_second_after_their_relay_has_died() -> None:
    mesh = Mesh()
    relays, gamma, delta = relays_and_pair(mesh)
    arrived: list[float] = []

    def talk(seconds: float) -> None:
        until = mesh.world.now + seconds
        while mesh.world.now < until:
            before = len(delta.packets)
            gamma.send(delta, b"on and on")
            mesh.run(0.02)
            if len(delta.packets) > before:
                arrived.append(mesh.world.now)

    talk(20)
    path = gamma.peer(delta).path
    assert path is not None
    dead = next(relay for relay in relays if relay.identity.id == path.relay)
    dead.kill()
    died = mesh.world.now
    arrived[:] = [died]
    talk(3)
    gaps = [later - earlier for earlier, later in pairwise(arrived)]
    assert max(gaps) < 0.6
    after = gamma.peer(delta).path
    assert after is not None
    assert after.relay != path.relay
    assert gamma.peer(delta).double is None
    assert gamma.peer(delta).paths.choice.reason == "the way before does not answer"


def test_copies_are_a_second_of_small_packets_at_most() -> None:
    mesh = Mesh()
    relays, gamma, delta = relays_and_pair(mesh)
    for _ in range(200):
        gamma.send(delta, b"before")
        mesh.run(0.05)
    for relay in relays:
        relay.kill()
    died, before = mesh.world.now, mesh.carried
    while mesh.world.now < died + DOUBLE_FOR + 3:
        for _ in range(10):
            gamma.send(delta, bytes(1000))
        mesh.run(0.01)
    sent = [d for d in list(mesh.sent)[-(mesh.carried - before) :] if d.host == "gamma"]
    seen: dict[bytes, int] = {}
    for datagram in sent:
        if datagram.relayed and len(datagram.payload) > 1000:
            seen[datagram.payload[8:]] = seen.get(datagram.payload[8:], 0) + 1
    assert 0 < sum(count > 1 for count in seen.values()) * 1060 < DOUBLE_BYTES + 2000
