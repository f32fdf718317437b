"""Silence on the path in use, told from a long round trip."""

from __future__ import annotations

import pytest

from meshd.node.path import Path, PathKind
from meshd.node.vigil import LATE, MAX_ASKED, SILENCE_MAX, SILENCE_MIN, Verdict, Vigil


def watched(rtt: float = 0.02) -> tuple[Vigil, Path]:
    path = Path(PathKind.DIRECT, ("192.0.2.1", 443))
    path.prove(0.0)
    path.srtt = rtt
    return Vigil(), path


def run(
    vigil: Vigil,
    path: Path,
    rtts: list[float | None],
    pause: float = 0.25,
    received: float | None = None,
) -> list[tuple[float, Verdict]]:
    """Ask every `pause` seconds, 50 ms while in doubt; each answer takes the next of `rtts`, and
    None none at all. The verdicts as they change; `received`: seconds between other frames."""
    now, asked_at, nonce = 0.0, 0.0, 0
    coming: list[tuple[float, int]] = []
    seen = [(0.0, Verdict.FINE)]
    while nonce < len(rtts):
        for at, number in [each for each in coming if each[0] <= now]:
            coming.remove((at, number))
            if vigil.answered(number, now):
                path.last_received = now
        if received is not None and now - path.last_received >= received - 1e-6:
            path.last_received = now
        verdict = vigil.look(path, now)
        if verdict is not seen[-1][1]:
            seen.append((now, verdict))
        if now >= asked_at:
            vigil.asked(nonce, now)
            rtt = rtts[nonce]
            if rtt is not None:
                coming.append((now + rtt, nonce))
            nonce += 1
            asked_at = now + (pause if verdict is Verdict.FINE else 0.05)
        now = round(now + 0.01, 2)
    return seen


def test_a_path_that_answers_is_fine() -> None:
    assert run(*watched(), [0.02] * 100) == [(0.0, Verdict.FINE)]


def test_a_dead_path_is_doubted_soon_and_fails_soon_after() -> None:
    seen = run(*watched(), [*[0.02] * 9, *[None] * 20])
    (_, _), (doubted, one), (failed, two), *_ = seen
    died = 8 * 0.25 + 0.02
    assert (one, two) == (Verdict.DOUBTED, Verdict.FAILING)
    assert doubted - died < 0.25 + SILENCE_MIN + 0.02
    assert failed - died < 0.25 + 2 * SILENCE_MIN + 0.02


@pytest.mark.parametrize("extra", [0.05, 0.1, 0.15])
def test_a_queue_that_fills_is_no_silence(extra: float) -> None:
    assert run(*watched(), [*[0.02] * 9, *[0.02 + extra] * 40]) == [(0.0, Verdict.FINE)]


def test_a_queue_that_grows_long_is_doubted_at_most() -> None:
    vigil, path = watched()
    rtts: list[float | None] = [min(0.5, 0.02 + 0.06 * n) for n in range(60)]
    assert Verdict.FAILING not in [verdict for _, verdict in run(vigil, path, rtts)]


@pytest.mark.parametrize("nth", [3, 5])
def test_single_losses_are_no_silence_where_other_frames_come(nth: int) -> None:
    rtts: list[float | None] = [None if n % nth == 1 else 0.02 for n in range(100)]
    assert run(*watched(), rtts, received=0.1) == [(0.0, Verdict.FINE)]
    verdicts = [verdict for _, verdict in run(*watched(), rtts)]
    assert Verdict.FAILING not in verdicts


def test_a_path_whose_answers_alone_are_lost_fails_later() -> None:
    seen = run(*watched(), [*[0.02] * 9, *[None] * 30], received=0.1)
    died = 8 * 0.25 + 0.02
    assert [verdict for _, verdict in seen[1:3]] == [Verdict.DOUBTED, Verdict.FAILING]
    assert 0.4 < seen[1][0] - died < 0.7
    assert seen[2][0] - died < 1.15


def test_a_far_path_has_more_time() -> None:
    vigil, path = watched(0.2)
    seen = run(vigil, path, [*[0.2] * 20, *[None] * 40])
    died = 19 * 0.25 + 0.2
    assert 0.6 < seen[1][0] - died < 0.85
    slow = watched(3.0)
    slow[0].look(slow[1], 0.0)
    slow[0].asked(1, 0.0)
    assert slow[0].next_at(slow[1]) == SILENCE_MAX


def test_time_in_which_we_did_not_run_is_not_the_paths() -> None:
    vigil, path = watched()
    vigil.look(path, 0.0)
    for nonce in range(4):
        vigil.asked(nonce, 0.1)
    assert vigil.look(path, 0.1 + LATE + 5.0) is Verdict.FINE
    assert vigil.look(path, 0.1 + LATE + 5.0 + SILENCE_MIN) is Verdict.DOUBTED


def test_an_answer_ends_every_doubt_and_answers_for_those_before() -> None:
    vigil, path = watched()
    vigil.look(path, 0.0)
    for nonce in range(5):
        vigil.asked(nonce, 0.1 * nonce)
    assert vigil.look(path, 0.39) is Verdict.DOUBTED
    assert not vigil.answered(99, 0.4)
    assert vigil.answered(3, 0.4)
    assert vigil.verdict is Verdict.FINE
    assert not vigil.answered(1, 0.4)
    assert vigil.answered(4, 0.45)
    assert vigil.next_at(path) == float("inf")
    assert vigil.look(path, 0.5) is Verdict.FINE


def test_another_path_begins_anew_and_what_waits_is_bounded() -> None:
    vigil, path = watched()
    for nonce in range(1000):
        vigil.asked(nonce, 0.0)
    assert vigil.answered(0, 0.0)
    for nonce in range(MAX_ASKED + 10):
        vigil.asked(2000 + nonce, 0.0)
    vigil.reset()
    assert not vigil.answered(2000, 0.0)
    assert vigil.next_at(path) == float("inf")
