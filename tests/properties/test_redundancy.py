"""Whatever a peer tells and a path does: parity and span keep to their bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshd.node.errors import RemoteError
from meshd.node.metering import Mark, Meter, Tally
from meshd.node.parity import MAX_SLICES
from meshd.node.protection import most_parity, parity_table
from meshd.node.redundancy import (
    SPAN_MIN,
    Interval,
    LossControl,
)
from meshd.node.wire import MAX_SEGMENTS

COUNTS = st.integers(0, 1 << 63)
INTERVALS = st.builds(
    lambda sent, share, frames, squares, rtt, seconds, late: Interval(
        sent, sent * share, frames, squares, rtt, seconds, late
    ),
    st.integers(1, 1 << 40),
    st.floats(0, 1),
    st.integers(0, 1 << 30),
    st.floats(0, 1e12),
    st.floats(0, 100),
    st.floats(0, 1e6),
    st.integers(0, 1000),
)


def bounded(control: LossControl) -> None:
    assert SPAN_MIN <= control.span <= MAX_SEGMENTS
    assert 0.0 <= control.loss <= 0.5
    if control.parity is not None:
        assert len(control.parity) == MAX_SEGMENTS + 1
        assert all(
            0 <= parity <= most_parity(count, 32.0) for count, parity in enumerate(control.parity)
        )


@given(st.lists(INTERVALS, max_size=40))
def test_any_row_of_intervals_leaves_parity_and_span_within_bounds(rows: list[Interval]) -> None:
    control, now = LossControl(), 0.0
    for interval in rows:
        now += 0.05
        control.take(interval, now)
        bounded(control)


@given(st.lists(st.builds(Tally, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS), max_size=20))
def test_a_peer_that_tells_anything_gets_no_more_than_bounded_parity(told: list[Tally]) -> None:
    meter, control = Meter(), LossControl()
    for nonce, tally in enumerate(told):
        sent = 100 * nonce, 1000 * nonce
        meter.sent(nonce, Mark(0, 0, *sent, float(nonce)))
        try:
            interval = meter.answered(nonce, tally, nonce + 0.1, sent, control.parity or ())
        except RemoteError:
            continue
        if interval is not None:
            assert 0 <= interval.lost <= interval.sent
            control.take(interval, nonce + 0.1)
        bounded(control)


@given(st.floats(1e-4, 0.5), st.floats(1.0, 32.0), st.floats(1.0, 2.0))
def test_more_loss_never_asks_for_less_parity(loss: float, spread: float, more: float) -> None:
    before = parity_table(loss, spread)
    after = parity_table(min(0.5, loss * more), spread)
    assert all(low <= high for low, high in zip(before[: MAX_SLICES + 1], after, strict=False))
