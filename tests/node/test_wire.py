from __future__ import annotations

import pytest

from meshd.node.wire import (
    BASE_SEGMENT,
    CONTROL,
    DATA,
    HEADER,
    HEADER_SIZE,
    MAX_BATCH,
    MAX_ENTRY,
    MAX_SEGMENTS,
    RELAY_PREFIX,
    RELAY_SIZE,
    RELAYED,
    Buffer,
    Cutter,
    Endpoint,
    cut,
    entry,
    format_endpoint,
    pack_endpoint,
    unpack_endpoint,
)


def header(count: int, receiver: int, counter: int, parities: int = 0) -> bytes:
    return HEADER.pack(DATA, 0, count, parities, receiver, counter)


def together(parts: list[Buffer]) -> list[bytes]:
    return [bytes(a) + bytes(b) for a, b in zip(parts[::2], parts[1::2], strict=True)]


def test_a_frame_of_one_segment_is_one_datagram() -> None:
    [datagram] = together(
        cut(memoryview(b"sealed"), header(1, 0x01020304, 0x1122334455667788), 1000)
    )
    assert datagram.hex() == "04000100" + "01020304" + "1122334455667788" + b"sealed".hex()


def test_every_segment_has_its_index_in_a_header_like_the_first() -> None:
    datagrams = together(cut(memoryview(b"abcdefgh"), header(3, 5, 9), 3))
    assert [d[:HEADER_SIZE] for d in datagrams] == [
        HEADER.pack(DATA, index, 3, 0, 5, 9) for index in range(3)
    ]
    assert [d[HEADER_SIZE:] for d in datagrams] == [b"abc", b"def", b"gh"]


@pytest.mark.parametrize("size", [1, 2, 3, 127, 128, 129, 255, 256, 383, 384])
def test_the_slices_joined_are_the_frame(size: int) -> None:
    sealed, chunk = bytes(index & 0xFF for index in range(size)), 3
    count = -(-size // chunk)
    datagrams = together(cut(memoryview(sealed), header(count, 5, 9), chunk))
    assert b"".join(d[HEADER_SIZE:] for d in datagrams) == sealed
    assert len(datagrams) == count
    assert {len(d) for d in datagrams[:-1]} <= {HEADER_SIZE + chunk}
    assert len(datagrams[-1]) <= HEADER_SIZE + chunk


def test_a_relays_prefix_stands_before_every_header() -> None:
    prefix = RELAY_PREFIX.pack(RELAYED, 0xABCDEF01)
    assert prefix.hex() == "05000000abcdef01"
    for sealed, count in ((b"ab", 1), (b"abcd", 2)):
        datagrams = together(cut(memoryview(sealed), header(count, 5, 9), 2, prefix))
        plain = together(cut(memoryview(sealed), header(count, 5, 9), 2))
        assert datagrams == [prefix + datagram for datagram in plain]


def test_parity_slices_follow_with_the_next_indexes() -> None:
    parts = cut(memoryview(b"aabb"), header(2, 5, 9, 3), 2, b"", [b"p0", b"p1", b"p2"])
    assert together(parts) == [
        HEADER.pack(DATA, index, 2, 3, 5, 9) + piece
        for index, piece in enumerate([b"aa", b"bb", b"p0", b"p1", b"p2"])
    ]
    assert len(cut(memoryview(b"aa"), header(1, 5, 9, 1), 2, b"", [b"p0"])) == 4


@pytest.mark.parametrize("prefix", [b"", RELAY_PREFIX.pack(RELAYED, 7)])
def test_a_cutter_cuts_the_same_again_and_again(prefix: bytes) -> None:
    sealed = memoryview(bytearray(range(250)))
    cutter = Cutter(sealed)
    for size, chunk in [(250, 30), (1, 30), (30, 30), (31, 30), (250, 2), (249, 100), (250, 30)]:
        first = header(-(-size // chunk), 5, size)
        mine = together(cutter.cut(size, first, chunk, prefix))
        assert mine == together(cut(sealed[:size], first, chunk, prefix))


def test_one_frame_leaves_nothing_behind_for_the_next() -> None:
    first = together(cut(memoryview(b"aaaa"), header(2, 5, 9), 2))
    cut(memoryview(b"bbbb"), header(2, 6, 10), 2)
    assert together(cut(memoryview(b"aaaa"), header(2, 5, 9), 2)) == first


def test_an_entry_is_its_type_and_length_and_body() -> None:
    assert entry(CONTROL, b"body") == b"\x02\x00\x00\x04body"
    assert entry(CONTROL, b"") == b"\x02\x00\x00\x00"
    with pytest.raises(ValueError, match="at most"):
        entry(CONTROL, bytes(MAX_ENTRY + 1))


@pytest.mark.parametrize(
    ("endpoint", "packed"),
    [
        (("192.0.2.1", 443), "c000020101bb"),
        (("255.0.0.1", 65535), "ff000001ffff"),
        (("2001:db8::1", 1), "20010db8000000000000000000000001" + "0001"),
    ],
)
def test_an_endpoint_is_packed_and_comes_back(endpoint: Endpoint, packed: str) -> None:
    assert pack_endpoint(endpoint).hex() == packed
    assert unpack_endpoint(bytes.fromhex(packed)) == endpoint


@pytest.mark.parametrize("endpoint", [("host.example", 1), ("", 1), ("1.2.3.4", 65536), ("::", -1)])
def test_what_is_no_endpoint_is_not_packed(endpoint: Endpoint) -> None:
    with pytest.raises(ValueError):
        pack_endpoint(endpoint)


@pytest.mark.parametrize(
    "packed",
    [
        "",
        "c0000201",
        "c000020101bb00",
        "c00002010000",
        "0000000001bb",
        "e000000101bb",
        "ffffffff01bb",
        "00" * 16 + "01bb",
        "ff02" + "00" * 14 + "01bb",
        "00" * 10 + "ffff" + "e0000001" + "01bb",
        "20010db8000000000000000000000001" + "0000",
    ],
)
def test_an_endpoint_that_nobody_can_send_to_is_refused(packed: str) -> None:
    with pytest.raises(ValueError):
        unpack_endpoint(bytes.fromhex(packed))


def test_a_mapped_address_is_the_address_of_ipv4() -> None:
    packed = bytes(10) + b"\xff\xff\xc0\x00\x02\x01\x01\xbb"
    assert unpack_endpoint(packed) == ("192.0.2.1", 443)


def test_endpoints_are_written_as_people_write_them() -> None:
    assert format_endpoint(("192.0.2.1", 443)) == "192.0.2.1:443"
    assert format_endpoint(("2001:db8::1", 443)) == "[2001:db8::1]:443"


def test_the_sizes_fit_the_kernels_limits() -> None:
    assert (HEADER_SIZE, RELAY_SIZE) == (16, 8)
    assert MAX_SEGMENTS <= 128
    assert MAX_BATCH <= 65_507
    assert BASE_SEGMENT == 1280 - 40 - 8
