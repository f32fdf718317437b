"""What becomes of offloaded packets where the TUN takes them, and where it does not."""

from __future__ import annotations

import struct
from collections import Counter

import pytest

from gossip import GossipConfig
from meshd.node import segmentation
from meshd.node.offload import TunForm
from meshd.node.segmentation import GSO_ECN, GSO_TCP4, GSO_TCP6, GSO_UDP, NEEDS_CSUM
from meshd.node.state import NodeConfig
from meshd.node.wire import OFFLOAD, PACKET, TAG_SIZE, entry
from tests.node.couples import (
    BETA_AT,
    VNET,
    Address,
    Side,
    couple,
    datagrams_of,
    packet4,
    packet6,
    plain,
)

GOSSIP = GossipConfig.lan()
BARE = NodeConfig(GOSSIP, vnet_header=False)
NO_USO = NodeConfig(GOSSIP, udp_segmentation=False)
NO_OFFLOAD = NodeConfig(GOSSIP, segmentation=False, udp_segmentation=False)


def header(kind: int, size: int, start: int, offset: int, flags: int = NEEDS_CSUM) -> bytes:
    """A virtio header."""
    return struct.pack("<BBHHHH", flags, kind, start, size, start, offset)


def tcp4(source: Address, destination: Address, payload: bytes) -> bytes:
    head = struct.pack(">HHIIBBHHH", 1000, 2000, 7, 9, 5 << 4, 0x18, 500, 0, 0)
    return packet4(source, destination, head + payload, 6)


def tcp6(source: Address, destination: Address, payload: bytes) -> bytes:
    head = struct.pack(">HHIIBBHHH", 1000, 2000, 7, 9, 5 << 4, 0x18, 500, 0, 0)
    return packet6(source, destination, head + payload, 6)


def udp4(source: Address, destination: Address, payload: bytes) -> bytes:
    head = struct.pack(">HHHH", 1000, 2000, 8 + len(payload), 0)
    return packet4(source, destination, head + payload)


TCP4 = header(GSO_TCP4, 1000, 20, 16)
TCP6 = header(GSO_TCP6, 1000, 40, 16)
UDP4 = header(GSO_UDP, 1000, 20, 6)
UNFINISHED = header(0, 0, 20, 6)


def arrive(beta: Side, alpha: Side, kind: int, body: bytes) -> list[bytes]:
    """What `alpha`'s TUN is handed of one entry sealed by `beta`."""
    sealed = entry(kind, body)
    out = memoryview(bytearray(len(sealed) + TAG_SIZE))
    frame = beta.session.seal(sealed, out, 1456, b"", ("192.0.2.1", 443))
    return alpha.receive(datagrams_of(frame), BETA_AT)


def samples(alpha: Side, beta: Side) -> dict[str, bytes]:
    """One of each kind from `beta` to `alpha`, header first."""
    data = bytes(range(250)) * 10
    return {
        "tcp4": TCP4 + tcp4(beta.address4, alpha.address4, data),
        "tcp6": TCP6 + tcp6(beta.address6, alpha.address6, data),
        "udp": UDP4 + udp4(beta.address4, alpha.address4, data),
        "checksum": UNFINISHED + udp4(beta.address4, alpha.address4, data),
        "complete": plain(udp4(beta.address4, alpha.address4, data)),
    }


def cut(body: bytes) -> list[bytes]:
    """The complete packets of a sample."""
    return segmentation.split(body[:10], body[10:])


@pytest.mark.parametrize("name", ["tcp4", "tcp6", "udp", "checksum", "complete"])
def test_a_tun_with_every_offload_takes_packets_as_they_came(name: str) -> None:
    alpha, beta = couple()
    body = samples(alpha, beta)[name]
    for _ in range(2):
        assert arrive(beta, alpha, OFFLOAD, body) == [body]
    assert alpha.dropped == {}


@pytest.mark.parametrize(
    ("config", "as_it_came"),
    [(NO_USO, {"tcp4", "tcp6", "checksum", "complete"}), (NO_OFFLOAD, {"complete"})],
)
def test_a_tun_without_an_offload_gets_complete_packets(
    config: NodeConfig, as_it_came: set[str]
) -> None:
    alpha, beta = couple(config)
    for name, body in samples(alpha, beta).items():
        expected = [body] if name in as_it_came else [VNET + packet for packet in cut(body)]
        assert arrive(beta, alpha, OFFLOAD, body) == expected, name
    assert alpha.dropped == {}


def test_a_tun_without_virtio_headers_gets_complete_packets_without_them() -> None:
    alpha, beta = couple(BARE)
    for name, body in samples(alpha, beta).items():
        for _ in range(2):
            assert arrive(beta, alpha, OFFLOAD, body) == cut(body), name
    assert alpha.dropped == {}


@pytest.mark.parametrize("config", [None, NO_USO, NO_OFFLOAD])
def test_a_packet_without_a_header_gets_an_empty_one(config: NodeConfig | None) -> None:
    alpha, beta = couple(config)
    packet = packet4(beta.address4, alpha.address4, b"x")
    assert arrive(beta, alpha, PACKET, packet) == [VNET + packet]


def test_a_packet_without_a_header_reaches_a_tun_without_headers() -> None:
    alpha, beta = couple(BARE, BARE)
    packet = packet4(beta.address4, alpha.address4, b"x")
    assert arrive(beta, alpha, PACKET, packet) == [packet]
    assert [p for f in beta.send(packet) for p in alpha.receive(datagrams_of(f), BETA_AT)] == [
        packet
    ]


HOSTILE = [
    header(9, 1000, 20, 16),
    header(GSO_TCP4, 0, 20, 16),
    header(GSO_TCP4, 1, 20, 16),
    header(GSO_TCP4, 1000, 20, 16, flags=0xFF),
    header(GSO_TCP4, 1000, 19, 16),
    header(GSO_TCP4, 1000, 2540, 16),
    header(GSO_TCP4, 1000, 20, 0xFFFF),
    header(GSO_UDP, 10, 20, 6),
    header(0, 0, 0, 0),
    header(0, 0, 0xFFFF, 0xFFFF),
    header(GSO_ECN, 1000, 20, 16),
    b"\xff" * 10,
]


@pytest.mark.parametrize("config", [None, NO_USO, NO_OFFLOAD, BARE])
@pytest.mark.parametrize("hostile", HOSTILE, ids=[h.hex() for h in HOSTILE])
def test_a_header_that_fits_no_packet_is_counted_and_nothing_delivered(
    config: NodeConfig | None, hostile: bytes
) -> None:
    alpha, beta = couple(config)
    body = hostile + tcp4(beta.address4, alpha.address4, bytes(2500))
    assert arrive(beta, alpha, OFFLOAD, body) == []
    assert alpha.dropped == {"offload-header": 1}


@pytest.mark.parametrize("config", [NO_OFFLOAD, BARE])
@pytest.mark.parametrize(
    "lie", [TCP6, UDP4, header(GSO_TCP4, 1000, 24, 16), header(GSO_UDP, 1000, 40, 6)]
)
def test_a_header_of_another_packet_is_counted_where_the_packet_must_be_cut(
    config: NodeConfig, lie: bytes
) -> None:
    alpha, beta = couple(config)
    good = samples(alpha, beta)["complete"]
    body = lie + tcp4(beta.address4, alpha.address4, bytes(2500))
    assert arrive(beta, alpha, OFFLOAD, body) == []
    assert alpha.dropped == {"offload-header": 1}
    assert len(arrive(beta, alpha, OFFLOAD, good)) == 1


def test_a_header_that_was_taken_once_is_looked_at_again_for_a_shorter_packet() -> None:
    alpha, beta = couple()
    long = UNFINISHED + udp4(beta.address4, alpha.address4, b"")
    short = UNFINISHED + packet4(beta.address4, alpha.address4, b"")
    assert arrive(beta, alpha, OFFLOAD, long) == [long]
    assert arrive(beta, alpha, OFFLOAD, short) == []
    assert alpha.dropped == {"offload-header": 1}


@pytest.mark.parametrize("size", range(0, 30))
def test_an_entry_too_short_for_its_packet_is_malformed(size: int) -> None:
    alpha, beta = couple()
    body = plain(packet4(beta.address4, alpha.address4))
    assert arrive(beta, alpha, OFFLOAD, body[:size]) == []
    assert arrive(beta, alpha, PACKET, body[10:][: size * 2 // 3]) == []
    assert alpha.dropped == {"malformed": 2}


def test_a_short_packet_of_ipv6_is_malformed() -> None:
    alpha, beta = couple()
    whole = packet6(beta.address6, alpha.address6)
    assert arrive(beta, alpha, PACKET, whole) == [VNET + whole]
    assert arrive(beta, alpha, PACKET, whole[:39]) == []
    assert arrive(beta, alpha, PACKET, b"\x50" + whole[1:]) == []
    assert alpha.dropped == {"malformed": 2}


def test_what_cannot_be_made_complete_is_counted() -> None:
    drops: Counter[str] = Counter()
    form = TunForm(True, False, False, drops)
    body = memoryview(TCP4 + bytes(60))
    assert not form.takes(body, 0, 60)
    assert form.convert(body, OFFLOAD, 0, 70) == []
    assert drops == {"offload-header": 1}
