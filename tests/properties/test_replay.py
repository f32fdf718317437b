"""The window against a model that remembers everything."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from meshd.node.replay import WINDOW, ReplayWindow


class Model:
    """What a window may pass: anything unseen and less than a window below the highest."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.highest = -1

    def take(self, counter: int) -> bool:
        if counter in self.seen or counter <= self.highest - WINDOW:
            return False
        self.seen.add(counter)
        self.highest = max(self.highest, counter)
        return True


def take(window: ReplayWindow, counter: int) -> bool:
    if not window.check(counter):
        return False
    window.commit(counter)
    return True


starts = st.sampled_from([0, 1, 100, WINDOW - 1, 5 * WINDOW, (1 << 40) - 7, (1 << 64) - 40_000])
steps = st.one_of(
    st.integers(-3, 3),
    st.integers(-WINDOW - 1, WINDOW + 1),
    st.sampled_from([-WINDOW, 1 - WINDOW, WINDOW - 1, WINDOW, 128, -128]),
)


@given(start=starts, moves=st.lists(steps, max_size=200))
def test_any_walk_passes_what_the_model_passes(start: int, moves: list[int]) -> None:
    window, model = ReplayWindow(), Model()
    counter = start
    for move in moves:
        counter = min(max(0, counter + move), (1 << 64) - 2)
        assert take(window, counter) == model.take(counter)
        assert window.highest == model.highest


@given(seed=st.integers(0, 1 << 32), start=starts, reach=st.sampled_from([2, 64, 8191, 8192, 9000]))
def test_a_reordered_and_replayed_stream_is_delivered_once(
    seed: int, start: int, reach: int
) -> None:
    rng = Random(seed)
    stream = [start + number for number in range(3000)] * 2
    arrivals = sorted(stream, key=lambda counter: counter + rng.uniform(0, reach))
    window, model = ReplayWindow(), Model()
    delivered = [counter for counter in arrivals if take(window, counter)]
    assert delivered == [counter for counter in arrivals if model.take(counter)]
    assert len(set(delivered)) == len(delivered)
    if reach <= 8191:
        assert sorted(delivered) == stream[:3000]
