"""Slices in any order, with loss and duplicates, make exactly the frames that are whole."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from meshd.node.reassembly import MAX_BYTES, MAX_FRAMES, ByteBudget, Reassembler, Shape


def add(
    reassembler: Reassembler, counter: int, index: int, count: int, piece: bytes, now: float
) -> bytes | None:
    """One segment of a frame without parity."""
    joined = reassembler.add(Shape(counter, count), bytes([index % 256]), (piece,), now)
    assert joined is None or not (joined.absent or joined.solved)
    return joined.sealed if joined is not None else None


@dataclass(frozen=True)
class Slice:
    counter: int
    index: int
    count: int
    data: bytes


def cut(counter: int, frame: bytes, size: int) -> list[Slice]:
    pieces = [frame[start : start + size] for start in range(0, len(frame), size)]
    return [Slice(counter, index, len(pieces), piece) for index, piece in enumerate(pieces)]


@st.composite
def traffic(draw: st.DrawFn) -> tuple[dict[int, bytes], list[Slice]]:
    """Some frames, and their slices: some lost, some doubled, in any order."""
    frames: dict[int, bytes] = {}
    slices: list[Slice] = []
    for counter in range(draw(st.integers(1, 6))):
        frame = draw(st.binary(min_size=1, max_size=60))
        frames[counter] = frame
        slices += cut(counter, frame, draw(st.integers(1, 20)))
    lost = draw(st.sets(st.integers(0, len(slices) - 1), max_size=3))
    doubled = draw(st.lists(st.sampled_from(slices), max_size=10))
    kept = [piece for number, piece in enumerate(slices) if number not in lost]
    return frames, draw(st.permutations(kept + [piece for piece in doubled if piece in kept]))


@given(traffic())
def test_a_frame_comes_out_once_when_its_last_slice_is_in(
    case: tuple[dict[int, bytes], list[Slice]],
) -> None:
    frames, arrivals = case
    budget = ByteBudget()
    reassembler = Reassembler(budget)
    here: dict[int, set[int]] = {counter: set() for counter in frames}
    done: set[int] = set()
    for piece in arrivals:
        if piece.counter in done:
            continue  # the replay window's part
        joined = add(reassembler, piece.counter, piece.index, piece.count, piece.data, 0.0)
        here[piece.counter].add(piece.index)
        if len(here[piece.counter]) == piece.count:
            assert joined == frames[piece.counter]
            done.add(piece.counter)
        else:
            assert joined is None
    statistics = reassembler.statistics()
    assert not any(statistics.dropped.values())
    assert statistics.joined == len(done)
    reassembler.close()
    assert budget.used == 0


wild = st.tuples(
    st.integers(0, 200),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from([0, 1, 7, 8, 100, MAX_BYTES // 6, MAX_BYTES // 2, MAX_BYTES + 1]),
    st.floats(0, 1.5),
)


@given(
    arrivals=st.lists(wild, max_size=300),
    limit=st.sampled_from([0, 100, MAX_BYTES, 16 * MAX_BYTES]),
    sessions=st.integers(1, 3),
)
def test_no_traffic_breaks_the_bounds_or_the_books(
    arrivals: list[tuple[int, int, int, int, float]], limit: int, sessions: int
) -> None:
    budget = ByteBudget(limit)
    all_sessions = [Reassembler(budget) for _ in range(sessions)]
    now = 0.0
    for counter, index, count, size, pause in arrivals:
        now += pause / 10
        reassembler = all_sessions[counter % sessions]
        joined = add(reassembler, counter, index, count, bytes(size), now)
        assert joined is None or len(joined) <= max(size, MAX_BYTES)
        held = [each.statistics() for each in all_sessions]
        assert all(each.frames <= MAX_FRAMES and each.size <= MAX_BYTES for each in held)
        assert budget.used == sum(each.size for each in held) <= limit
        expiry = reassembler.next_expiry()
        assert expiry is None or expiry > now
    for reassembler in all_sessions:
        reassembler.expire(now + 2)
    assert budget.used == 0
    assert all(each.statistics().frames == 0 for each in all_sessions)


@given(
    frame=st.binary(min_size=3, max_size=100),
    size=st.integers(1, 30),
    forged=st.tuples(st.integers(0, 100), st.integers(1, 128), st.binary(min_size=1, max_size=40)),
)
def test_a_slice_that_disagrees_does_not_stop_the_frame(
    frame: bytes, size: int, forged: tuple[int, int, bytes]
) -> None:
    slices = cut(1, frame, size)
    index, count, data = forged
    if len(slices) == 1 or (count == len(slices) and len(data) == size) or count == 1:
        return
    reassembler = Reassembler(ByteBudget())
    for piece in slices[:-1]:
        add(reassembler, 1, piece.index, piece.count, piece.data, 0.0)
    last = slices[-1]
    if count == len(slices) and index == count - 1 and len(data) <= size:
        return  # it agrees: only the AEAD can tell
    add(reassembler, 1, index, count, data, 0.0)
    assert add(reassembler, 1, last.index, last.count, last.data, 0.0) == frame
