from __future__ import annotations

import os
import threading

import pytest

from meshd.host.priority import run_first
from tests.host.namespaces import needs_root


def in_a_thread() -> list[object]:
    """`run_first` in a thread that ends: its answer, and the policies of it and of its child."""
    found: list[object] = []

    def child() -> None:
        found.append(os.sched_getscheduler(0))

    def body() -> None:
        found.append(run_first())
        found.append(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)
        inner = threading.Thread(target=child)
        inner.start()
        inner.join()

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    return found


@needs_root
def test_the_thread_runs_first_and_what_it_starts_does_not() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor only")
    assert in_a_thread() == [True, os.SCHED_RR, os.SCHED_OTHER]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_without_the_right_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert in_a_thread()[:2] == [False, os.SCHED_OTHER]


def test_where_it_was_seen_to_already_nothing_is_left_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_RR)
    assert run_first()


def test_a_single_processor_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert in_a_thread()[:2] == [False, os.SCHED_OTHER]
