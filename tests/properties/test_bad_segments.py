"""20,000 forged segments of a session that lives on. `make fuzz` tries a million."""

from __future__ import annotations

from meshd.node.reassembly import MAX_FRAMES
from tests.fuzz.segments import EVERY, run

CASES = 20_000


def test_forged_segments_are_counted_and_bounded_and_the_session_lives_on() -> None:
    outcome = run(CASES, seed=1)
    assert outcome.segments >= CASES
    assert outcome.good > CASES // EVERY
    assert outcome.most_frames == MAX_FRAMES
    why = ("malformed", "mismatch", "oversized", "doubted", "evicted", "expired")
    assert set(outcome.reasons) == {
        *("malformed", "decrypt", "replay"),
        *(f"reassembly-{reason}" for reason in why),
    }
