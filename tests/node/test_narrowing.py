"""When full-width probes that are lost mean that a path has become narrow."""

from __future__ import annotations

from random import Random

from meshd.node.narrowing import MAX_WAITING, WIDE_MISSES, WideProbes


def pair(probes: WideProbes, turn: int, wide: bool, small: bool) -> bool:
    """A wide probe and a small one behind it, of which some are answered."""
    now = float(turn)
    probes.sent(2 * turn, now)
    verdict = probes.answered(2 * turn, now) if wide else False
    return (small and probes.answered(2 * turn + 1, now + 0.5)) or verdict


def test_wide_probes_that_are_lost_while_small_ones_arrive_mean_a_narrow_path() -> None:
    probes = WideProbes()
    verdicts = [pair(probes, turn, wide=False, small=True) for turn in range(2 * WIDE_MISSES)]
    assert [turn for turn, verdict in enumerate(verdicts) if verdict] == [
        WIDE_MISSES - 1,
        2 * WIDE_MISSES - 1,
    ]


def test_an_answer_to_a_wide_probe_forgets_the_misses() -> None:
    probes = WideProbes()
    for turn in range(20 * WIDE_MISSES):
        assert not pair(probes, turn, wide=turn % WIDE_MISSES == 0, small=True)


def test_an_outage_says_nothing_of_the_width() -> None:
    probes = WideProbes()
    for turn in range(50):
        assert not pair(probes, turn, wide=False, small=False)
    for turn in range(50, 100):
        assert not pair(probes, turn, wide=turn > 50, small=True)


def test_answers_that_cross_the_next_probe_count_too() -> None:
    probes = WideProbes()
    verdicts = []
    for turn in range(WIDE_MISSES + 3):
        probes.sent(2 * turn, float(turn))
        if turn >= 3:  # three round trips late
            verdicts.append(probes.answered(2 * turn - 5, turn - 2.5))
    assert verdicts == [False] * (WIDE_MISSES - 1) + [True]


def test_loss_of_a_tenth_narrows_a_path_seldom() -> None:
    rng, probes = Random(1), WideProbes()
    verdicts = [
        pair(probes, turn, wide=rng.random() > 0.1, small=rng.random() > 0.1)
        for turn in range(10_000)
    ]
    assert sum(verdicts) <= 3


def test_no_more_probes_are_remembered_than_are_needed() -> None:
    probes = WideProbes()
    for nonce in range(1000):
        probes.sent(nonce, float(nonce))
    assert not probes.answered(1000 - MAX_WAITING - 1, 1000 - MAX_WAITING - 1)
    assert not probes.answered(5000, 1000.0)
