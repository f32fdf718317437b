"""One way to a peer: round trips, patience, loss, width."""

from __future__ import annotations

import pytest

from gossip import NodeId
from meshd.node.path import (
    PROBE_TIMEOUT_MAX,
    PROBE_TIMEOUT_MIN,
    STREAM_SEGMENT,
    STREAM_TIMEOUT,
    WIDTHS4,
    WIDTHS6,
    Path,
    PathKind,
)
from meshd.node.redundancy import Interval
from meshd.node.wire import (
    BASE_SEGMENT,
    HEADER_SIZE,
    MAX_BATCH,
    MAX_SEGMENTS,
    RELAY_SIZE,
    TAG_SIZE,
)
from tests.node.test_paths import ONE


def test_the_round_trip_is_smoothed() -> None:
    path = Path(PathKind.DIRECT, ONE)
    path.sample(0.100)
    assert path.srtt == 0.100
    path.sample(0.200)
    assert path.srtt == pytest.approx(0.100 + 0.100 * 42 / 256)


@pytest.mark.parametrize(
    ("rtt", "timeout"), [(0.001, PROBE_TIMEOUT_MIN), (0.2, 0.8), (3.0, PROBE_TIMEOUT_MAX)]
)
def test_patience_follows_the_round_trip_within_bounds(rtt: float, timeout: float) -> None:
    path = Path(PathKind.DIRECT, ONE)
    path.sample(rtt)
    assert path.timeout == pytest.approx(timeout)


def test_loss_is_the_share_of_unanswered_probes() -> None:
    path = Path(PathKind.DIRECT, ONE)
    assert path.loss == 0.0
    for number in range(40):
        path.waiting[number] = (0.0, 0)
        if number % 4:
            path.measured(number, 0.01)
        else:
            path.lapse(10.0)
    assert path.loss == 0.25


# Loss of a path


@pytest.mark.parametrize("segment", [BASE_SEGMENT, *WIDTHS4, *WIDTHS6])
@pytest.mark.parametrize("prefix", [b"", bytes(RELAY_SIZE)])
def test_a_full_frame_leaves_in_one_send(segment: int, prefix: bytes) -> None:
    path = Path(PathKind.DIRECT, ONE, prefix=prefix, segment=segment)
    sealed = path.frame_limit + TAG_SIZE
    count = -(-sealed // path.chunk)
    assert count <= MAX_SEGMENTS
    assert sealed + count * (HEADER_SIZE + len(prefix)) <= MAX_BATCH
    assert path.chunk + HEADER_SIZE + len(prefix) == segment


# Measuring


def test_loss_is_that_of_segments_once_there_were_enough() -> None:
    path = Path(PathKind.DIRECT, ONE)
    path.outcomes.extend([True, False])
    assert path.loss == 0.5
    path.control.take(Interval(1000, 10, 0, 0.0, 0.02, 0.5), 1.0)
    assert path.loss == pytest.approx(0.01, rel=0.3)


def test_a_path_is_told_in_words() -> None:
    assert Path(PathKind.DIRECT, ONE).words == "direct 192.0.2.1:443"
    assert Path(PathKind.STREAM, ("tls:2001:db8::1", 443)).words == "stream [2001:db8::1]:443"
    assert Path(PathKind.RELAY, ONE, NodeId(b"r" * 16)).words == f"relay {'72' * 16}"


# Streams


def test_kinds_are_preferred_in_their_order() -> None:
    stream = ("tls:192.0.2.1", 443)
    ways = [
        Path(PathKind.DIRECT, ONE),
        Path(PathKind.RELAY, ONE, NodeId(bytes(16))),
        Path(PathKind.STREAM, stream),
        Path(PathKind.RELAY, stream, NodeId(bytes(16))),
    ]
    assert [way.rank for way in ways] == [0, 1, 2, 3]
    ways[1].by_stream = True
    assert ways[1].rank == 3


def test_a_stream_has_one_width_and_carries_a_whole_super_packet() -> None:
    path = Path(PathKind.STREAM, ("tls:192.0.2.1", 443))
    path.prove(0.0)
    path.narrow(1.0)
    assert path.segment == STREAM_SEGMENT
    assert path.widths == []
    assert path.frame_limit > 65_000
    assert STREAM_SEGMENT + 2 <= 1 << 14  # a TLS record (RFC 8446, 5.1)


def test_a_stream_is_given_time_and_no_parity() -> None:
    path = Path(PathKind.STREAM, ("tls:192.0.2.1", 443))
    path.waiting[1] = (0.0, 0)
    path.measured(1, 0.02)
    assert path.timeout == STREAM_TIMEOUT
    assert path.parity is None


def test_a_relayed_path_by_stream_to_the_relay_still_finds_its_width() -> None:
    path = Path(PathKind.RELAY, ("tls:2001:db8::1", 443), NodeId(bytes(16)))
    path.prove(0.0)
    assert path.widths == list(WIDTHS6)


def test_what_a_path_lost_is_forgotten_as_it_answers_unused_and_when_it_was_lost_whole() -> None:
    path = Path(PathKind.DIRECT, ONE)
    path.prove(0.0)
    path.control.take(Interval(100, 50, 0, 0.0, 0.02, 0.5), 1.0)
    before = path.loss
    assert 0.3 < before < 0.4
    for turn in range(30):
        path.waiting[turn] = (float(turn), 0)
        path.measured(turn, turn + 0.01)
    assert path.loss < before / 20
    path.outcomes.extend([False] * 16)
    assert path.loss > 0.4
    path.valid = False
    path.prove(100.0)
    assert path.loss < 0.05
