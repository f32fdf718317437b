from __future__ import annotations

import pytest

from gossip import NodeId
from gossip.codec import encode
from meshd.node.control import (
    MAX_CONTROL,
    CertificateChain,
    Close,
    Control,
    Enrol,
    Enrolled,
    Gossip,
    Probe,
    ProbeAck,
    RelayOpen,
    RelayOpened,
    RelayRefused,
    Why,
    WhyAnswer,
    decode_control,
    encode_control,
)
from meshd.node.errors import RemoteError
from meshd.node.metering import Tally
from meshd.node.wire import CONTROL, ENTRY, ENTRY_SIZE

NODE = NodeId(b"n" * 16)

MESSAGES: list[tuple[Control, str]] = [
    (Gossip(b"ab"), "8201426162"),
    (Probe(7, 2), "830207420000"),
    (Probe(1 << 63), "83021b800000000000000040"),
    (ProbeAck(7, ("192.0.2.1", 443)), "84030746c000020101bb850000000000"),
    (ProbeAck(7, ("2001:db8::1", 1)), "8403075220010db80000000000000000000000010001850000000000"),
    (ProbeAck(7, None), "840307f6850000000000"),
    (ProbeAck(7, None, Tally(5, 4, 3, 2, 1)), "840307f6850504030201"),
    (RelayOpen(NODE), "820450" + "6e" * 16),
    (RelayOpened(9, NODE), "84050950" + "6e" * 16 + "00"),
    (RelayOpened(9, NODE, True), "84050950" + "6e" * 16 + "01"),
    (RelayRefused(NODE), "820650" + "6e" * 16),
    (Enrol(b"csr"), "820843637372"),
    (Enrolled(b"yes"), "83094379657360"),
    (Enrolled(None, "no"), "8309f6626e6f"),
    (CertificateChain((b"a", b"b")), "820a8241614162"),
    (Close(), "810b"),
    (Why(7), "821107"),
    (WhyAnswer(7, b"view"), "8312074476696577"),
]


@pytest.mark.parametrize(("message", "body"), MESSAGES)
def test_a_message_is_these_bytes_and_comes_back(message: Control, body: str) -> None:
    data = encode_control(message)
    assert data[ENTRY_SIZE:].hex() == body
    assert ENTRY.unpack_from(data) == (CONTROL << 24 | len(body) // 2,)
    assert decode_control(data[ENTRY_SIZE:]) == message


@pytest.mark.parametrize(
    "fields",
    [
        7,
        {1: b""},
        [],
        [0],
        [12],
        [7, b""],
        [1],
        [1, "text"],
        [1, b"", b""],
        [True, b"gossip"],
        [2, 7],
        [2, -1, b""],
        [2, True, b""],
        [2, 7, "text"],
        [3, 7, b"12345"],
        [3, -1, None],
        [3, 7, b"\xe0\0\0\1\1\1"],
        [3, 7, b"\1\2\3\4\0\0"],
        [4, b"n" * 15],
        [4, None],
        [5, 1 << 32, b"n" * 16],
        [5, -1, b"n" * 16],
        [5, 1, b"n" * 17],
        [6, b""],
        [8, None],
        [9, None],
        [9, b"reply"],
        [9, None, "x" * 201],
        [10, []],
        [10, [b""] * 5],
        [10, [b"", "text"]],
        [10, b""],
        [11, 0],
        [[11]],
    ],
)
def test_anything_else_is_refused(fields: object) -> None:
    with pytest.raises(RemoteError) as caught:
        decode_control(encode(fields))
    assert caught.value.reason == "control"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes.fromhex("810b00"),
        bytes.fromhex("9f0bff"),
        bytes.fromhex("82"),
        bytes.fromhex("81180b"),
        bytes.fromhex("c1810b"),
        encode([1, bytes(MAX_CONTROL)]),
    ],
)
def test_what_is_not_canonical_or_not_whole_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError) as caught:
        decode_control(data)
    assert caught.value.reason == "control"


def test_the_largest_message_passes() -> None:
    message = Enrol(bytes(MAX_CONTROL - 5))
    data = encode_control(message)[ENTRY_SIZE:]
    assert len(data) == MAX_CONTROL
    assert decode_control(data) == message


def test_padding_widens_a_probe_byte_by_byte() -> None:
    narrow = len(encode_control(Probe(1 << 63, 256)))
    assert len(encode_control(Probe(1 << 63, 1256))) == narrow + 1000


def test_the_mesh_secret_in_an_enrolments_answer_is_in_no_repr() -> None:
    assert "secret" not in repr(Enrolled(b"the mesh secret"))
