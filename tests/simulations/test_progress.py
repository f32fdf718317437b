from __future__ import annotations

import io
import threading

from simulations.progress import CLEAR, bar, shown


def test_the_bar_fills_with_what_is_done() -> None:
    assert bar(0, 10) == f"[{'.' * 24}]   0 %"
    assert bar(5, 10) == f"[{'#' * 12}{'.' * 12}]  50 %"
    assert bar(10, 10) == f"[{'#' * 24}] 100 %"


def test_the_bar_stays_in_its_frame_whatever_it_is_told() -> None:
    assert bar(1, 0) == bar(0, 10)
    assert bar(-3, 10) == bar(0, 10)
    assert bar(30, 10) == bar(10, 10)


def test_a_long_run_draws_and_in_the_end_erases_its_line() -> None:
    stream, drawn = io.StringIO(), threading.Event()

    def describe() -> str:
        drawn.set()
        return "half way"

    with shown(describe, stream, every_s=0.001):
        assert drawn.wait(10.0)
    text = stream.getvalue()
    assert text.startswith(f"{CLEAR}half way")
    assert text.endswith(CLEAR)


def test_a_short_run_draws_nothing() -> None:
    stream = io.StringIO()
    with shown(lambda: "never", stream, every_s=60.0):
        pass
    assert stream.getvalue() == ""


def test_without_a_stream_nobody_is_asked() -> None:
    asked = []
    with shown(lambda: asked.append(1) or "", None, every_s=0.0):  # type: ignore[func-returns-value]
        pass
    assert asked == []


def test_the_line_goes_away_when_the_run_fails() -> None:
    before = threading.active_count()
    try:
        with shown(lambda: "", io.StringIO(), every_s=60.0):
            raise RuntimeError("a bug")
    except RuntimeError:
        assert threading.active_count() == before
