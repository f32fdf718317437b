from __future__ import annotations

import pytest

from meshd.node.replay import WINDOW, ReplayWindow


def take(window: ReplayWindow, counter: int) -> bool:
    if not window.check(counter):
        return False
    window.commit(counter)
    return True


def test_a_counter_passes_once() -> None:
    window = ReplayWindow()
    assert take(window, 0)
    assert not take(window, 0)
    assert take(window, 1)
    assert not window.check(0)
    assert window.highest == 1


def test_asking_takes_nothing() -> None:
    window = ReplayWindow()
    assert window.check(5)
    assert window.check(5)
    assert window.highest == -1


@pytest.mark.parametrize("high", [WINDOW - 1, WINDOW, 20_000, 1 << 40, (1 << 64) - 2])
def test_what_comes_up_to_8191_late_passes_and_what_comes_later_does_not(high: int) -> None:
    window = ReplayWindow()
    assert take(window, high)
    assert take(window, high - 8191)
    assert not take(window, high - 8191)
    assert not window.check(high - 8192)


def test_a_jump_forgets_no_counter_that_is_still_in_the_window() -> None:
    window = ReplayWindow()
    for counter in (0, 100, 127, 128, 300, 8000, 8100):
        assert take(window, counter)
    assert take(window, 8191)
    for counter in (0, 100, 127, 128, 300, 8000, 8100):
        assert not window.check(counter)
    for counter in (1, 99, 129, 255, 256, 8099):
        assert take(window, counter)


def test_ten_thousand_replays_deliver_nothing() -> None:
    window = ReplayWindow()
    assert all(take(window, counter) for counter in range(10_000))
    assert not any(take(window, counter) for counter in range(10_000))
