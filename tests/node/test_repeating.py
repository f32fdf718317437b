from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from meshd.node.repeating import NATPMP_TRIES, Ask, Epoch, renewal


def test_pcp_asks_after_three_seconds_and_ever_more_rarely() -> None:
    ask, rng, now, waits = Ask(), Random(1), 0.0, []
    ask.begin(now)
    for _ in range(14):
        ask.repeat(rng, now)
        assert ask.due is not None
        waits.append(ask.due - now)
        now = ask.due
    assert 2.7 <= waits[0] <= 3.3
    assert all(1.6 < later / earlier < 2.5 for earlier, later in pairwise(waits[:8]))
    assert all(wait <= 1024 * 1.1 for wait in waits)
    assert waits[-1] > 900


def test_natpmp_asks_nine_times_and_gives_up() -> None:
    ask, now, sent = Ask(), 10.0, 0
    ask.begin(now)
    while ask.due is not None:
        now, sent = ask.due, sent + 1
        assert ask.repeat_soon(now) == (ask.due is not None)
    assert sent == NATPMP_TRIES
    assert now == pytest.approx(10 + 0.25 * (2**8 - 1))


def test_a_request_can_begin_anew_or_stop() -> None:
    ask = Ask()
    ask.begin(1.0)
    ask.repeat_soon(1.0)
    ask.repeat_soon(1.25)
    ask.begin(5.0)
    assert (ask.due, ask.wait, ask.tries) == (5.0, 0.0, 0)
    ask.stop()
    assert ask.due is None


def test_a_mapping_is_renewed_after_half_its_time_but_never_in_a_hurry() -> None:
    rng = Random(1)
    assert all(1800 <= renewal(3600, rng, 0.0) <= 2250 for _ in range(100))
    assert renewal(101.0, rng, 100.0) == 104.0


@pytest.mark.parametrize("strict", [True, False])
def test_a_clock_that_goes_on_has_not_restarted(strict: bool) -> None:
    epoch = Epoch(strict=strict)
    for now, shown in ((5.0, 1000), (5.4, 1000), (65.0, 1060), (3665.0, 4655), (3665.5, 4656)):
        assert not epoch.restarted(shown, now)


@pytest.mark.parametrize("strict", [True, False])
def test_a_clock_that_starts_anew_has_restarted(strict: bool) -> None:
    epoch = Epoch(strict=strict)
    epoch.restarted(1000, 0.0)
    assert epoch.restarted(3, 60.0)
    assert not epoch.restarted(63, 120.0)


def test_only_pcp_minds_a_clock_that_runs_ahead() -> None:
    for strict in (True, False):
        epoch = Epoch(strict=strict)
        epoch.restarted(100, 0.0)
        assert epoch.restarted(300, 60.0) == strict
