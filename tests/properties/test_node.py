"""Whatever arrives on a node's port: no answer to what no member made, no exception, a count."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.node.cookies import MAC_SIZE
from meshd.node.handshake import HANDSHAKE_SIZE
from meshd.node.wire import DATA, HEADER, INITIATION, RELAYED, RESPONSE, Endpoint
from simulations.nat import NatKind
from tests.node.handshakes import resealed
from tests.node.virtual import LATENCY, Datagram, Host, Mesh

STRANGER: Endpoint = ("192.0.2.66", 4000)

MESH = Mesh()
ALPHA = MESH.alpha()
BETA = MESH.host("beta")
GAMMA, DELTA = (MESH.host(name, NatKind.SYMMETRIC) for name in ("gamma", "delta"))
MESH.connect(ALPHA, BETA, GAMMA, DELTA)
for _ in range(3):
    GAMMA.send(DELTA, b"relayed" * 300)
    BETA.send(ALPHA, b"direct" * 2000)
MESH.run(3)
CAPTURED = list(MESH.sent)
OPEN = {host.endpoints[0]: host for host in (ALPHA, BETA)}
ARRIVED = MESH.world.now - 2 * LATENCY
"""What left before that is no more on its way."""
HEARD = [d for d in CAPTURED if d.destination in OPEN and d.time < ARRIVED]
"""What these two received: handshakes, frames, segments of frames, and what is to be relayed."""
KINDS = sorted({d.payload[0] for d in HEARD})


def examples(count: int) -> settings:
    """So many examples, or as many as the profile wants where those are more."""
    return settings(max_examples=max(count, settings().max_examples))


def counted(host: Host) -> tuple[int, int]:
    """All that a node has counted as dropped or joined in vain; bytes held for lack of the rest."""
    count, held = host.drops.total(), 0
    for session in host.node.state.sessions.values():
        statistics = session.reassembler.statistics()
        count += statistics.joined + statistics.duplicates + sum(statistics.dropped.values())
        held += statistics.size
    return count, held


def refused(host: Host, data: bytes, source: Endpoint, segment: int = 0) -> bool:
    """Whether a datagram was counted, or held in vain, without any answer or packet."""
    before, packets = counted(host), len(host.packets)
    peers = {peer.id: (peer.current, peer.path) for peer in host.node.state.peers.values()}
    answers = host.receive(data, source, segment)
    after = {peer.id: (peer.current, peer.path) for peer in host.node.state.peers.values()}
    return (
        not answers and counted(host) != before and len(host.packets) == packets and after == peers
    )


def test_there_is_something_of_each_kind_to_spoil() -> None:
    assert KINDS == [INITIATION, RESPONSE, DATA, RELAYED]
    assert len(HEARD) > 50
    assert any(HEADER.unpack_from(d.payload)[2] > 1 for d in HEARD if d.kind == DATA)


@examples(500)
@given(
    data=st.binary(min_size=1, max_size=1500),
    kind=st.one_of(st.none(), st.integers(0, 6)),
    known=st.booleans(),
)
def test_random_datagrams(data: bytes, kind: int | None, known: bool) -> None:
    data = data if kind is None else bytes((kind,)) + data[1:]
    assert refused(ALPHA, data, BETA.endpoints[0] if known else STRANGER)


@examples(250)
@given(data=st.binary(min_size=1, max_size=6000), segment=st.integers(1, 1500))
def test_random_datagrams_joined_by_gro(data: bytes, segment: int) -> None:
    assert refused(ALPHA, data, STRANGER, min(segment, len(data)))


@examples(500)
@given(datagram=st.sampled_from(HEARD), bit=st.integers(0, 12_000), known=st.booleans())
def test_flipped_bits(datagram: Datagram, bit: int, known: bool) -> None:
    changed = bytearray(datagram.payload)
    bit %= 8 * len(changed)
    changed[bit // 8] ^= 1 << bit % 8
    if datagram.relayed and bit // 8 >= 8 and known:
        return  # a relay cannot tell, and passes it on: see below
    if changed[0] == INITIATION and bit // 8 >= HANDSHAKE_SIZE - MAC_SIZE:
        return  # mac2 is looked at under load only: this is an initiation like any other
    source = datagram.source if known else STRANGER
    assert refused(OPEN[datagram.destination], bytes(changed), source)


@examples(250)
@given(datagram=st.sampled_from(HEARD), size=st.integers(1, 1400), known=st.booleans())
def test_truncated_datagrams(datagram: Datagram, size: int, known: bool) -> None:
    cut = datagram.payload[: min(size, len(datagram.payload) - 1)]
    if datagram.relayed and len(cut) > 8 and known:
        return
    assert refused(OPEN[datagram.destination], cut, datagram.source if known else STRANGER)


@examples(250)
@given(datagram=st.sampled_from(HEARD))
def test_replayed_datagrams(datagram: Datagram) -> None:
    if not datagram.relayed:
        assert refused(OPEN[datagram.destination], datagram.payload, STRANGER)


RELAYED_HEARD = [d for d in CAPTURED if d.relayed and d.host == "alpha" and d.time < ARRIVED]


@examples(250)
@given(datagram=st.sampled_from(RELAYED_HEARD), bit=st.integers(0, 12_000))
def test_bits_that_a_relay_flipped(datagram: Datagram, bit: int) -> None:
    receiver = GAMMA if datagram.destination == _outside(GAMMA) else DELTA
    changed = bytearray(datagram.payload)
    bit %= 8 * len(changed)
    if bit // 8 in (1, 2, 3):
        return  # nobody reads these
    changed[bit // 8] ^= 1 << bit % 8
    assert refused(receiver, bytes(changed), ALPHA.endpoints[0])


def _outside(host: Host) -> Endpoint:
    path = ALPHA.peer(host).path
    assert path is not None
    return path.endpoint


@examples(250)
@given(seed=st.integers(0, 1 << 32), purpose=st.integers(0, 2))
def test_initiations_with_nothing_but_the_right_mac1(seed: int, purpose: int) -> None:
    body = bytes((INITIATION, 1, purpose, 0)) + Random(seed).randbytes(HANDSHAKE_SIZE - 4)
    MESH.run(0.02)
    assert refused(ALPHA, resealed(body, ALPHA.identity.static_public), STRANGER)


def test_after_all_that_everybody_still_talks() -> None:
    MESH.run(1)
    for one, other in ((ALPHA, BETA), (BETA, ALPHA), (GAMMA, DELTA), (DELTA, GAMMA)):
        assert one.ping(other)
