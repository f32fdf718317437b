"""Names and bounds of the wire."""

from __future__ import annotations

from gossip.ids import MAX_SEQUENCE


def test_one_above_the_highest_sequence_still_fits_the_wire() -> None:
    assert (MAX_SEQUENCE + 1).to_bytes(8, "big")
