"""Who left, and which certificates that makes void."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshd.node import departed
from meshd.node.departed import Departed
from meshd.node.minting import BACKDATE
from tests.node.couples import member

LEFT = member("beta", 2).certificate


def test_the_certificate_of_a_departure_and_older_ones_are_void_and_later_ones_stand() -> None:
    marks = Departed()
    assert not marks.covers(LEFT)
    assert marks.add(LEFT)
    assert not marks.add(LEFT)
    assert marks.covers(LEFT)
    assert marks.covers(replace(LEFT, not_before=LEFT.not_before - 1))
    assert not marks.covers(replace(LEFT, not_before=LEFT.not_before + 1))
    assert not marks.covers(replace(LEFT, node=member("gamma", 3).id))


def test_an_old_departure_takes_nothing_back_from_a_newer_one() -> None:
    marks, newer = Departed(), replace(LEFT, not_before=LEFT.not_before + 10)
    assert marks.add(newer)
    assert not marks.add(LEFT)
    assert marks.last(LEFT.node) == newer


def test_a_departure_is_kept_until_its_certificate_would_have_ended() -> None:
    marks = Departed()
    marks.add(LEFT)
    assert marks.expire(LEFT.not_after) == []
    assert marks.expire(LEFT.not_after + 1) == [LEFT.node]
    assert len(marks) == 0


def test_whoever_is_admitted_again_gets_a_certificate_that_stands_though_clocks_differ() -> None:
    marks = Departed()
    assert marks.beyond(LEFT.node, 5.0) == 5.0
    marks.add(LEFT)
    issued = LEFT.not_before + BACKDATE
    assert marks.beyond(LEFT.node, issued - 600) == issued + 1
    assert marks.beyond(LEFT.node, issued + 600) == issued + 600


def test_departures_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departed, "MAX_DEPARTED", 1)
    marks = Departed()
    assert marks.add(LEFT)
    assert not marks.add(member("gamma", 3).certificate)
    assert marks.add(replace(LEFT, not_before=LEFT.not_before + 1))
    assert len(marks) == 1
