"""Batches as sockets bring them, to whole nodes: kinds mixed, relayed, crafted."""

from __future__ import annotations

from random import Random

import pytest

from meshd.node.control import Probe, encode_control
from meshd.node.wire import (
    COOKIE,
    DATA,
    HEADER,
    INITIATION,
    RELAY_PREFIX,
    RELAY_SIZE,
    RELAYED,
    RESPONSE,
)
from simulations.nat import NatKind
from tests.node.couples import datagrams_of, kept
from tests.node.virtual import Datagram, Host, Mesh, packet

SIZE = 1200
"""Bytes of an initiation, and of every other datagram of a batch here."""
SPOT = ("203.0.113.99", 999)


def frames(sender: Host, *packets: bytes) -> list[bytes]:
    """The datagrams of one frame each, kept from the network."""
    datagrams, outbound = [], sender.node.outbound
    for data in packets:
        outbound.space[: len(data)] = data
        outbound.add(len(data), sender.mesh.world.now)
        frame = kept(outbound.flush(sender.mesh.world.now))
        assert frame is not None
        datagrams += datagrams_of(frame)
    return datagrams


def to(sender: Host, receiver: Host, size: int, fill: int = 0) -> bytes:
    """An IP packet of `size` bytes."""
    source, destination = sender.identity.certificate, receiver.identity.certificate
    return packet(source.address4, destination.address4, bytes([fill]) * (size - 20))


def full(sender: Host, receiver: Host, fill: int) -> tuple[bytes, bytes]:
    """A packet, and the datagram of `SIZE` bytes that carries it, without parity."""
    path = sender.peer(receiver).path
    assert path is not None
    path.parity = None
    data = to(sender, receiver, SIZE - 16 - 16 - 4, fill)
    [datagram] = frames(sender, data)
    assert len(datagram) == SIZE
    return data, datagram


def counted(host: Host, before: dict[str, int]) -> dict[str, int]:
    """Drops since `before`."""
    drops = host.node.state.drops
    return {key: drops[key] - before.get(key, 0) for key in drops if drops[key] != before.get(key)}


def intercepted(mesh: Mesh, wanted: str) -> list[Datagram]:
    """From now on, what a host sends gets lost, and is here."""
    caught: list[Datagram] = []

    def judge(datagram: Datagram) -> bytes | None:
        if datagram.host != wanted:
            return datagram.payload
        caught.append(datagram)
        return None

    mesh.filters.append(judge)
    return caught


def test_a_batch_of_mixed_kinds_is_taken_apart() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    caught = intercepted(mesh, "gamma")
    mesh.host("gamma")
    mesh.run(0.5)
    initiation = next(
        d.payload for d in caught if d.kind == INITIATION and d.destination == alpha.endpoints[0]
    )
    packets, carried = zip(*(full(beta, alpha, fill) for fill in range(4)), strict=True)
    junk = {kind: bytes([kind, 1]) + bytes(SIZE - 2) for kind in (0, RESPONSE, COOKIE, 9)}
    relayed = RELAY_PREFIX.pack(RELAYED, 7) + carried[0][:-RELAY_SIZE]
    batch = [carried[0], carried[1], initiation, junk[0], carried[2], junk[RESPONSE], relayed]
    batch += [junk[COOKIE], junk[9], carried[3]]
    before = dict(alpha.node.state.drops)
    sent = alpha.receive(b"".join(batch), beta.endpoints[0], SIZE)
    assert alpha.packets == list(packets)
    assert [d.kind for d in sent if d.kind != DATA] == [RESPONSE]
    drops = counted(alpha, before)
    assert drops.pop("unknown-kind") == 2
    assert drops.pop("relay-channel") == 1
    assert sum(drops.values()) == 2
    assert all(reason.startswith("handshake") for reason in drops)


def test_frames_of_many_segments_pass_between_other_kinds() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    data = to(beta, alpha, 8000)
    segments = frames(beta, data, data)
    size = len(segments[0])
    junk = bytes([9]) * size
    alpha.receive(b"".join([junk, *segments[: len(segments) // 2]]), beta.endpoints[0], size)
    assert alpha.packets == [data]
    # The second half of another frame comes by itself, after something else.
    rest = segments[len(segments) // 2 :]
    alpha.receive(b"".join([*rest[:3], junk]), beta.endpoints[0], size)
    alpha.receive(b"".join([junk, *rest[3:]]), beta.endpoints[0], size)
    assert alpha.packets == [data, data]


@pytest.mark.parametrize("seed", range(4))
def test_random_datagrams_get_no_answer_and_are_counted(seed: int) -> None:
    mesh = Mesh()
    alpha, _ = mesh.pair()
    rng = Random(seed)
    for _ in range(400):
        before = sum(alpha.node.state.drops.values())
        count = rng.randrange(1, 5)
        size = rng.choice([1, 8, 9, 16, 17, 32, 64, 100, 1200, 1472])
        payload = bytearray(rng.randbytes(count * size - rng.randrange(size)))
        for start in range(0, len(payload), size):
            payload[start] = rng.choice([1, 2, 3, 4, 5, rng.randrange(256)])
        sent = alpha.receive(bytes(payload), SPOT, size)
        assert not [d for d in sent if d.destination == SPOT]
        assert sum(alpha.node.state.drops.values()) > before
    assert alpha.packets == []


def test_the_answers_to_one_frame_are_at_most_three_times_its_size() -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    session = beta.peer(alpha).current
    assert session is not None
    for count in (1, 2, 3, 10, 100, 5000):
        rows = b"".join(encode_control(Probe(nonce)) for nonce in range(count))
        out = memoryview(bytearray(len(rows) + 16))
        frame = session.seal(rows, out, 1216, b"", SPOT)
        sent = [
            answer
            for datagram in datagrams_of(frame)
            for answer in alpha.receive(datagram, SPOT)
            if answer.destination == SPOT
        ]
        overhead = 28  # IPv4 and UDP
        asked = frame.size + frame.count * overhead
        assert sum(len(d.payload) + overhead for d in sent) <= 3 * asked


# Relayed


def through_a_relay() -> tuple[Mesh, Host, Host, Host, list[Datagram]]:
    """Beta and gamma behind symmetric NATs, and alpha, which relays for them; from now on, what
    beta sends gets lost, and is in the list."""
    mesh = Mesh()
    alpha = mesh.alpha()
    beta = mesh.host("beta", NatKind.SYMMETRIC)
    gamma = mesh.host("gamma", NatKind.SYMMETRIC)
    mesh.connect(alpha, beta, gamma, within=30.0)
    mesh.until(lambda: beta.way(gamma) == gamma.way(beta) == "relay", 30.0)
    return mesh, alpha, beta, gamma, intercepted(mesh, "beta")


def outside(relay: Host, other: Host) -> tuple[str, int]:
    """Where the relay sees another host."""
    path = relay.peer(other).path
    assert path is not None
    return path.endpoint


def test_a_relay_passes_a_batch_on_as_it_is_and_learns_nothing() -> None:
    _, alpha, beta, gamma, _ = through_a_relay()
    secret = b"attack at dawn, by the northern gate"
    source, destination = beta.identity.certificate, gamma.identity.certificate
    data = packet(source.address4, destination.address4, secret * 150)
    segments = frames(beta, data, data)
    size = len(segments[0])
    half = len(segments) // 2
    assert all(d[0] == RELAYED and d[RELAY_SIZE] == DATA for d in segments)
    for batch in (segments[:half], segments[half:]):
        sent = alpha.receive(b"".join(batch), outside(alpha, beta), size)
        forwarded = [d for d in sent if d.destination == outside(alpha, gamma)]
        assert [d.payload for d in forwarded] == batch
        assert not any(secret in d.payload for d in sent)
    assert alpha.packets == []
    assert gamma.packets == []  # it is on its way
    gamma.mesh.run(0.1)
    assert gamma.packets == [data, data]


def test_a_relay_passes_nothing_on_from_elsewhere() -> None:
    _, alpha, beta, gamma, _ = through_a_relay()
    [datagram] = frames(beta, to(beta, gamma, 100))
    before = dict(alpha.node.state.drops)
    assert alpha.receive(datagram, SPOT) == []
    assert counted(alpha, before) == {"relay-source": 1}


def test_a_relayed_batch_of_mixed_kinds_is_taken_apart() -> None:
    _, alpha, beta, gamma, _ = through_a_relay()
    first, second = to(beta, gamma, 3000, 1), to(beta, gamma, 3000, 2)
    segments = frames(beta, first, second)
    size, half = len(segments[0]), len(segments) // 2
    prefix = segments[0][:RELAY_SIZE]
    junk = prefix + bytes([9]) * (size - RELAY_SIZE)
    nested = prefix + segments[0][: size - RELAY_SIZE]
    foreign = RELAY_PREFIX.pack(RELAYED, 1) + segments[0][RELAY_SIZE:]
    before = dict(gamma.node.state.drops)
    one = b"".join([junk, nested, foreign, *segments[:half]])
    gamma.receive(one, alpha.endpoints[0], size)
    gamma.receive(b"".join(segments[half:]), alpha.endpoints[0], size)
    assert gamma.packets == [first, second]
    assert counted(gamma, before) == {"unknown-kind": 2, "relay-channel": 1}


def test_a_channel_is_heard_only_from_its_relay() -> None:
    _, _, beta, gamma, _ = through_a_relay()
    [datagram] = frames(beta, to(beta, gamma, 100))
    before = dict(gamma.node.state.drops)
    gamma.receive(datagram, SPOT)
    assert gamma.packets == []
    assert counted(gamma, before) == {"relay-channel": 1}


@pytest.mark.parametrize("size", range(1, RELAY_SIZE + 1))
def test_a_relayed_datagram_without_a_body_is_counted(size: int) -> None:
    mesh = Mesh()
    alpha, beta = mesh.pair()
    before = dict(alpha.node.state.drops)
    alpha.receive(RELAY_PREFIX.pack(RELAYED, 7)[:size], beta.endpoints[0])
    assert counted(alpha, before) == {"malformed": 1}


def test_a_handshake_is_answered_through_the_relay_that_it_came_by() -> None:
    mesh, alpha, _, gamma, caught = through_a_relay()
    mesh.run(150.0)  # beta's attempts to renew its session with gamma are among the lost
    initiation = next(d.payload for d in reversed(caught) if d.relayed and d.kind == INITIATION)
    sent = gamma.receive(initiation, alpha.endpoints[0])
    [answer] = [d for d in sent if d.kind == RESPONSE]
    assert answer.relayed
    assert answer.payload[:RELAY_SIZE] == initiation[:RELAY_SIZE]
    assert answer.destination == alpha.endpoints[0]
    assert HEADER.unpack_from(answer.payload, RELAY_SIZE)[0] == RESPONSE
