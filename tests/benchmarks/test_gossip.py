"""The gossip benchmark's parts that need neither root nor serf."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gossip import compare, msgpack
from benchmarks.gossip.compare import Figures
from benchmarks.gossip.directory import GROUP_PREFIXES, Directory, address_of, group_of
from benchmarks.gossip.ours import Lines
from benchmarks.gossip.sealing import Sealer
from benchmarks.gossip.serf import Rpc
from benchmarks.gossip.swarm import Observation, Watcher
from gossip import RecordKind, records
from meshd.node.wire import ENTRY_SIZE, HEADER_SIZE, TAG_SIZE
from simulations.authority import Ed25519Authority
from simulations.lab.waiting import LabError, wait_until

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2**64 - 1), st.text(max_size=300)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=20), st.dictionaries(st.text(max_size=5), inner, max_size=20)
    ),
    max_leaves=30,
)


@given(values)
def test_messagepack_comes_back_and_half_of_it_is_waited_for(value: msgpack.Value) -> None:
    data = msgpack.encode(value)
    assert msgpack.decode(data) == (value, len(data))
    with pytest.raises(msgpack.IncompleteError):
        msgpack.decode(data[:-1])


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("7f", 127),
        ("ff", -1),
        ("d1ff00", -256),
        ("a26869", "hi"),
        ("d9026869", "hi"),
        ("c4026869", "hi"),
        ("9201c0", [1, None]),
        ("81a16102", {"a": 2}),
        ("de0001a161c3", {"a": True}),
    ],
)
def test_short_and_long_forms_of_messagepack_are_read(data: str, value: object) -> None:
    assert msgpack.decode(bytes.fromhex(data))[0] == value


def test_a_float_is_no_value_that_serf_sends() -> None:
    with pytest.raises(ValueError, match="0xcb"):
        msgpack.decode(b"\xcb" + bytes(8))


def test_each_agent_has_an_address_in_its_half() -> None:
    addresses = [address_of(n, 1000) for n in range(1000)]
    assert len(set(addresses)) == 1000
    for number, address in enumerate(addresses):
        assert address.startswith(GROUP_PREFIXES[group_of(number, 1000)])
    assert sum(group_of(n, 1000) for n in range(1000)) == 500


def test_a_seal_adds_what_a_session_adds_and_shows_the_sender() -> None:
    datagram = Sealer(3, 8).seal(5, b"m" * 200)
    cbor = 4  # [1, 200 bytes]: one byte for the array, one for the type, two for the size
    assert len(datagram) == HEADER_SIZE + ENTRY_SIZE + cbor + 200 + TAG_SIZE
    assert Sealer(5, 8).open(datagram) == (3, b"m" * 200)


def test_a_seal_for_another_or_spoiled_is_nothing() -> None:
    datagram = Sealer(3, 8).seal(5, b"message")
    assert Sealer(6, 8).open(datagram) is None
    for at in range(4, len(datagram)):
        spoiled = bytearray(datagram)
        spoiled[at] ^= 1
        assert Sealer(5, 8).open(bytes(spoiled)) is None
    assert Sealer(5, 8).open(datagram[:20]) is None


def test_records_are_really_signed() -> None:
    directory = Directory(2)
    record = records.signed(
        Ed25519Authority.of(1),
        RecordKind.MEMBER,
        directory.public[1],
        directory.identities[1],
        1,
        b"body",
    )
    assert records.verified(Ed25519Authority.of(0), record)
    other = records.signed(
        Ed25519Authority.of(0),
        RecordKind.MEMBER,
        directory.public[1],
        directory.identities[1],
        1,
        b"body",
    )
    assert not records.verified(Ed25519Authority.of(0), other)


def test_an_agents_lines_are_read_however_they_are_cut() -> None:
    text = b"1.5 ready 3\n2.25 up 4\n3.0 event 17\n"
    for cut in range(len(text)):
        lines = Lines(3)
        assert lines.parse(text[:cut]) + lines.parse(text[cut:]) == [
            Observation(1.5, 3, "ready", 3),
            Observation(2.25, 3, "up", 4),
            Observation(3.0, 3, "event", 17),
        ]


class Connection:
    """A socket that keeps what is sent."""

    def __init__(self) -> None:
        self.sent = b""

    def sendall(self, data: bytes) -> None:
        self.sent += data


def rpc() -> Rpc:
    return Rpc(9, Connection())  # type: ignore[arg-type]


def test_serfs_log_and_events_become_observations() -> None:
    log = "2026/01/01 00:00:00 [INFO] serf: EventMember"
    stream: list[msgpack.Value] = [
        {"Seq": 1, "Error": ""},
        {"Log": f"{log}Join: n4 127.11.0.5"},
        {"Log": "2026/01/01 00:00:00 [INFO] agent: something else"},
        {"Log": f"{log}Failed: n12 127.12.0.1"},
        {"Event": "user", "LTime": 7, "Name": "3", "Payload": "", "Coalesce": False},
    ]
    data = b"".join(map(msgpack.encode, stream))
    for cut in range(len(data)):
        reader = rpc()
        seen = reader.parse(data[:cut]) + reader.parse(data[cut:])
        assert [(s.observer, s.what, s.subject) for s in seen] == [
            (9, "up", 4),
            (9, "down", 12),
            (9, "event", 3),
        ]


def test_what_serf_refuses_is_told() -> None:
    with pytest.raises(LabError, match="n9: no such command"):
        rpc().parse(msgpack.encode({"Seq": 2, "Error": "no such command"}))


def watched(*seen: Observation) -> Watcher:
    """A watcher that saw this."""
    watcher = Watcher()
    read, write = os.pipe()
    with os.fdopen(read, "rb", 0) as source:
        watcher.watch(source, lambda data: list(seen))
        os.write(write, b".")
        wait_until(lambda: len(watcher.seen) == len(seen), "the observations", 5.0, interval_s=0.01)
        os.close(write)
        watcher.close()
    return watcher


def test_a_view_is_what_was_seen_last_and_since_when() -> None:
    watcher = watched(
        Observation(1.0, 0, "up", 1),
        Observation(2.0, 0, "down", 1),
        Observation(3.0, 0, "up", 1),
        Observation(4.0, 0, "up", 1),
        Observation(5.0, 1, "up", 0),
        Observation(6.0, 1, "down", 0),
    )
    assert watcher.alive() == {0: {1: 3.0}, 1: {}}
    assert watcher.first("up", 1) == {0: 1.0}
    assert watcher.first("up", 1, since=1.5) == {0: 3.0}


def test_a_report_that_cannot_be_read_ends_in_an_error() -> None:
    watcher = Watcher()
    read, write = os.pipe()

    def fail(data: bytes) -> list[Observation]:
        raise LabError("nonsense")

    with os.fdopen(read, "rb", 0) as source:
        watcher.watch(source, fail)
        os.write(write, b".")
        wait_until(lambda: watcher.error, "the error", 5.0, interval_s=0.01)
        os.close(write)
        watcher.close()
    assert str(watcher.error) == "nonsense"


def results(ours: float | None, theirs: float | None) -> compare.Results:
    """Every row has these values."""
    found: compare.Results = {}
    for name, value in (("aegisray", ours), ("serf", theirs)):
        found[name] = Figures()
        for row in (*compare.AHEAD, *compare.SHOWN):
            if value is not None:
                found[name].add(row, value)
    return found


def test_we_are_ahead_where_our_value_is_the_lower_one() -> None:
    assert all(target.met for target in compare.targets(results(1.0, 2.0)))
    assert not any(target.met for target in compare.targets(results(2.0, 1.0)))
    assert len(compare.targets(results(1.0, 2.0))) == len(compare.AHEAD)


def test_who_never_heals_loses_to_who_does() -> None:
    assert all(target.met for target in compare.targets(results(1.0, None)))
    assert not any(target.met for target in compare.targets(results(None, 1.0)))


def test_the_table_has_both_columns_and_our_ratio() -> None:
    lines = compare.shown(results(1.0, 4.0)).splitlines()
    assert lines[0].split() == ["aegisray", "serf", "ratio"]
    assert all(line.split()[-3:] == ["1.00", "4.00", "0.25"] for line in lines[1:])
    assert "never" in compare.shown(results(1.0, None))
