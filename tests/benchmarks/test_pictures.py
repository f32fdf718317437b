from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from benchmarks import pictures
from benchmarks.pictures import Medians, draw, latency, throughput
from simulations.lab.waiting import LabError

LOSSY = {
    "lossy bbr 0 %": {"bare": 640.0, "aegisray": 600.0},
    "lossy bbr 0.5 %": {"bare": 590.0, "aegisray": 580.0},
    "lossy cubic 4 %": {"bare": 2.0, "aegisray": 120.0},
}
PINGS = {
    "ping-idle": {"null": 140.0, "aegisray": 230.0},
    "ping-loaded": {"null": 650.0, "aegisray": 1200.0},
    "ping-loaded-p99": {"null": 900.0, "aegisray": 2100.0},
}


@pytest.mark.parametrize(
    ("picture", "medians", "words"),
    [
        (throughput, LOSSY, ["bbr", "cubic", "loss, %", "0.5", "bare", "aegisray"]),
        (latency, PINGS, ["null", "aegisray", "loaded, p99", "microseconds"]),
        (latency, {"ping-idle": PINGS["ping-idle"]}, ["idle"]),
    ],
)
def test_a_picture_names_what_it_shows_and_needs_nothing_else(
    picture: Callable[[Medians], str | None], medians: Medians, words: list[str]
) -> None:
    svg = picture(medians)
    assert svg is not None
    text = " ".join(ElementTree.fromstring(svg).itertext())
    assert [word for word in words if word not in text] == []
    assert re.findall(r'(?:href|src)="(?!#)[^"]*"', svg) == []


def test_equal_figures_give_equal_pictures() -> None:
    assert throughput(LOSSY) == throughput(LOSSY)


def test_what_was_not_measured_is_not_drawn() -> None:
    assert draw({}) == {}
    assert list(draw(LOSSY)) == ["throughput.svg"]
    assert list(draw(PINGS)) == ["latency.svg"]


def test_a_contender_without_a_figure_has_a_gap() -> None:
    gap = {**LOSSY, "lossy bbr 1 %": {"bare": 500.0}}
    assert throughput(gap) is not None


def test_it_is_said_how_to_install_what_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LabError, match="aegisray\\[simulate\\]"):
        pictures.require_matplotlib()
