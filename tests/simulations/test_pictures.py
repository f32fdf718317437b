from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

from simulations import pictures
from tests.simulations.reports import report

CRASH = report("crash", 32, series={"detection s": [3.0, 1.0, 2.0]})
NEWS = report("news", 64, series={"infection, 16 members": [(0.2, 0.5), (0.4, 1.0)]})
SLOW = report("slow", 128, series={"false positives, plain": [(1, 3), (8, 40)]})
IDLE = report("idle", 16, figures={"idle bytes/s": 240.0})
HEALED = report("split", 32, figures={"recovery s": 12.5})

ALL = [
    (pictures.detection_cdf, CRASH, ["crash, 32 members", "seconds after the crash"]),
    (pictures.infection_curve, NEWS, ["16 members", "share that knows"]),
    (pictures.false_positives, SLOW, ["plain", "slow members at a time"]),
    (pictures.bytes_against_size, IDLE, ["idle", "bytes sent per second"]),
    (pictures.heal_time, HEALED, ["split, 32", "seconds (bar: the slowest run)"]),
]

Picture = Callable[[Sequence[dict[str, Any]]], str | None]


@pytest.mark.parametrize(("picture", "entry", "words"), ALL)
def test_a_picture_names_what_it_shows_and_needs_nothing_else(
    picture: Picture, entry: dict[str, Any], words: list[str]
) -> None:
    svg = picture([report(), entry])
    assert svg is not None
    text = " ".join(ElementTree.fromstring(svg).itertext())
    for word in words:
        assert word in text
    assert re.findall(r'(?:href|src)="(?!#)[^"]*"', svg) == []


@pytest.mark.parametrize(("picture", "entry", "words"), ALL)
def test_a_picture_of_nothing_is_none(
    picture: Picture, entry: dict[str, Any], words: list[str]
) -> None:
    others = [other for _, other, _ in ALL if other is not entry]
    assert picture([]) is None
    assert picture(others) is None


@pytest.mark.parametrize(("picture", "entry", "words"), ALL)
def test_the_same_reports_give_the_same_bytes(
    picture: Picture, entry: dict[str, Any], words: list[str]
) -> None:
    assert picture([entry]) == picture([entry])


def test_seeds_of_one_size_are_one_curve() -> None:
    again = report("crash", 32, seed=2, series={"detection s": [4.0]})
    svg = pictures.detection_cdf([CRASH, again])
    assert svg is not None
    assert svg.count("crash, 32 members") == 1


def test_no_picture_has_more_curves_than_can_be_told_apart() -> None:
    many = [report("crash", size, series={"detection s": [1.0]}) for size in range(2, 30)]
    svg = pictures.detection_cdf(many)
    assert svg is not None
    text = " ".join(ElementTree.fromstring(svg).itertext())
    assert text.count(" members") == pictures.CURVES_MAX
